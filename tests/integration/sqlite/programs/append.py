"""Append to FILE with TASKS tasks, to streams that start with NAME, COUNT times each (0: for ever); print what is
acknowledged, a line for each append: the stream's name, its version, its position, and the event's number."""

from __future__ import annotations

import asyncio
import sys

from uuid_utils.compat import uuid7

from foldline.store.spi import Append, Appended, Expect, NewEvent, StreamAppend
from foldline.store.sqlite import SqliteStore


async def main(path: str, name: str, tasks: int, count: int) -> None:
    store = await SqliteStore.open(path)

    async def work(task: int) -> None:
        number = 0
        while count == 0 or number < count:
            number += 1
            data = b'{"writer":"%s","number":%d}' % (name.encode(), number)
            event = NewEvent(uuid7(), "Happened", 1, data)
            twin = event._replace(event_id=uuid7())
            streams = (
                StreamAppend(f"{name}-{task}", number - 1, (event,)),
                StreamAppend(f"shared-{task}", Expect.ANY, (twin,)),
            )
            outcome = await store.append(Append(streams))
            if not isinstance(outcome, Appended):
                raise RuntimeError(f"{outcome}")
            sys.stdout.write(f"{name}-{task} {number} {outcome.position - 1} {number}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(work(task))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
