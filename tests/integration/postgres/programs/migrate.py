"""Migrate the database at URL, print how many migrations that took, append, and print the stream's version."""

from __future__ import annotations

import asyncio
import sys

from foldline.store.postgres import PostgresStore
from tests.integration.postgres.support import appended, one


async def main(url: str) -> None:
    print(len(await PostgresStore.migrate(url)))
    store = await PostgresStore.open(url)
    print(appended(await store.append(one("met-1"))).versions[0][1])
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
