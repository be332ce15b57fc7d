"""The PostgreSQL store: lanes that append, pools that read, and a watch for those who follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from foldline.errors import CannotOpen
from foldline.observe import Observer
from foldline.store.postgres import log, reading, restore, tables
from foldline.store.postgres.appender import Appender
from foldline.store.postgres.connect import (
    Connection,
    Line,
    Pool,
    Settings,
    check_server,
    connect,
    is_pooled,
    settings_of,
)
from foldline.store.postgres.errors import ERRORS, LOST, cannot_open, not_a_store
from foldline.store.postgres.migrate import Migration, is_empty, migrate, pending
from foldline.store.postgres.transaction import WorkFailed, load_rows, run_work
from foldline.store.postgres.watch import Watch
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
)

R = TypeVar("R")

CLOSE_WITHIN = 10.0
"""Seconds that close() gives to what was accepted before it lets go of connections without asking."""

OPENINGS = 3
"""How often opening is tried where connections are made and lost again, as they are while a server restarts."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PostgresStore:
    """A store in one PostgreSQL database, made by `open`. It belongs to the event loop that opened it."""

    def __init__(self, settings: Settings, *, pooled: bool, clock: Clock, observer: Observer | None) -> None:
        # Half of the connections are for reading the log, half for views; the lanes and the watch have their own.
        half = max(1, settings.pool_size // 2)
        self._settings = settings
        self._log = Pool(settings, pooled=pooled, raw=True, size=half)
        self._views = Pool(settings, pooled=pooled, raw=False, size=max(1, settings.pool_size - half))
        self._watch = Watch(settings, pooled=pooled, log_pool=self._log, view_pool=self._views)
        self._appender = Appender(settings, pooled=pooled, clock=clock, observer=observer, settled=self._watch.settled)
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock = _utc_now,
        observer: Observer | None = None,
        create: bool = True,
    ) -> PostgresStore:
        """Open the database of a URL such as ``postgresql://shop:secret@db.example/shop?sslmode=verify-full``.

        Whatever asyncpg and libpq know may stand in its query, and besides: ``pool_size`` (connections for reading,
        8), ``timeout`` (seconds for one statement, 60), ``migrate=never``. An empty schema is set up and an older one
        migrated where the role may do that, unless ``create`` is false or the URL says ``migrate=never``. Raises
        CannotOpen, NotAStore or StoreTooNew with the reason, and never with the password.
        """
        settings = settings_of(url)
        for left in reversed(range(OPENINGS)):
            try:
                return await cls._open(settings, clock, observer, create)
            except ERRORS as error:
                # A connection that stood and was lost says nothing of the database; one that cannot be made does.
                if not left or not isinstance(error, LOST):
                    raise cannot_open(error, settings.shown) from error
        raise AssertionError("the last one returns or raises")

    @classmethod
    async def _open(cls, settings: Settings, clock: Clock, observer: Observer | None, create: bool) -> PostgresStore:
        line = await _probe(settings)
        try:
            pooled = await is_pooled(line)
            await check_server(line, settings.shown)
            due = await pending(line, settings.shown)
            if due is None and not create:
                raise not_a_store(settings.shown, "it is empty, or was never set up: run foldline migrate.")
            if due is None and not await is_empty(line):
                raise not_a_store(
                    settings.shown,
                    "it has tables of other programs. Run foldline migrate to set the store up beside them.",
                )
            if due is None or due:
                if not create or not settings.migrate:
                    raise CannotOpen(
                        f"{settings.shown} needs {len(due) if due else 'all'} of Foldline's migrations: "
                        "run foldline migrate."
                    )
                await migrate(line, settings.shown)
        finally:
            line.terminate()
        store = cls(settings, pooled=pooled, clock=clock, observer=observer)
        try:
            await store._start()
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def migrate(cls, url: str) -> list[Migration]:
        """Bring a database to the newest schema, and return what was applied; also beside tables of others."""
        settings = settings_of(url)
        line = await _probe(settings)
        try:
            await check_server(line, settings.shown)
            return await migrate(line, settings.shown)
        except ERRORS as error:
            raise cannot_open(error, settings.shown) from error
        finally:
            line.terminate()

    async def _start(self) -> None:
        await self._log.start()
        await self._views.start()
        await self._appender.start()
        self._watch.start()

    @property
    def capabilities(self) -> Capabilities:
        """Durable, with SQL, and shared with other processes on any machine."""
        return Capabilities(durable=True, sql=True, shared=True)

    # --- The log ----------------------------------------------------------------------------------------------------

    async def append(self, append: Append, /) -> Outcome:
        """Record all of it or nothing."""
        check_append(append)
        return await self._appender.append(append)

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
        if not _can_be(stream_id):
            return []
        events = await self._log.call(
            lambda connection: log.read_stream(connection, stream_id, after, upto, limit, backwards)
        )
        if events:
            self._appender.learn(stream_id, max(events[0].version, events[-1].version))
        return events

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        """At most ``limit`` events with a position above ``after``, in order, and how far that reaches."""
        if limit <= 0:
            return Batch([], after)
        head = self._watch.head
        if after >= head:
            head = await self._watch.ask_head()
            if after >= head:
                return Batch([], after)
        names = None if types is None else [name for name in types if _can_be(name)]
        events = await self._log.call(lambda connection: log.read_all(connection, after, head, limit, names))
        return Batch(events, events[-1].position if len(events) >= limit else head)

    async def head(self) -> int:
        """The position up to which followers may read now."""
        return await self._watch.ask_head()

    async def held(self) -> int | None:
        """The position beyond which followers may not read yet, because appends in flight may still add there.

        None where there are none. As long as it stays the same, one and the same append is open: ``pg_locks`` has its
        process id, beside an advisory lock that carries this position.
        """
        return await self._watch.ask_held()

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until followers may read beyond ``after``; False when ``timeout`` seconds passed without."""
        return await self._watch.wait(after, timeout)

    async def claimed(self, command_id: str, /) -> Claimed | None:
        """What is remembered of a command id."""
        if not _can_be(command_id):
            return None
        return (await self._log.call(lambda connection: log.claims(connection, [command_id]))).get(command_id)

    # --- Snapshots ----------------------------------------------------------------------------------------------------

    async def load_snapshot(self, stream_id: str, /) -> Snapshot | None:
        """The stream's snapshot, if it has one."""
        if not _can_be(stream_id):
            return None
        return await self._log.call(lambda connection: log.load_snapshot(connection, stream_id))

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep it in place of an older one."""
        await self._log.call(lambda connection: log.save_snapshot(connection, snapshot))

    # --- Read models --------------------------------------------------------------------------------------------------

    async def prepare(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make the projection's tables where they are missing or changed, and tell its checkpoint."""
        return await self._prepare(spec, anew=False)

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make the projection's tables anew and set it back to position 0."""
        return await self._prepare(spec, anew=True)

    async def _prepare(self, spec: ProjectionSpec, anew: bool) -> Checkpoint:
        checkpoint = await self._views.call(lambda connection: tables.prepare(connection, spec, anew), transaction=True)
        self._watch.moved([checkpoint])
        return checkpoint

    async def checkpoints(self) -> dict[str, Checkpoint]:
        """All checkpoints, by projection."""
        return await self._views.call(tables.checkpoints)

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The committed rows of these keys; missing ones are left out."""
        return await self._views.call(lambda connection: load_rows(connection, table, keys))

    async def transact(self, work: Work[R], /) -> R:
        """Do the work in one transaction, again where the database was lost or had others in the way."""
        try:
            result, moved = await self._views.call(lambda connection: run_work(work, connection), repeatable=True)
        except WorkFailed as failed:
            raise failed.error from failed.error.__cause__
        self._watch.moved(moved)
        return result

    async def select(self, query: Select, /) -> list[Row]:
        """A page of rows."""
        return await self._views.call(lambda connection: reading.select(connection, query))

    async def count(self, table: Table, where: tuple[Condition, ...] = (), /) -> int:
        """How many rows fit."""
        return await self._views.call(lambda connection: reading.count(connection, table, where))

    async def sql(self, text: str, parameters: Sequence[Any] | dict[str, Any] = (), /) -> tuple[list[str], list[Row]]:
        """The columns and rows of a reading query, with values as asyncpg has them."""
        return await self._views.call(lambda connection: reading.query(connection, text, parameters), transaction=True)

    async def wait_checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        """Wait until a projection, in whichever process, has committed up to a position or beyond."""
        return await self._watch.checkpoint(projection, position, timeout)

    # --- Moving a store -----------------------------------------------------------------------------------------------

    async def restore(self, events: Sequence[RecordedEvent], /) -> None:
        """Record events that another store recorded, as they are."""
        if events:
            await self._restoring(lambda connection: restore.restore(connection, events))
            self._watch.settled()

    async def read_claims(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, Claimed]]:
        """Claims by command id."""
        return await self._log.call(lambda connection: restore.read_claims(connection, after, limit))

    async def restore_claims(self, claims: Sequence[tuple[str, Claimed]], /) -> None:
        """Keep claims that another store remembered."""
        await self._restoring(lambda connection: restore.restore_claims(connection, claims))

    async def _restoring(self, work: Callable[[Connection], Awaitable[R]]) -> R:
        return await self._log.call(work, transaction=True)

    async def close(self) -> None:
        """Finish what was accepted, then let go of everything. Calling it again waits for the same end."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        # Shielded, since a half-closed store would be of no use to anybody.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._appender.close()
        await self._watch.close()
        await asyncio.gather(self._log.close(CLOSE_WITHIN), self._views.close(CLOSE_WITHIN))


async def _probe(settings: Settings) -> Line:
    """A connection to see what is there."""
    try:
        return await connect(settings, pooled=True)
    except ERRORS as error:
        raise cannot_open(error, settings.shown) from error
    except (ValueError, OverflowError) as error:  # an option, or a port, that cannot be
        raise cannot_open(error, settings.shown) from None


def _can_be(name: str) -> bool:
    """Whether PostgreSQL's text can hold a name; nothing that it cannot hold was ever recorded."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False
