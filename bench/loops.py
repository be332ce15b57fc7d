"""The same closed loop for tasks and for threads: each worker goes on when its last piece is done."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable


async def tasks(workers: int, pieces: int, work: Callable[[int], Awaitable[object]]) -> float:
    """Pieces a second, done by that many asyncio tasks."""
    left = iter(range(pieces))

    async def worker() -> None:
        for piece in left:
            await work(piece)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())
    return pieces / (time.perf_counter() - started)


async def paced(rate: float, pieces: int, work: Callable[[int], Awaitable[object]]) -> float:
    """Begin a piece of work each 1/rate seconds, whether or not others are done; pieces begun a second."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.TaskGroup() as group:
        for piece in range(pieces):
            # One that is late begins at once, so that what the pace misses here it makes up for there.
            await asyncio.sleep(max(0.0, started + piece / rate - loop.time()))
            group.create_task(_awaited(work(piece)))
        return pieces / (loop.time() - started)


async def _awaited(work: Awaitable[object]) -> None:
    await work


def threads(workers: int, pieces: int, work: Callable[[int], object]) -> float:
    """Pieces a second, done by that many threads; the first failure is raised after all have stopped."""
    left = iter(range(pieces))  # a range's iterator is safe to share: one next() is one step of the interpreter
    failed: list[BaseException] = []

    def worker() -> None:
        try:
            for piece in left:
                work(piece)
                if failed:
                    return
        except BaseException as error:
            failed.append(error)

    running = [threading.Thread(target=worker) for _ in range(workers)]
    started = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    spent = time.perf_counter() - started
    if failed:
        raise failed[0]
    return pieces / spent


def settle() -> None:
    """Have the collector pass over what was made beforehand, which is not part of what is measured."""
    gc.collect()
    gc.freeze()
