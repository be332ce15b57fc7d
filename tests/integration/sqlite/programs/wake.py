"""Wait in FILE for an event above POSITION and for the checkpoint of projection p at that position; print what woke."""

from __future__ import annotations

import asyncio
import sys

from foldline.store.sqlite import SqliteStore


async def main(path: str, position: int) -> None:
    store = await SqliteStore.open(path)

    async def log() -> None:
        print("log", await store.wait(position, 30), flush=True)

    async def view() -> None:
        print("view", await store.wait_checkpoint("p", position + 1, 30) is not None, flush=True)

    print("waiting", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(log())
        group.create_task(view())
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
