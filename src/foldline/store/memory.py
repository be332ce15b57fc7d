"""The store in memory: the readable specification of what every adapter does.

One event loop uses it, and no operation awaits between reading and changing it, so each is atomic by itself. What a
database keeps in tables and indexes is here lists and dictionaries; everything is gone with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from foldline.errors import DefinitionError, EventIdReused, StoreClosed, Unsupported
from foldline.observe import AppendsCommitted, Observer
from foldline.store.spi import (
    Append,
    Appended,
    Batch,
    Capabilities,
    Checkpoint,
    Claimed,
    ClaimReused,
    Clock,
    Condition,
    Expect,
    Op,
    Ordering,
    Outcome,
    ProjectionSpec,
    RecordedEvent,
    Row,
    Select,
    Snapshot,
    Table,
    VersionConflict,
    Work,
    check_append,
    to_micros,
)

R = TypeVar("R")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Tables(NamedTuple):
    """What a transaction changes: rows by table and key, and the checkpoints."""

    rows: dict[str, dict[Any, Row]]
    checkpoints: dict[str, Checkpoint]


class MemoryStore:
    """A store that lives as long as its object."""

    def __init__(self, *, clock: Clock = _utc_now, observer: Observer | None = None) -> None:
        self._clock = clock
        self._observer = observer
        self._log: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._by_id: dict[bytes, RecordedEvent] = {}
        self._claims: dict[str, Claimed] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._specs: dict[str, ProjectionSpec] = {}
        self._tables = _Tables({}, {})
        self._latest = 0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Neither durable, nor with SQL, nor shared."""
        return Capabilities(durable=False, sql=False, shared=False)

    async def close(self) -> None:
        """Let go of everything; those who wait are told so."""
        self._closed = True
        self._signal()

    # --- The log ----------------------------------------------------------------------------------------------------

    async def append(self, append: Append, /) -> Outcome:
        """Record all of it or nothing."""
        self._open()
        check_append(append)
        # 1. A command id that was claimed before decides everything.
        claim = append.claim
        if claim is not None and (known := self._claims.get(claim.command_id)) is not None:
            if known.fingerprint != claim.fingerprint:
                return ClaimReused(claim.command_id)
            return known.outcome._replace(replayed=True)
        # 2. Event ids that are recorded already make it a retry, which also looks like a conflict: so this comes first.
        if (first := self._recorded_before(append)) is not None:
            return first
        # 3. Every stream must be at the version that its append expects.
        for stream_id, expected, _ in append.streams:
            actual = len(self._streams.get(stream_id, ()))
            wanted = 0 if expected is Expect.NO_STREAM else expected
            if wanted is not Expect.ANY and wanted != actual:
                return VersionConflict(stream_id, expected, actual)
        # 4. Now nothing can fail any more.
        return self._record(append)

    def _recorded_before(self, append: Append) -> Appended | None:
        ids = [event.event_id for stream in append.streams for event in stream.events]
        if len(set(ids)) < len(ids):
            raise EventIdReused("Two events of this append have the same id: give each event its own.")
        there = {one.event_id: self._by_id[one.event_id.bytes] for stream in append.streams for one in stream.events
                 if one.event_id.bytes in self._by_id}  # fmt: skip
        if not there:
            return None
        versions: dict[str, int] = {}
        positions: list[int] = []
        for stream_id, _, events in append.streams:
            versions[stream_id] = len(self._streams.get(stream_id, ()))
            for event in events:
                recorded = there.get(event.event_id)
                if recorded is None or recorded.stream_id != stream_id:
                    raise EventIdReused
                versions[stream_id] = recorded.version
                positions.append(recorded.position)
        # What was one append stands together in the log.
        if positions != list(range(positions[0], positions[0] + len(positions))):
            raise EventIdReused
        return Appended(tuple(versions.items()), positions[-1], tuple(ids), replayed=True)

    def _record(self, append: Append) -> Appended:
        now = self._latest = max(self._latest, to_micros(self._clock()))
        added: list[RecordedEvent] = []
        for stream_id, _, events in append.streams:
            version = len(self._streams.get(stream_id, ()))
            for event in events:
                version += 1
                added.append(
                    RecordedEvent(
                        position=len(self._log) + len(added) + 1,
                        raw_id=event.event_id.bytes,
                        stream_id=stream_id,
                        category=stream_id.partition("-")[0],
                        version=version,
                        type=event.type,
                        schema_version=event.schema_version,
                        data=bytes(event.data),
                        metadata=bytes(event.metadata),
                        recorded_micros=now if event.recorded_micros is None else event.recorded_micros,
                        correlation_id=event.correlation_id,
                        causation_id=event.causation_id,
                        actor=event.actor,
                    )
                )
        for recorded in added:
            self._log.append(recorded)
            self._streams.setdefault(recorded.stream_id, []).append(recorded)
            self._by_id[recorded.raw_id] = recorded
        outcome = Appended(
            tuple((stream.stream_id, len(self._streams.get(stream.stream_id, ()))) for stream in append.streams),
            len(self._log),
            tuple(recorded.event_id for recorded in added),
        )
        if append.claim is not None:
            self._claims[append.claim.command_id] = Claimed(append.claim.fingerprint, outcome)
        if self._observer is not None:
            self._observer(AppendsCommitted(1, len(added), 0.0))
        self._signal()
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
        """The stream's events between two versions, oldest first unless backwards."""
        self._open()
        events = self._streams.get(stream_id, [])[max(after, 0) : upto if upto is None else max(upto, 0)]
        if backwards:
            events.reverse()
        return events if limit is None else events[: max(limit, 0)]

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        """The next events of these types, and how far that reaches."""
        self._open()
        found: list[RecordedEvent] = []
        for recorded in self._log[max(after, 0) :]:
            if types is None or recorded.type in types:
                if len(found) == limit:
                    return Batch(found, found[-1].position if found else after)
                found.append(recorded)
        return Batch(found, max(after, len(self._log)))

    async def head(self) -> int:
        """The position of the last event."""
        self._open()
        return len(self._log)

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until there is an event above a position."""
        return await self._until(lambda: len(self._log) > after, timeout)

    async def claimed(self, command_id: str, /) -> Claimed | None:
        """What is remembered of a command id."""
        self._open()
        return self._claims.get(command_id)

    # --- Snapshots --------------------------------------------------------------------------------------------------

    async def load_snapshot(self, stream_id: str, /) -> Snapshot | None:
        """The stream's snapshot."""
        self._open()
        return self._snapshots.get(stream_id)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep it unless a newer one is kept. One of other code replaces even a newer one, which nobody can use."""
        self._open()
        known = self._snapshots.get(snapshot.stream_id)
        if known is None or known.version <= snapshot.version or known.fingerprint != snapshot.fingerprint:
            self._snapshots[snapshot.stream_id] = snapshot

    # --- Read models --------------------------------------------------------------------------------------------------

    async def prepare(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make what is missing, and tell the checkpoint."""
        self._open()
        known = self._tables.checkpoints.get(spec.name)
        if known is None or known.fingerprint != spec.fingerprint:
            return await self.reset(spec)
        return known

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Empty the projection's tables and set it back to position 0."""
        self._open()
        if spec.setup or spec.owned:
            raise Unsupported(f"Projection {spec.name!r} is written in SQL, which a store in memory does not have.")
        for table in spec.tables:
            for other in self._specs.values():
                if other.name != spec.name and table.name in (one.name for one in other.tables):
                    raise DefinitionError(f"Table {table.name!r} belongs to projection {other.name!r}: use another name.")
        for table in self._specs[spec.name].tables if spec.name in self._specs else ():
            self._tables.rows.pop(table.name, None)
        self._specs[spec.name] = spec
        self._tables.rows.update({table.name: {} for table in spec.tables})
        known = self._tables.checkpoints.get(spec.name)
        generation = 1 if known is None else known.generation + 1
        fresh = self._tables.checkpoints[spec.name] = Checkpoint(spec.name, 0, generation, spec.fingerprint)
        self._signal()
        return fresh

    async def checkpoints(self) -> dict[str, Checkpoint]:
        """All checkpoints, by projection."""
        self._open()
        return dict(self._tables.checkpoints)

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The rows of these keys."""
        self._open()
        rows = self._tables.rows[table.name]
        return [rows[key] for key in dict.fromkeys(keys) if key in rows]

    async def transact(self, work: Work[R], /) -> R:
        """Do the work, and undo it if it does not end well. Nobody sees what is between, for nothing awaits."""
        self._open()
        transaction = _Transaction(self._tables)
        try:
            result = _run(work, transaction)
        except BaseException:
            transaction.undo()
            raise
        self._signal()
        return result

    async def select(self, query: Select, /) -> list[Row]:
        """A page of rows."""
        self._open()
        order = query.order or (Ordering(query.table.key),)
        places = [_place(query.table, ordering.column) for ordering in order]
        rows = self._fitting(query.table, query.where)
        # Sorting by the last column first, and stably, leaves the first column as the one that counts most.
        for place, ordering in reversed([*zip(places, order, strict=True)]):
            rows.sort(key=lambda row, at=place: _rank(row[at]), reverse=ordering.descending)  # type: ignore[misc]
        if query.after is not None:
            start = query.after
            rows = [row for row in rows if _comes_after(row, start, places, order)]
        return rows if query.limit is None else rows[: query.limit]

    async def count(self, table: Table, where: tuple[Condition, ...] = (), /) -> int:
        """How many rows fit."""
        self._open()
        return len(self._fitting(table, where))

    async def sql(
        self, text: str, parameters: Sequence[Any] | dict[str, Any] = (), /
    ) -> tuple[list[str], list[Row]]:
        """There is no SQL here."""
        raise Unsupported("A store in memory has no SQL: use a sqlite: store.")

    async def wait_checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        """Wait until a projection has committed up to a position."""
        checkpoints = self._tables.checkpoints
        if projection not in checkpoints:
            return None
        reached = await self._until(lambda: checkpoints[projection].position >= position, timeout)
        return checkpoints[projection] if reached else None

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._closed:
            raise StoreClosed

    def _signal(self) -> None:
        """Wake all who wait, so that each looks for itself."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, reached: Callable[[], bool], timeout: float) -> bool:
        self._open()
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    await self._changed.wait()
                    self._open()
        except TimeoutError:
            return False
        return True

    def _fitting(self, table: Table, where: tuple[Condition, ...]) -> list[Row]:
        tests = [(_place(table, condition.column), condition) for condition in where]
        return [
            row for row in self._tables.rows[table.name].values() if all(_fits(row[at], test) for at, test in tests)
        ]


class _Transaction:
    """A transaction: changes the tables at once, and remembers what was there."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._before: list[tuple[dict[Any, Any], Any, Any]] = []

    def undo(self) -> None:
        """Put back what was there."""
        for place, key, value in reversed(self._before):
            if value is None:
                place.pop(key, None)
            else:
                place[key] = value

    def _set(self, place: dict[Any, Any], key: Any, value: Any) -> None:
        self._before.append((place, key, place.get(key)))
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value

    async def advance(self, checkpoint: Checkpoint, position: int, /) -> bool:
        """Compare and set."""
        if self._tables.checkpoints.get(checkpoint.projection) != checkpoint:
            return False
        self._set(self._tables.checkpoints, checkpoint.projection, checkpoint._replace(position=position))
        return True

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The rows of these keys."""
        rows = self._tables.rows[table.name]
        return [rows[key] for key in dict.fromkeys(keys) if key in rows]

    async def upsert(self, table: Table, rows: Sequence[Row], /) -> None:
        """Write whole rows."""
        at = _place(table, table.key)
        for row in rows:
            self._set(self._tables.rows[table.name], row[at], tuple(row))

    async def delete(self, table: Table, keys: Collection[Any], /) -> None:
        """Remove the rows of these keys."""
        for key in keys:
            self._set(self._tables.rows[table.name], key, None)

    async def execute(self, sql: str, *parameters: Any) -> None:
        """There is no SQL here."""
        raise Unsupported("A store in memory has no SQL: use a sqlite: store.")

    async def fetch(self, sql: str, *parameters: Any) -> list[Row]:
        """There is no SQL here."""
        raise Unsupported("A store in memory has no SQL: use a sqlite: store.")


def _run(work: Work[R], transaction: _Transaction) -> R:
    """Drive the work to its end; it may await nothing that would really wait."""
    awaiting = work(transaction).__await__()
    try:
        next(awaiting)
    except StopIteration as done:
        result: R = done.value
        return result
    close = getattr(awaiting, "close", None)
    if close is not None:
        close()
    raise DefinitionError("The work of a transaction may await only the transaction: fetch what it needs before.")


def _place(table: Table, column: str) -> int:
    return next(index for index, one in enumerate(table.columns) if one.name == column)


def _rank(value: Any) -> tuple[bool, Any]:
    """A value as it sorts: nulls are the least."""
    return (value is not None, value)


def _comes_after(row: Row, start: Row, places: list[int], order: tuple[Ordering, ...]) -> bool:
    for at, ordering, wanted in zip(places, order, start, strict=True):
        mine, other = _rank(row[at]), _rank(wanted)
        if mine[0] != other[0] or (mine[0] and mine[1] != other[1]):
            return (mine > other) != ordering.descending
    return False


def _lower(text: str) -> str:
    """ASCII letters in lower case; all others as they are."""
    return "".join(char.lower() if char.isascii() else char for char in text)


def _fits(value: Any, condition: Condition) -> bool:
    """Whether a value meets a condition. As in SQL, null is neither equal nor unequal to anything."""
    op, wanted = condition.op, condition.value
    if op is Op.NULL:
        return (value is None) is bool(wanted)
    if value is None or wanted is None:
        return False
    if op is Op.IN:
        return any(value == one for one in wanted)
    if op is Op.CONTAINS:
        return _lower(wanted) in _lower(value)
    if op is Op.STARTSWITH:
        return bool(value.startswith(wanted))
    return bool(
        {Op.EQ: value.__eq__, Op.NE: value.__ne__, Op.LT: value.__lt__, Op.LE: value.__le__,
         Op.GT: value.__gt__, Op.GE: value.__ge__}[op](wanted)
    )  # fmt: skip
