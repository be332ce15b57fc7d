"""The log's SQL: the statements, and what they read as the values of the SPI."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import apsw
import msgspec

from foldline.store.spi import Appended, Batch, Claim, Claimed, NewEvent, RecordedEvent, Snapshot

# JSON text is bound and read as bytes: it is UTF-8 already, and the cast neither copies nor changes a byte.
INSERT_EVENT = "INSERT INTO foldline_events VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?)"
INSERT_CLAIM = "INSERT INTO foldline_commands VALUES (?, ?, CAST(? AS TEXT), ?)"
VERSIONS = (
    "SELECT value, (SELECT coalesce(max(version), 0) FROM foldline_events WHERE stream_id = value) FROM carray(?)"
)
HEAD = "SELECT coalesce(max(position), 0) FROM foldline_events"
LATEST = "SELECT position, recorded_at FROM foldline_events ORDER BY position DESC LIMIT 1"
_COLUMNS = (
    "position, event_id, stream_id, category, version, type, schema_version, CAST(data AS BLOB),"
    " CAST(metadata AS BLOB), recorded_at, correlation_id, causation_id, actor"
)
_STREAM = (
    f"SELECT {_COLUMNS} FROM foldline_events WHERE stream_id = ? AND version > ? AND version <= ? ORDER BY version"  # nosec B608
)
_STREAM_FORWARDS = f"{_STREAM} LIMIT ?"
_STREAM_BACKWARDS = f"{_STREAM} DESC LIMIT ?"
# The log only grows at its end, so a head that is read first bounds what is read next as a snapshot would.
_ALL = f"SELECT {_COLUMNS} FROM foldline_events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"  # nosec B608
_ALL_OF_TYPES = (
    f"SELECT {_COLUMNS} FROM foldline_events WHERE position > ? AND position <= ? AND type IN carray(?)"  # nosec B608
    " ORDER BY position LIMIT ?"
)
_BY_IDS = "SELECT event_id, stream_id, version, position FROM foldline_events WHERE event_id IN carray(?)"
_ANY_OF_IDS = "SELECT 1 FROM foldline_events WHERE event_id IN carray(?) LIMIT 1"
_CLAIMS = "SELECT command_id, fingerprint, CAST(outcome AS BLOB) FROM foldline_commands WHERE command_id IN carray(?)"
_SNAPSHOT = "SELECT stream_id, version, position, fingerprint, state FROM foldline_snapshots WHERE stream_id = ?"
_SAVE_SNAPSHOT = (
    "INSERT INTO foldline_snapshots VALUES (?, ?, ?, ?, ?) ON CONFLICT (stream_id) DO UPDATE SET"
    " version = excluded.version, position = excluded.position, fingerprint = excluded.fingerprint,"
    " state = excluded.state WHERE excluded.version >= version OR excluded.fingerprint <> fingerprint"
)
_BIGGEST = 2**63 - 1

# A row of the database as a RecordedEvent. Its own _make does the same by a call in Python, at twice the cost.
_recorded: Callable[[tuple[Any, ...]], RecordedEvent] = partial(tuple.__new__, RecordedEvent)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[tuple[tuple[str, int], ...], int, tuple[UUID, ...]]).decode


def read_stream(
    connection: apsw.Connection, stream_id: str, after: int, upto: int | None, limit: int | None, backwards: bool
) -> list[RecordedEvent]:
    """The stream's events with ``after < version <= upto``."""
    if not _possible(stream_id):
        return []
    rows = connection.execute(
        _STREAM_BACKWARDS if backwards else _STREAM_FORWARDS,
        (stream_id, _within(after), _BIGGEST if upto is None else _within(upto), at_most(limit)),
    )
    return list(map(_recorded, rows.fetchall()))


def read_all(connection: apsw.Connection, after: int, limit: int, types: Collection[str] | None) -> Batch:
    """At most ``limit`` events above a position, and how far that reaches."""
    if limit <= 0:
        return Batch([], after)
    last = head(connection)
    if types is None:
        cursor = connection.execute(_ALL, (_within(after), last, at_most(limit)))
    else:
        names = tuple([name for name in types if _possible(name)])
        if not names:
            return Batch([], max(after, last))
        cursor = connection.execute(_ALL_OF_TYPES, (_within(after), last, apsw.carray(names), at_most(limit)))
    events = list(map(_recorded, cursor.fetchall()))
    return Batch(events, events[-1].position if events and len(events) >= limit else max(after, last))


def head(connection: apsw.Connection) -> int:
    """The last position, 0 for an empty log."""
    position: int = connection.execute(HEAD).get
    return position


def encode_outcome(outcome: Appended) -> bytes:
    """What a claim remembers of its append."""
    return _encode((outcome.versions, outcome.position, outcome.event_ids))


def claims(connection: apsw.Connection, command_ids: Iterable[str]) -> dict[str, Claimed]:
    """What is remembered of these command ids; there must be at least one."""
    rows = connection.execute(_CLAIMS, (apsw.carray(tuple(command_ids)),))
    return {command_id: remembered(digest, outcome) for command_id, digest, outcome in rows}


def remembered(fingerprint: bytes, outcome: bytes) -> Claimed:
    """What a row of foldline_commands says."""
    return Claimed(fingerprint, Appended(*_decode(outcome)))


def claimed(connection: apsw.Connection, command_id: str) -> Claimed | None:
    """What is remembered of a command id."""
    if not _possible(command_id):
        return None
    return claims(connection, (command_id,)).get(command_id)


def claim_row(claim: Claim, outcome: Appended, now: int) -> tuple[str, bytes, bytes, int]:
    """A row of foldline_commands."""
    return (claim.command_id, claim.fingerprint, encode_outcome(outcome), now)


def recorded(connection: apsw.Connection, events: Iterable[NewEvent]) -> dict[bytes, tuple[str, int, int]]:
    """Stream, version and position of those of the events that are recorded already, by the bytes of their id."""
    ids = tuple(event.event_id.bytes for event in events)
    if not ids:
        return {}
    rows = connection.execute(_BY_IDS, (apsw.carray(ids),))
    return {event_id: (stream_id, version, position) for event_id, stream_id, version, position in rows}


def ids_recorded(connection: apsw.Connection, ids: Sequence[bytes]) -> bool:
    """Whether any of these event ids is recorded already."""
    return bool(ids) and connection.execute(_ANY_OF_IDS, (apsw.carray(tuple(ids)),)).get is not None


def versions(connection: apsw.Connection, stream_ids: Sequence[str]) -> dict[str, int]:
    """The versions of these streams, 0 for those that do not exist."""
    if not stream_ids:
        return {}
    rows: list[Any] = connection.execute(VERSIONS, (apsw.carray(tuple(stream_ids)),)).fetchall()
    return dict(rows)


def load_snapshot(connection: apsw.Connection, stream_id: str) -> Snapshot | None:
    """The stream's snapshot."""
    if not _possible(stream_id):
        return None
    row = connection.execute(_SNAPSHOT, (stream_id,)).fetchone()
    return None if row is None else Snapshot(*row)


def save_snapshot(connection: apsw.Connection, snapshot: Snapshot) -> None:
    """Keep a snapshot unless a later one is kept that the same code can use."""
    connection.execute(_SAVE_SNAPSHOT, snapshot)


def _possible(name: str) -> bool:
    """Whether anything can be recorded under that name; what was never let in need not be looked for."""
    if "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _within(number: int) -> int:
    # A position or version beyond 64 bits is beyond every event there is.
    return max(min(number, _BIGGEST), -1)


def at_most(limit: int | None) -> int:
    """A limit as SQLite takes it."""
    return -1 if limit is None else max(min(limit, _BIGGEST), 0)
