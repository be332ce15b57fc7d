"""The SQLite store: one thread that writes, a few that read, and the calls of the SPI handed over to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw

from foldline.errors import StoreClosed, StoreError
from foldline.observe import Observer
from foldline.store.spi import (
    Append,
    Batch,
    Capabilities,
    Checkpoint,
    Claimed,
    Clock,
    Condition,
    Outcome,
    ProjectionSpec,
    RecordedEvent,
    Row,
    Select,
    Snapshot,
    Table,
    Work,
    check_append,
    to_micros,
)
from foldline.store.sqlite import log, reading, tables
from foldline.store.sqlite import restore as restoring
from foldline.store.sqlite.columns import bind
from foldline.store.sqlite.connect import migrate_file, open_writer
from foldline.store.sqlite.gate import Gate
from foldline.store.sqlite.lane import Intake, Lane
from foldline.store.sqlite.migrate import Migration
from foldline.store.sqlite.reading import Reader, serve_reads
from foldline.store.sqlite.transaction import load_rows, run_work
from foldline.store.sqlite.watch import Lookout, Watch
from foldline.store.sqlite.writer import Change, Writer

R = TypeVar("R")

QUERIES = 2
"""Threads for pages, counts and SQL, which may be long.

Short reads share one thread of their own, and those who follow the log another: reading rows is bound by the
interpreter's lock, so a second thread for them would only make both slower.
"""

CLOSE_WITHIN = 30.0
"""Seconds that close() gives to what was accepted before it stops readers and reports a writer that hangs."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteStore:
    """A store in one SQLite file, made by `open`. It belongs to the event loop that opened it."""

    def __init__(
        self, path: str, clock: Clock, observer: Observer | None, synchronous: str, busy_timeout: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self._path = path
        self._clock = clock
        self._gate: Gate | None = None
        self._writes = Intake(loop)
        self._write = self._writes.submit
        self._reads = Intake(loop)
        self._follows = Intake(loop)
        self._queries = Intake(loop, QUERIES)
        self._watch = Watch(loop, self._follows)
        self._connections: list[apsw.Connection] = []
        self._closing: asyncio.Task[None] | None = None

        def connect() -> apsw.Connection:
            connection = open_writer(
                path, synchronous=synchronous, busy_timeout=busy_timeout, now=lambda: to_micros(clock())
            )
            connection.convert_binding = bind
            self._gate = Gate(connection, reading=False)
            return connection

        def read(kind: type[Reader]) -> Reader:
            reader = kind(path, busy_timeout)
            self._connections.append(reader.connection)
            return reader

        writer = Writer(path, clock=clock, observer=observer, loop=loop, committed=self._watch.committed)
        self._writer: Lane[apsw.Connection] = Lane(
            "foldline-writer", self._writes.queue, enter=connect, serve=writer.serve, leave=_leave, gather=True
        )
        serve = serve_reads(loop)
        queues = [self._reads.queue, *[self._queries.queue] * QUERIES]
        self._readers: list[Lane[Reader]] = [
            Lane(f"foldline-reader-{number}", queue, enter=partial(read, Reader), serve=serve, leave=Reader.close)
            for number, queue in enumerate(queues, 1)
        ]
        self._readers.append(
            Lane(
                "foldline-follower", self._follows.queue, enter=partial(read, Lookout), serve=serve, leave=Reader.close
            )
        )

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Clock = _utc_now,
        observer: Observer | None = None,
        synchronous: str = "FULL",
        busy_timeout: float = 5.0,
    ) -> SqliteStore:
        """Open a file, making it where it is missing.

        With ``synchronous="FULL"`` an acknowledged append survives a power cut; with ``"NORMAL"`` the last moments
        before one may be lost, though never a part of an append. ``busy_timeout`` is how many seconds to wait for
        another process that writes. Raises CannotOpen, NotAStore, StoreTooNew or StoreReadOnly with the reason.
        """
        if synchronous not in ("FULL", "NORMAL"):
            raise StoreError(f"synchronous is FULL or NORMAL, not {synchronous!r}.")
        store = cls(_absolute(path), clock, observer, synchronous, busy_timeout)
        try:
            await store._writer.start()
            await asyncio.gather(*(lane.start() for lane in store._readers))
        except BaseException:
            await store.close()
            raise
        return store

    @staticmethod
    async def migrate(
        path: str | os.PathLike[str], *, clock: Clock = _utc_now, busy_timeout: float = 5.0
    ) -> list[Migration]:
        """Bring a file to the newest schema, as opening it does, and tell what was applied; raises the same."""
        return await asyncio.to_thread(
            migrate_file, _absolute(path), busy_timeout=busy_timeout, now=lambda: to_micros(clock())
        )

    @property
    def capabilities(self) -> Capabilities:
        """Durable, with SQL, and shared with other processes of this machine."""
        return Capabilities(durable=True, sql=True, shared=True)

    # --- The log ----------------------------------------------------------------------------------------------------

    async def append(self, append: Append, /) -> Outcome:
        """Record all of it or nothing."""
        check_append(append)
        outcome: Outcome = await self._write(append)
        return outcome

    async def read_stream(
        self,
        stream_id: str,
        /,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> list[RecordedEvent]:
        """The stream's events with ``after < version <= upto``, at most ``limit``, oldest first unless backwards."""
        return await self._read(lambda at: log.read_stream(at.connection, stream_id, after, upto, limit, backwards))

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        """At most ``limit`` events with a position above ``after``, in order, and how far that reaches."""
        batch: Batch = await self._follows.submit(lambda at: log.read_all(at.connection, after, limit, types))
        return batch

    async def head(self) -> int:
        """The position of the last event."""
        return await self._read(_head)

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until the log holds events above ``after``; False when ``timeout`` seconds passed without."""
        return await self._watch.head(after, timeout, lambda: self._reads.submit(_head))

    async def claimed(self, command_id: str, /) -> Claimed | None:
        """What is remembered of a command id."""
        return await self._read(lambda at: log.claimed(at.connection, command_id))

    async def restore(self, events: Sequence[RecordedEvent], /) -> None:
        """Record events that another store recorded, just as they are there, all or nothing."""
        events = tuple(events)
        await self._writes.submit(Change(lambda connection, moved: restoring.restore(connection, events), True))

    async def read_claims(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, Claimed]]:
        """At most ``limit`` command ids above ``after``, in order, and what they came to."""
        return await self._query(lambda at: restoring.read_claims(at.connection, after, limit))

    async def restore_claims(self, claims: Sequence[tuple[str, Claimed]], /) -> None:
        """Remember command ids that another store claimed; those known here are kept."""
        claims, now = tuple(claims), to_micros(self._clock())
        await self._writes.submit(
            Change(lambda connection, moved: restoring.restore_claims(connection, claims, now), True)
        )

    # --- Snapshots ----------------------------------------------------------------------------------------------------

    async def load_snapshot(self, stream_id: str, /) -> Snapshot | None:
        """The stream's snapshot, if it has one."""
        return await self._read(lambda at: log.load_snapshot(at.connection, stream_id))

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep it in place of an older one."""
        await self._writes.submit(Change(lambda connection, moved: log.save_snapshot(connection, snapshot)))

    # --- Read models --------------------------------------------------------------------------------------------------

    async def prepare(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make the projection's tables where they are missing or changed, and tell its checkpoint."""
        return await self._prepare(spec, anew=False)

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make the projection's tables anew and set it back to position 0."""
        return await self._prepare(spec, anew=True)

    async def checkpoints(self) -> dict[str, Checkpoint]:
        """All checkpoints, by projection."""
        return await self._read(lambda at: tables.checkpoints(at.connection))

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The committed rows of these keys; missing ones are left out."""
        return await self._read(lambda at: load_rows(at.connection, table, keys))

    async def transact(self, work: Work[R], /) -> R:
        """Do the work in one transaction, on the writer's thread."""
        result = await self._writes.submit(
            Change(lambda connection, moved: run_work(work, connection, self._writing_gate, self._path, moved))
        )
        return cast("R", result)

    async def select(self, query: Select, /) -> list[Row]:
        """A page of rows."""
        return await self._query(lambda at: reading.select(at, query))

    async def count(self, table: Table, where: tuple[Condition, ...] = (), /) -> int:
        """How many rows fit."""
        return await self._query(lambda at: reading.count(at, table, where))

    async def sql(self, text: str, parameters: Sequence[Any] | dict[str, Any] = (), /) -> tuple[list[str], list[Row]]:
        """The columns and rows of a reading query, with values as SQLite has them."""
        return await self._query(lambda at: reading.query(at, text, parameters))

    async def wait_checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        """Wait until a projection, in whichever process, has committed up to a position or beyond."""
        return await self._watch.checkpoint(
            projection,
            position,
            timeout,
            lambda: self._reads.submit(lambda at: tables.checkpoint(at.connection, projection)),
        )

    async def close(self) -> None:
        """Finish what was accepted, then let go of the file. Calling it again waits for the same end."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        # Shielded, since a half-closed store would be of no use to anybody.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._watch.close()
        for intake in (self._writes, self._reads, self._follows, self._queries):
            intake.close()
        ended = await asyncio.gather(*(lane.join(CLOSE_WITHIN) for lane in self._readers))
        if not all(ended):
            for connection in self._connections:
                connection.interrupt()
            ended = await asyncio.gather(*(lane.join(CLOSE_WITHIN) for lane in self._readers))
        # The last to go, so that it finds nobody reading and can move the whole log into the database.
        ended = [*ended, await self._writer.join(CLOSE_WITHIN)]
        if not all(ended):
            raise StoreError(f"{self._path} is still being worked on {CLOSE_WITHIN:g} s after it was told to close.")

    @property
    def _writing_gate(self) -> Gate:
        if self._gate is None:
            raise StoreClosed
        return self._gate

    async def _prepare(self, spec: ProjectionSpec, anew: bool) -> Checkpoint:
        def make(connection: apsw.Connection, moved: list[Checkpoint]) -> Checkpoint:
            checkpoint = tables.prepare(connection, self._writing_gate, spec, anew)
            moved.append(checkpoint)
            return checkpoint

        return cast("Checkpoint", await self._writes.submit(Change(make)))

    async def _read(self, read: Callable[[Reader], R]) -> R:
        return cast("R", await self._reads.submit(read))

    async def _query(self, read: Callable[[Reader], R]) -> R:
        return cast("R", await self._queries.submit(read))


def _absolute(path: str | os.PathLike[str]) -> str:
    # Worked out once, so that a later change of directory does not send the readers to another file.
    return str(Path(path).absolute())


def _head(reader: Reader) -> int:
    return log.head(reader.connection)


def _leave(connection: apsw.Connection) -> None:
    try:
        connection.execute("PRAGMA optimize").fetchall()
    except (apsw.BusyError, apsw.FullError, apsw.IOError, apsw.ReadOnlyError):
        pass  # statistics for the planner: the next one to close can make them
    # Closing moves the log into the database where nobody else has the file open.
    connection.close(True)
