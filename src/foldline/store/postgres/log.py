"""The log as SQL: its statements, rows on their way in and out, and the reading of streams, claims and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from foldline.store.postgres.connect import Connection
from foldline.store.spi import Appended, Claimed, NewEvent, RecordedEvent, Snapshot

COLUMNS = (
    "position", "event_id", "stream_id", "category", "version", "type", "schema_version", "data", "metadata",
    "recorded_at", "correlation_id", "causation_id", "actor",
)  # fmt: skip
"""Of foldline_events, in the order of `RecordedEvent`."""

_COLUMNS = ", ".join(COLUMNS)
# The values that stand in these texts are columns' names from above.
_STREAM = (
    f"SELECT {_COLUMNS} FROM foldline_events"  # nosec B608
    " WHERE stream_id = $1 AND version > $2 AND version <= $3 ORDER BY version{direction} LIMIT $4"
)
_FORWARDS = _STREAM.format(direction="")
_BACKWARDS = _STREAM.format(direction=" DESC")
_ALL = f"SELECT {_COLUMNS} FROM foldline_events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"  # nosec B608
_TYPES = (
    f"SELECT {_COLUMNS} FROM foldline_events"  # nosec B608
    " WHERE position > $1 AND position <= $2 AND type = ANY($4) ORDER BY position LIMIT $3"
)

# Bind: $1 integer[], $2 foldline_events[], $3 foldline_commands[]; the migration says what stands in them.
RECORD = "SELECT foldline_record($1, $2, $3)"
# The same for one event alone, in a third less of the server's time: neither a function nor arrays.
# Bind: $1 integer: its stream's group; $2 to $13 the columns from event_id on. The row of the sequence comes to the
# drawing of a position only through the condition, that is, once both locks are held.
RECORD_ONE = (
    f"INSERT INTO foldline_events ({_COLUMNS})"  # nosec B608
    " SELECT nextval('foldline_positions'), $2::uuid, $3::text, $4::text, $5::bigint, $6::text, $7::integer, $8::json,"
    " $9::json, $10::timestamptz, $11::text, $12::text, $13::text FROM foldline_positions"
    " WHERE pg_advisory_xact_lock_shared(17996, $1) IS NOT NULL"
    " AND pg_advisory_xact_lock_shared(5065423680884965376 | last_value) IS NOT NULL RETURNING position"
)
# The same for appends that are each to one stream and claim nothing, without the function, whose cost shows where
# batches are small. Positions are drawn in the order of the array, which is that of streams.
# Bind: $1 integer[], $2 foldline_events[]. The groups are locked once, before the first row.
RECORD_PLAIN = (
    f"INSERT INTO foldline_events ({_COLUMNS})"  # nosec B608
    " SELECT nextval('foldline_positions'), e.event_id, e.stream_id, e.category, e.version, e.type, e.schema_version,"
    " e.data, e.metadata, e.recorded_at, e.correlation_id, e.causation_id, e.actor"
    " FROM foldline_positions AS p CROSS JOIN LATERAL unnest($2::foldline_events[]) AS e"
    " WHERE (SELECT count(pg_advisory_xact_lock_shared(17996, number)::text) FROM unnest($1::integer[]) AS g (number))"
    " >= 0 AND pg_advisory_xact_lock_shared(5065423680884965376 | p.last_value) IS NOT NULL RETURNING position"
)
LOCK = "SELECT foldline_lock($1)"
ENTER = "SELECT foldline_enter()"

# Bind: $1 text[]; a row for each of the streams that exist.
VERSIONS = (
    "SELECT s.id, e.version FROM unnest($1::text[]) AS s (id) CROSS JOIN LATERAL"
    " (SELECT version FROM foldline_events WHERE stream_id = s.id ORDER BY version DESC LIMIT 1) AS e"
)
# Bind: $1 uuid[]; a row for each that is recorded.
RECORDED = "SELECT event_id, stream_id, version, position FROM foldline_events WHERE event_id = ANY($1::uuid[])"
# Bind: $1 text[]; a row for each that is taken.
CLAIMS = (
    "SELECT command_id, fingerprint, streams, versions, position, event_ids FROM foldline_commands"
    " WHERE command_id = ANY($1::text[])"
)
# Bind: $1 integer; as many new positions, drawn after the transaction has taken its floor.
DRAW = "SELECT array_agg(nextval('foldline_positions')) FROM generate_series(1, $1)"
# A commit that changes nothing, and is written and sent to synchronous standbys as any other, with all before it. What
# can be seen has not always come so far: that wait ends early where a backend is terminated or the server restarts.
SETTLE = "SELECT pg_logical_emit_message(true, 'foldline', '')"
END = "SELECT coalesce(max(position), 0) FROM foldline_events"
HEAD = "SELECT head, held FROM foldline_head()"

_SAVE = (
    "INSERT INTO foldline_snapshots VALUES ($1, $2, $3, $4, $5) ON CONFLICT (stream_id) DO UPDATE SET"
    " version = excluded.version, position = excluded.position, fingerprint = excluded.fingerprint,"
    " state = excluded.state WHERE foldline_snapshots.version <= excluded.version"
    " OR foldline_snapshots.fingerprint <> excluded.fingerprint"
)
_LOAD = "SELECT stream_id, version, position, fingerprint, state FROM foldline_snapshots WHERE stream_id = $1"

_BIGGEST = 2**63 - 1
_make = tuple.__new__


def event_row(
    event: NewEvent, place: int, stream_id: str, category: str, version: int, now: int
) -> tuple[int, bytes, str, str, int, str, int, bytes, bytes, int, str | None, str | None, str | None]:
    """A row of foldline_events, whose position is drawn by the database: until then it is the place in its batch."""
    event_id, name, schema_version, data, metadata, correlation, cause, actor, at = event
    return (
        place, event_id.bytes, stream_id, category, version, name, schema_version, data, metadata,
        now if at is None else at, correlation, cause, actor,
    )  # fmt: skip


def recorded(records: Sequence[asyncpg.Record]) -> list[RecordedEvent]:
    """Events from rows whose columns are in the order of its fields."""
    return [_make(RecordedEvent, record) for record in records]


async def read_stream(
    connection: Connection, stream_id: str, after: int, upto: int | None, limit: int | None, backwards: bool
) -> list[RecordedEvent]:
    """The stream's events with ``after < version <= upto``, at most ``limit``."""
    rows = await connection.fetch(
        _BACKWARDS if backwards else _FORWARDS,
        stream_id,
        _whole(after),
        _BIGGEST if upto is None else _whole(upto),
        None if limit is None else max(_whole(limit), 0),
    )
    return recorded(rows)


async def read_all(
    connection: Connection, after: int, upto: int, limit: int, types: Sequence[str] | None
) -> list[RecordedEvent]:
    """At most ``limit`` events with ``after < position <= upto``; that none is missing there is the caller's care."""
    if types is None:
        return recorded(await connection.fetch(_ALL, _whole(after), upto, _whole(limit)))
    return recorded(await connection.fetch(_TYPES, _whole(after), upto, _whole(limit), types))


async def claims(connection: Connection, command_ids: Sequence[str]) -> dict[str, Claimed]:
    """What is remembered of these command ids."""
    rows = await connection.fetch(CLAIMS, command_ids)
    return {row[0]: claimed_of(row) for row in rows}


def claimed_of(row: asyncpg.Record) -> Claimed:
    """A claim from a row of foldline_commands as `CLAIMS` has it."""
    _, fingerprint, streams, versions, position, event_ids = row
    ids = tuple([UUID(bytes=raw) for raw in event_ids])
    return Claimed(fingerprint, Appended(tuple(zip(streams, versions, strict=True)), position, ids))


async def load_snapshot(connection: Connection, stream_id: str) -> Snapshot | None:
    """The stream's snapshot, if it has one."""
    row = await connection.fetchrow(_LOAD, stream_id)
    return None if row is None else Snapshot(*row)


async def save_snapshot(connection: Connection, snapshot: Snapshot) -> None:
    """Keep it in place of an older one, or of one with another fingerprint."""
    await connection.execute(_SAVE, *snapshot)


def _whole(number: int) -> int:
    """A number that a bigint holds, for bounds that may be anything."""
    return max(min(number, _BIGGEST), -_BIGGEST)
