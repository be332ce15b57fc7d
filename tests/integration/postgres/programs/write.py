"""Append to the store at URL with TASKS tasks, by chance from SEED, until the input ends or has a line.

Each task has a stream of its own, where it knows which version to expect, and adds to streams that all writers share.
What is acknowledged is printed: when, its last position, and the ids of its events. With MODE ``fast`` nobody pauses
between two appends; with ``retold`` each append is sent a second time, which must add nothing.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from foldline.store.postgres import PostgresStore
from foldline.store.spi import Append, Appended, Expect, StreamAppend
from tests.integration.postgres.support import event, ids_of, input_line, insist

SHARED = 5


async def main(url: str, name: str, seed: int, tasks: int, mode: str) -> None:
    store = await PostgresStore.open(url)
    ended = asyncio.ensure_future(input_line())
    print("ready", flush=True)

    async def work(task: int) -> None:
        chance = random.Random(f"{seed} {name} {task}")
        own, version = f"{name}-{task}", 0
        while not ended.done():
            mine = [event(b'{"by":"%s"}' % name.encode()) for _ in range(chance.randrange(4))]
            shared = [event(b'{"by":"%s"}' % name.encode()) for _ in range(chance.randrange(3))] if mine else [event()]
            streams = [StreamAppend(own, version, mine)] if mine else []
            if shared:
                streams.append(StreamAppend(f"shared-{chance.randrange(SHARED)}", Expect.ANY, shared))
            if chance.random() < 0.0003:
                # Large enough for COPY.
                streams = [StreamAppend(own, version, mine := [event() for _ in range(5_200)])]
            append = Append(tuple(streams))
            outcome = await insist(store, append)
            if not isinstance(outcome, Appended):
                raise RuntimeError(f"{outcome}")
            version += len(mine)
            ids = " ".join(str(event_id) for event_id in ids_of(append))
            sys.stdout.write(f"{time.monotonic()} {outcome.position} {ids}\n")
            sys.stdout.flush()
            if mode == "retold":
                again = await insist(store, append)
                if again != outcome._replace(replayed=True):
                    raise RuntimeError(f"{outcome} and then {again}")
            if mode != "fast":
                await asyncio.sleep(chance.uniform(0, 0.04))

    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(work(task))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
