"""Open FILE when a line arrives on standard input, and close it again; print the name of what it raised, or "opened".

Where UID is given the process becomes that user first, since to root nothing is read-only.
"""

from __future__ import annotations

import asyncio
import os
import sys

from foldline.errors import StoreError
from foldline.store.sqlite import SqliteStore


async def main(path: str) -> None:
    try:
        store = await SqliteStore.open(path)
    except StoreError as error:
        print(type(error).__name__, error)
        return
    await store.close()
    print("opened")


if __name__ == "__main__":
    if len(sys.argv) > 2 and os.geteuid() == 0:
        os.setuid(int(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(main(sys.argv[1]))
