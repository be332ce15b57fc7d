"""What a store is: the protocols every adapter fulfils, the values that cross them, and the guarantees.

These hold for every adapter, and each has a contract test in `foldline.testing.contract`:

G1  An acknowledged append is durable, whole and contiguous in its stream. An append that failed left nothing. An
    append whose outcome is unknown is resolved by its event ids: retrying it yields one copy and a success.
G2  Two writers never both win the same version. A conflict tells the stream's actual version. An expected version
    beyond the stream's end is a conflict, never a hole.
G3  Positions order a stream's events as its versions do, and order events of different streams consistently with
    real time: if append A returned before B was called, all of A's positions are below B's.
G4  A follower sees every event, once, in position order. It never skips an event whose transaction committed late,
    never waits on a timer to decide that a gap is dead, and is never held up by a transaction that has nothing to do
    with appending, however long that one stays open.
G5  Events are immutable: the database itself refuses UPDATE, DELETE and TRUNCATE outside archiving and migration.
G6  A read model's rows and its checkpoint commit in one transaction, so each event's effect on it is applied exactly
    once, whatever crashes. Effects outside that transaction are at-least-once, with an idempotency key.
G7  What goes in comes out: any JSON text value, byte for byte, with its key order, big integers and Unicode. NUL and
    lone surrogates inside ids, and lone surrogates inside data, are refused alike by every adapter.

Positions grow and may have gaps; versions count from 1 without gaps. Nothing here assumes SQL, or that read models
live in the same database as the log: an EventStore, a SnapshotStore and a ViewStore may be three things or one.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from foldline.domain.message import Envelope, check_id
from foldline.errors import Conflict, EventIdReused, Fault, StoreError, ValidationFailed

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_ID = UUID(int=0)
_check_json = msgspec.json.Decoder(msgspec.Raw).decode
_check_type = lru_cache(maxsize=4096)(partial(check_id, "An event's type"))  # the few that there are, again and again

MAX_DATA_BYTES = 16 * 1024 * 1024
"""The most bytes one event's data or metadata may have."""


def to_micros(moment: datetime) -> int:
    """A moment as whole microseconds since 1970 UTC, which is how stores keep time. Naive moments are refused."""
    if moment.tzinfo is None:
        raise ValidationFailed("A time", [Fault("$", "it has no UTC offset")])
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The moment, in UTC, of a stored time."""
    return _EPOCH + timedelta(microseconds=micros)


# --- Writing ---------------------------------------------------------------------------------------------------------


class Expect(enum.Enum):
    """Preconditions that name no version: any version at all, or that the stream does not exist yet."""

    ANY = "any version"
    NO_STREAM = "no stream"


ExpectedVersion: TypeAlias = Expect | int
"""What a stream must be at for its append to win: a version (0 is the same as NO_STREAM), or an `Expect`."""


class NewEvent(NamedTuple):
    """An event on its way into the store: nobody has given it a version or a position yet.

    ``data`` and ``metadata`` are JSON text in UTF-8 and are kept byte for byte. ``recorded_micros`` is left out but
    by imports, which keep an original time; else the store's clock tells it.
    """

    event_id: UUID
    type: str
    schema_version: int
    data: bytes
    metadata: bytes = b"{}"
    correlation_id: str | None = None
    causation_id: str | None = None
    actor: str | None = None
    recorded_micros: int | None = None


class StreamAppend(NamedTuple):
    """Events for one stream, and what that stream must be at."""

    stream_id: str
    expected: ExpectedVersion
    events: Sequence[NewEvent]


class Claim(NamedTuple):
    """A command id taken in the append's own transaction, with a digest of the command's body."""

    command_id: str
    fingerprint: bytes


class Append(NamedTuple):
    """What is recorded all or nothing: events for one or more streams, each stream named once, and maybe a claim."""

    streams: tuple[StreamAppend, ...]
    claim: Claim | None = None


class Appended(NamedTuple):
    """The append is durable.

    ``versions`` is each stream's version after it, in the append's order; ``position`` is that of its last event (of
    the log's end if it had none). ``replayed`` says that it, or its command, had been recorded before and nothing was
    added now; what is told is the first outcome.
    """

    versions: tuple[tuple[str, int], ...]
    position: int
    event_ids: tuple[UUID, ...]
    replayed: bool = False


class VersionConflict(NamedTuple):
    """A stream was not at the expected version, so nothing was recorded. ``actual`` is 0 for a stream that is not."""

    stream_id: str
    expected: ExpectedVersion
    actual: int

    def error(self) -> Conflict:
        """The same as an exception, for those who cannot resolve it."""
        expected = self.expected.value if isinstance(self.expected, Expect) else f"version {self.expected}"
        return Conflict(self.stream_id, expected, self.actual)


class ClaimReused(NamedTuple):
    """The command id had been claimed with another body, so nothing was recorded."""

    command_id: str


Outcome: TypeAlias = Appended | VersionConflict | ClaimReused


class Claimed(NamedTuple):
    """A claim as the store remembers it: the body's digest, and what the append came to."""

    fingerprint: bytes
    outcome: Appended


def check_append(append: Append) -> None:
    """Raise ValidationFailed for an append that no store could keep. Every adapter calls this first."""
    streams, claim = append
    if len(streams) > 1:
        names = [stream.stream_id for stream in streams]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValidationFailed("An append", [Fault("$.streams", f"it names stream {twice!r} twice")])
    for stream_id, expected, events in streams:
        check_id("The stream id", stream_id)
        if type(expected) is int and expected < 0:
            raise ValidationFailed("An append", [Fault("$.streams", f"it expects version {expected}; 0 is the least")])
        for event in events:
            check_event(event)
    if claim is not None:
        check_id("The command id", claim.command_id)


def check_event(event: NewEvent) -> None:
    """Raise ValidationFailed for an event that no store could keep."""
    _, name, _, data, metadata, correlation_id, causation_id, actor, _ = event
    _check_type(name)
    if correlation_id is not None:
        check_id("A correlation id", correlation_id)
    if causation_id is not None:
        check_id("A causation id", causation_id)
    if actor is not None:
        check_id("An actor", actor)
    _check_text(name, data)
    if metadata != b"{}":
        _check_text(name, metadata)


def check_restored(events: Sequence[RecordedEvent]) -> dict[str, int]:
    """The version before the first of each stream's events, by stream; every adapter's ``restore`` calls this first.

    Raises ValidationFailed for events that no store could keep, EventIdReused where two have the same id, and
    StoreError where they are not in order.
    """
    before: dict[str, int] = {}
    versions: dict[str, int] = {}
    last = 0
    for event in events:
        stream_id, version = event.stream_id, event.version
        if event.position <= last:
            raise StoreError(
                f"Position {event.position} was given after {last}: events are restored in order of their positions."
            )
        last = event.position
        known = versions.get(stream_id)
        if known is None:
            check_id("The stream id", stream_id)
            if event.category != stream_id.partition("-")[0]:
                raise StoreError(f"Stream {stream_id!r} is not of category {event.category!r}.")
            before[stream_id] = known = version - 1
        if version != known + 1 or version < 1:
            raise StoreError(f"Stream {stream_id!r} has a hole: version {version} was given after {known}.")
        versions[stream_id] = version
        if len(event.raw_id) != 16:
            raise StoreError(f"The event at position {last} has an id of {len(event.raw_id)} bytes, and not of 16.")
        check_event(
            NewEvent(
                _NO_ID, event.type, event.schema_version, event.data, event.metadata,
                event.correlation_id, event.causation_id, event.actor, event.recorded_micros,
            )
        )  # fmt: skip
    if len({event.raw_id for event in events}) < len(events):
        raise EventIdReused("Two of the events to restore have the same id.")
    return before


def check_follows(events: Sequence[RecordedEvent], end: int, before: Mapping[str, int], now: Mapping[str, int]) -> None:
    """Raise StoreError where events to restore do not go on where the log and their streams end.

    ``end`` is the log's last position, ``before`` is what `check_restored` told, ``now`` the streams' versions.
    """
    if events and events[0].position <= end:
        raise StoreError(
            f"Events from position {events[0].position} on cannot be restored: the log reaches to {end} already."
        )
    for stream_id, version in before.items():
        actual = now.get(stream_id, 0)
        if actual != version:
            raise StoreError(
                f"Stream {stream_id!r} is at version {actual}, and the events to restore go on after version {version}."
            )


def check_claims(claims: Sequence[tuple[str, Claimed]]) -> None:
    """Raise ValidationFailed for a command id that no store could keep; for every adapter's ``restore_claims``."""
    for command_id, _ in claims:
        check_id("The command id", command_id)


def _check_text(name: str, text: bytes) -> None:
    if len(text) > MAX_DATA_BYTES:
        raise ValidationFailed(
            f"Event {name}", [Fault("$", f"it is {len(text):,} bytes long; {MAX_DATA_BYTES:,} is the most")]
        )
    try:
        _check_json(text)
        if not text.isascii():
            text.decode()  # the decoder looks at the syntax only, and lets any bytes pass within a string
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValidationFailed(
            f"Event {name}", [Fault("$", f"it is not JSON text that can be kept: {error}")]
        ) from None


# --- Reading ---------------------------------------------------------------------------------------------------------


class RecordedEvent(NamedTuple):
    """An event as it was recorded. Ids and times stay in their stored form until somebody asks for them."""

    position: int
    raw_id: bytes
    stream_id: str
    category: str
    version: int
    type: str
    schema_version: int
    data: bytes
    metadata: bytes
    recorded_micros: int
    correlation_id: str | None
    causation_id: str | None
    actor: str | None

    @property
    def event_id(self) -> UUID:
        """The event's own id, a UUIDv7 unless it was imported with another."""
        return UUID(bytes=self.raw_id)

    @property
    def recorded_at(self) -> datetime:
        """When the store recorded it (or, for an imported event, when it happened), in UTC."""
        return from_micros(self.recorded_micros)

    @property
    def envelope(self) -> Envelope:
        """All that is known besides the data."""
        return Envelope(
            event_id=self.event_id,
            stream_id=self.stream_id,
            version=self.version,
            position=self.position,
            type=self.type,
            schema_version=self.schema_version,
            recorded_at=self.recorded_at,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            actor=self.actor,
            metadata=msgspec.json.decode(self.metadata),
        )


class Batch(NamedTuple):
    """Part of the log: the events asked for, and the position up to which nothing else is to be seen.

    A follower that has handled the events goes on after ``position``, also where no event was of its types. A batch
    that is as long as was asked for may end at its last event, though nothing else of these types follows; a shorter
    one ends where the log did.
    """

    events: list[RecordedEvent]
    position: int


class Capabilities(NamedTuple):
    """What an adapter can do beyond the contract; the contract suite checks that the declaration is true."""

    durable: bool
    sql: bool
    shared: bool
    """Other processes may use the same store at the same time."""


class EventStore(Protocol):
    """The append-only log."""

    @property
    def capabilities(self) -> Capabilities:
        """What this adapter can do."""
        ...

    async def append(self, append: Append, /) -> Outcome:
        """Record all of it or nothing (G1, G2, G3).

        An append whose event ids are all recorded already - each in the stream it is meant for, in the order given and
        one after the other there - is a success that adds nothing, whatever version it expects. A claim already taken
        with the same digest yields its first outcome.
        Raises ValidationFailed for what no store could keep, EventIdReused where only some of the ids are recorded, or
        they are elsewhere, or one is given twice, and StoreError for the rest; in all of these nothing is kept, but for
        OutcomeUnknown.
        """
        ...

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
        """The stream's events with ``after < version <= upto``, at most ``limit``, oldest first unless backwards.

        A stream that does not exist has no events.
        """
        ...

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        """At most ``limit`` events with a position above ``after``, in order, and how far that reaches (G4).

        With a limit of 0 that is no event and ``after`` itself.
        """
        ...

    async def head(self) -> int:
        """The position up to which a follower may read now; 0 for an empty log."""
        ...

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until the log may hold events above ``after``; False when ``timeout`` seconds passed without."""
        ...

    async def claimed(self, command_id: str, /) -> Claimed | None:
        """What is remembered of a command id."""
        ...

    async def restore(self, events: Sequence[RecordedEvent], /) -> None:
        """Record events that another store recorded, just as they are there, all or nothing.

        Their positions, versions, ids and times are kept, and data and metadata byte for byte. They are given in the
        order of their positions, follow the log's end, and go on with each of their streams without a hole. Who appends
        or restores later goes on above them. Events that are recorded already, all of them and just so, are a success
        that adds nothing. Meant for a copy of a store, which nobody else writes.

        Raises ValidationFailed for what no store could keep, EventIdReused for an id that is recorded already or is
        given twice, and StoreError where they do not follow what is recorded; in all of these nothing is kept.
        """
        ...

    async def read_claims(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, Claimed]]:
        """At most ``limit`` command ids above ``after``, in the order of their code points, and what they came to."""
        ...

    async def restore_claims(self, claims: Sequence[tuple[str, Claimed]], /) -> None:
        """Remember command ids that another store claimed, and what they came to there; those known here are kept."""
        ...


class Snapshot(NamedTuple):
    """A folded state at a version, with the fingerprint of the code that folded it. A cache, never a truth."""

    stream_id: str
    version: int
    position: int
    fingerprint: str
    state: bytes


class SnapshotStore(Protocol):
    """Where snapshots are kept; losing all of them changes no answer."""

    async def load_snapshot(self, stream_id: str, /) -> Snapshot | None:
        """The stream's snapshot, if it has one."""
        ...

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep it in place of an older one, or of one with another fingerprint; otherwise it changes nothing."""
        ...


# --- Read models -----------------------------------------------------------------------------------------------------


class Kind(enum.StrEnum):
    """What a column holds. Values cross the interface as the Python type named here."""

    TEXT = "text"  # str
    INTEGER = "integer"  # int
    REAL = "real"  # float
    BOOLEAN = "boolean"  # bool
    DECIMAL = "decimal"  # Decimal, kept exactly; compared and sorted exactly up to 15 significant digits
    TIMESTAMP = "timestamp"  # aware datetime, microseconds
    DATE = "date"  # date
    UUID = "uuid"  # UUID
    BYTES = "bytes"  # bytes
    JSON = "json"  # str: JSON text, kept as it is


class Column(NamedTuple):
    """A column of a view's table."""

    name: str
    kind: Kind
    nullable: bool = False


class Table(NamedTuple):
    """A view's table: its columns in the order of its rows, its key, and the columns of each index."""

    name: str
    columns: tuple[Column, ...]
    key: str
    indexes: tuple[tuple[str, ...], ...] = ()


Row: TypeAlias = tuple[Any, ...]


class Op(enum.StrEnum):
    """How a column is compared. As in SQL, null is neither equal nor unequal to anything: only NULL finds it."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "lte"
    GT = "gt"
    GE = "gte"
    IN = "in"
    CONTAINS = "contains"  # text holds it, ASCII letters in either case
    STARTSWITH = "startswith"  # text starts with it, exactly
    NULL = "null"  # value True: is null; False: is not


class Condition(NamedTuple):
    """A filter: the column, the comparison and the value to compare with (a sequence for IN)."""

    column: str
    op: Op
    value: Any


class Ordering(NamedTuple):
    """A column to sort by. Nulls come first, as the least of values, in ascending order."""

    column: str
    descending: bool = False


class Select(NamedTuple):
    """A page of a table: rows that fit all conditions, in order, after the row whose sort values are given.

    ``order`` always ends with the key, so it is total. ``after`` holds one value for each column of ``order``.
    """

    table: Table
    where: tuple[Condition, ...] = ()
    order: tuple[Ordering, ...] = ()
    after: tuple[Any, ...] | None = None
    limit: int | None = None


class ProjectionSpec(NamedTuple):
    """What a projection keeps in the store.

    ``fingerprint`` changes with the shape or the declared version. ``tables`` are made by the store; ``setup`` is SQL
    that makes the ``owned`` tables of a projection that is written in SQL.
    """

    name: str
    fingerprint: str
    tables: tuple[Table, ...] = ()
    setup: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()


class Checkpoint(NamedTuple):
    """How far a projection has come. The generation grows with every rebuild, so that a straggler cannot commit."""

    projection: str
    position: int
    generation: int
    fingerprint: str


class Transaction(Protocol):
    """A read model's transaction: all of it commits together, or none."""

    async def advance(self, checkpoint: Checkpoint, position: int, /) -> bool:
        """Move a checkpoint on; False, and nothing is changed, where it is not (or no longer) as it is given."""
        ...

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The rows of these keys; missing ones are left out."""
        ...

    async def upsert(self, table: Table, rows: Sequence[Row], /) -> None:
        """Write whole rows, replacing those of the same key."""
        ...

    async def delete(self, table: Table, keys: Collection[Any], /) -> None:
        """Remove the rows of these keys."""
        ...

    async def execute(self, sql: str, *parameters: Any) -> None:
        """Run one statement with ``?`` parameters. Raises Unsupported where the store has no SQL."""
        ...

    async def fetch(self, sql: str, *parameters: Any) -> list[Row]:
        """The rows of one query with ``?`` parameters. Raises Unsupported where the store has no SQL."""
        ...


class Work(Protocol[R_co]):
    """What is done in a transaction. It may await nothing but the transaction's own methods, and may run twice."""

    def __call__(self, transaction: Transaction, /) -> Awaitable[R_co]:
        """Do it."""
        ...


class ViewStore(Protocol):
    """Where read models and their checkpoints are kept (G6).

    Everywhere here, a value that does not fit its column raises CodecError, a column that the table does not have
    DefinitionError, and a table that was never prepared StoreError.
    """

    async def prepare(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make the projection's tables where they are missing, and tell its checkpoint.

        A projection kept under another fingerprint is emptied, made anew and set back to position 0, in one
        transaction. Raises DefinitionError where a table of that name belongs to another projection.
        """
        ...

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Empty the projection's tables, make them anew and set it back to position 0, in one transaction."""
        ...

    async def checkpoints(self) -> dict[str, Checkpoint]:
        """All checkpoints, by projection."""
        ...

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The committed rows of these keys, in no particular order; missing ones are left out."""
        ...

    async def transact(self, work: Work[R], /) -> R:
        """Do the work in one transaction and return what it returned; where it raises, nothing is kept."""
        ...

    async def select(self, query: Select, /) -> list[Row]:
        """A page of rows."""
        ...

    async def count(self, table: Table, where: tuple[Condition, ...] = (), /) -> int:
        """How many rows fit."""
        ...

    async def sql(self, text: str, parameters: Sequence[Any] | dict[str, Any] = (), /) -> tuple[list[str], list[Row]]:
        """The columns and rows of a reading query; raises Unsupported where the store has no SQL.

        Values are as the database has them. A statement that would write is refused.
        """
        ...

    async def wait_checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        """Wait until a projection, in whichever process, has committed up to a position or beyond.

        Returns its checkpoint then, at once where it is there already; None when ``timeout`` seconds passed without,
        or where no such projection is kept.
        """
        ...


Clock: TypeAlias = Callable[[], datetime]
"""Tells the time, in UTC; injected so that tests can set it."""


class Store(EventStore, SnapshotStore, ViewStore, Protocol):
    """A database that is all three, as SQLite, PostgreSQL and the memory reference are."""

    async def close(self) -> None:
        """Finish what was accepted, then let go of everything. Later calls raise StoreClosed."""
        ...
