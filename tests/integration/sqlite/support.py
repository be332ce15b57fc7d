"""What the tests of the SQLite store share: stores in a temporary place, small appends, and programs of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from uuid_utils.compat import uuid7

from foldline.store.spi import Append, Appended, Expect, ExpectedVersion, NewEvent, StreamAppend
from foldline.store.sqlite import SqliteStore

R = TypeVar("R")

PROGRAMS = Path(__file__).parent / "programs"


def run(work: Callable[[SqliteStore], Awaitable[R]], path: Path, **options: Any) -> R:
    """Do something with a store, opened for it and closed again."""

    async def main() -> R:
        async with opened(path, **options) as store:
            return await work(store)

    return asyncio.run(main())


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteStore]:
    """A store, closed at the end."""
    store = await SqliteStore.open(path, **options)
    try:
        yield store
    finally:
        await store.close()


def event(data: bytes = b'{"n":1}', *, id: UUID | None = None, type: str = "Happened") -> NewEvent:
    """An event with an id of its own."""
    return NewEvent(id or uuid7(), type, 1, data)


def one(stream_id: str, *events: NewEvent, expected: ExpectedVersion = Expect.ANY) -> Append:
    """An append to one stream; of one event where none is given."""
    return Append((StreamAppend(stream_id, expected, events or (event(),)),))


def appended(outcome: object) -> Appended:
    """The outcome of an append that must have succeeded."""
    assert isinstance(outcome, Appended), outcome
    return outcome


async def start(program: str, *arguments: object) -> asyncio.subprocess.Process:
    """One of the programs beside this file, in a process of its own; what it prints is read by the test."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAMS / program,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process, timeout: float = 60) -> list[str]:
    """The lines that a program printed, once it has ended well."""
    async with asyncio.timeout(timeout):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode().splitlines()
