"""What the tests of the PostgreSQL store share: chance with a printed seed, small appends, programs, what a log is."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from foldline.errors import OutcomeUnknown, StoreBusy, StoreUnavailable
from foldline.store.postgres import PostgresStore
from foldline.store.spi import (
    Append,
    Appended,
    Batch,
    Expect,
    ExpectedVersion,
    NewEvent,
    Outcome,
    ProjectionSpec,
    RecordedEvent,
    Store,
    StreamAppend,
)

R = TypeVar("R")

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[3]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

COLUMNS = (
    "position", "event_id", "stream_id", "category", "version", "type", "schema_version", "data", "metadata",
    "recorded_at", "correlation_id", "causation_id", "actor",
)  # fmt: skip

KEPT = ProjectionSpec(
    "kept",
    "1",
    setup=(
        (
            "CREATE TABLE seen (nr bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, position bigint, event_id uuid,"
            " stream_id text, version bigint, at double precision)"
        ),
    ),
    owned=("seen",),
)
"""What follow.py keeps: what it saw, in the order in which it did, without anything that would hide what came twice."""


def chance() -> random.Random:
    """What is random in a test: by the seed in FOLDLINE_TEST_SEED, or a new one, which is printed either way."""
    seed = int(os.environ.get("FOLDLINE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FOLDLINE_TEST_SEED={seed}", flush=True)
    return random.Random(seed)


def run(work: Callable[[PostgresStore], Awaitable[R]], url: str, *, within: float = 60) -> R:
    """Do something with a store, opened for it and closed again, within so many seconds."""

    async def main() -> R:
        async with asyncio.timeout(within), opened(url) as store:
            return await work(store)

    return asyncio.run(main())


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresStore]:
    """A store, closed at the end."""
    store = await PostgresStore.open(url, **options)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection beside the stores, which at the end is dropped in whichever state it is."""
    connection = await asyncpg.connect(url, timeout=20)
    try:
        yield connection
    finally:
        connection.terminate()
        # What it had is closed in a later turn of the loop.
        await asyncio.sleep(0)


def name_of(url: str) -> str:
    """The name of a URL's database."""
    return urlsplit(url).path.removeprefix("/")


def with_options(url: str, **options: object) -> str:
    """The URL with these options in its query."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **{name: str(value) for name, value in options.items()}}
    return parts._replace(query=urlencode(query)).geturl()


# --- Appending -------------------------------------------------------------------------------------------------------


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


def ids_of(append: Append) -> list[UUID]:
    """The ids of all events of an append."""
    return [event.event_id for stream in append.streams for event in stream.events]


async def insist(store: Store, append: Append, within: float = 60) -> Outcome:
    """Append until there is an outcome, as a caller does who may not give up: each time with the same event ids."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await store.append(append)
            except (OutcomeUnknown, StoreUnavailable, StoreBusy):
                await asyncio.sleep(0.01)


async def eventually(check: Callable[[], Awaitable[R]], within: float = 10, what: str = "") -> R:
    """What a check tells as soon as that is true."""
    deadline = time.monotonic() + within
    while not (result := await check()):
        assert time.monotonic() < deadline, f"{what or check} was not so within {within:g} s"
        await asyncio.sleep(0.005)
    return result


# --- The log ---------------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """An event, as far as order and identity go."""

    position: int
    event_id: UUID
    stream_id: str
    version: int


class Source(Protocol):
    """What can be followed."""

    async def read_all(self, *, after: int = 0, limit: int = 1000) -> Batch:
        """What comes next."""
        ...

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait for more."""
        ...


async def follow(
    source: Source,
    take: Callable[[Sequence[RecordedEvent]], Awaitable[None]],
    after: int,
    until: asyncio.Future[int],
) -> None:
    """Hand on what comes after a position, until one that is told later has been reached."""
    while not (until.done() and after >= until.result()):
        try:
            batch = await source.read_all(after=after, limit=500)
            if batch.events:
                await take(batch.events)
            after = batch.position
            if not batch.events:
                await source.wait(after, 0.5)
        except (StoreUnavailable, StoreBusy):
            await asyncio.sleep(0.01)


async def table(url: str) -> list[Seen]:
    """All events, in order of their positions, as the table has them."""
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT position, event_id, stream_id, version FROM foldline_events ORDER BY position"
        )
        return [Seen(row[0], UUID(str(row[1])), row[2], row[3]) for row in rows]


async def everything(store: Store, limit: int = 2_000) -> list[Seen]:
    """All events up to the head, as a follower reads them."""
    seen: list[Seen] = []
    after, head = 0, await store.head()
    while after < head:
        batch = await store.read_all(after=after, limit=limit)
        seen += [Seen(one.position, one.event_id, one.stream_id, one.version) for one in batch.events]
        after = batch.position
    return seen


def faults_of_log(log: Sequence[Seen]) -> list[str]:
    """What is wrong with a log in itself: versions that have holes, or do not grow with their positions."""
    faults: list[str] = []
    versions: dict[str, int] = {}
    for one in log:
        before = versions.get(one.stream_id, 0)
        if one.version != before + 1:
            faults.append(f"{one.stream_id} has version {one.version} after {before}, at position {one.position}")
        versions[one.stream_id] = one.version
    if len({one.event_id for one in log}) != len(log):
        faults.append("an event is there twice")
    return faults


def faults_of_follower(seen: Sequence[Seen], log: Sequence[Seen]) -> list[str]:
    """What is wrong with what a follower saw of a log."""
    faults: list[str] = []
    if lost := set(log) - set(seen):
        faults.append(f"{len(lost)} events were lost, the first at {min(lost).position}")
    if added := set(seen) - set(log):
        faults.append(f"{len(added)} events were seen that are not there, the first at {min(added).position}")
    if len(set(seen)) < len(seen):
        faults.append(f"{len(seen) - len(set(seen))} events were seen again")
    positions = [one.position for one in seen]
    if positions != sorted(positions):
        faults.append("positions were not seen in order")
    versions: dict[str, int] = {}
    for one in seen:
        if one.version <= versions.get(one.stream_id, 0):
            faults.append(f"{one.stream_id} was seen at version {one.version} after {versions[one.stream_id]}")
            break
        versions[one.stream_id] = one.version
    return faults


# --- Programs --------------------------------------------------------------------------------------------------------


async def start(program: str, *arguments: object, output: Path | None = None) -> asyncio.subprocess.Process:
    """One of the programs beside this file, in a process of its own; what it prints is read by the test or filed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
    if output is None:
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, limit=2**20
        )
    with output.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=file, env=environment
        )


async def input_line() -> str:
    """The first line of this program's input; empty where it ends without one."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        return (await reader.readline()).decode().strip()
    finally:
        transport.close()


async def line(process: asyncio.subprocess.Process, timeout: float = 30) -> str:
    """The next line that a program prints."""
    assert process.stdout is not None
    async with asyncio.timeout(timeout):
        read = await process.stdout.readline()
    assert read, f"the program ended with {await process.wait()}"
    return read.decode().rstrip("\n")


async def finish(process: asyncio.subprocess.Process, timeout: float = 60, *, given: str = "") -> list[str]:
    """The lines that a program still printed, once it was told the last and has ended well."""
    async with asyncio.timeout(timeout):
        output, _ = await process.communicate(given.encode())
    lines = (output or b"").decode().splitlines()
    assert process.returncode == 0, lines[-20:]
    return lines


async def kill(processes: Iterable[asyncio.subprocess.Process]) -> None:
    """End processes that still run."""
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()
