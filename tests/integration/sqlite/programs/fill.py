"""Append to a file in FOLDER until there is no more room, make room, and append again; print what happened.

The room ends where the process may not write longer files, or, with a disk of its own, where that is full.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

from uuid_utils.compat import uuid7

from foldline.errors import StoreFull
from foldline.store.spi import Append, Appended, Expect, NewEvent, StreamAppend
from foldline.store.sqlite import SqliteStore

LITTLE = 3_000_000
TEXT = b'{"text":"' + b"x" * 20_000 + b'"}'


def grow(disk: Path) -> None:
    """Make a bigger disk of it, while it is in use."""
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)


async def main(folder: Path, kind: str) -> None:
    store = await SqliteStore.open(folder / "full.db")
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, resource.RLIM_INFINITY))
    kept: list[Append] = []
    refused: list[Append] = []

    async def append_until_full() -> None:
        while True:
            events = tuple(NewEvent(uuid7(), "Filled", 1, TEXT) for _ in range(3))
            append = Append((StreamAppend("log-1", Expect.ANY, events),))
            try:
                outcome = await store.append(append)
            except StoreFull:
                refused.append(append)
                return
            if not isinstance(outcome, Appended):
                raise RuntimeError(f"{outcome}")
            kept.append(append)

    await asyncio.gather(*(append_until_full() for _ in range(4)))
    # One alone may fit where four together did not; then it is full for good.
    await append_until_full()
    print("kept", len(kept), "refused", len(refused))
    head = await store.head()
    print("whole", head == 3 * len(kept) == len(await store.read_stream("log-1")))
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        grow(folder)
    for append in refused:
        outcome = await store.append(append)
        if not isinstance(outcome, Appended) or outcome.replayed:
            raise RuntimeError(f"{outcome}")
    for append in kept:
        outcome = await store.append(append)
        if not isinstance(outcome, Appended) or not outcome.replayed:
            raise RuntimeError(f"{outcome}")
    print("recovered", await store.head() == 3 * (len(kept) + len(refused)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
