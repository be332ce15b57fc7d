"""What becomes of an append, by what is recorded already: one append at a time, and with care rather than in haste."""

from __future__ import annotations

from typing import Any

import apsw

from foldline.errors import EventIdReused
from foldline.store.spi import (
    Append,
    Appended,
    Claimed,
    ClaimReused,
    Expect,
    NewEvent,
    Outcome,
    VersionConflict,
)
from foldline.store.sqlite import log


def decide_one(
    connection: apsw.Connection, append: Append, position: int, now: int
) -> tuple[Outcome, list[tuple[Any, ...]]]:
    """What becomes of an append by what is in the database, and the rows to insert for it after a position.

    Raises EventIdReused where an id is there already, as part of something else.
    """
    streams, claim = append
    if claim is not None and (known := log.claimed(connection, claim.command_id)) is not None:
        return answer(claim.command_id, claim.fingerprint, known), []
    events = [event for stream in streams for event in stream.events]
    if len({event.event_id for event in events}) < len(events):
        raise EventIdReused("Two events of this append have the same id: give each event its own.")
    first = replayed(connection, append, log.recorded(connection, events))
    if first is not None:
        return first, []
    versions = log.versions(connection, [stream.stream_id for stream in streams])
    for stream_id, expected, _ in streams:
        version = versions[stream_id]
        wanted = 0 if expected is Expect.NO_STREAM else expected
        if expected is not Expect.ANY and wanted != version:
            return VersionConflict(stream_id, expected, version), []
    rows: list[tuple[Any, ...]] = []
    for stream_id, _, added in streams:
        for event in added:
            position += 1
            versions[stream_id] += 1
            rows.append(event_row(event, position, stream_id, versions[stream_id], now))
    ids = tuple(event.event_id for event in events)
    return Appended(tuple(versions.items()), position, ids), rows


def event_row(event: NewEvent, position: int, stream_id: str, version: int, now: int) -> tuple[Any, ...]:
    """A row of foldline_events."""
    return (
        position,
        event.event_id.bytes,
        stream_id,
        stream_id.partition("-")[0],
        version,
        event.type,
        event.schema_version,
        event.data,
        event.metadata,
        now if event.recorded_micros is None else event.recorded_micros,
        event.correlation_id,
        event.causation_id,
        event.actor,
    )


def answer(command_id: str, fingerprint: bytes, known: Claimed) -> Outcome:
    """The outcome for a command id that was claimed before."""
    if known.fingerprint != fingerprint:
        return ClaimReused(command_id)
    return known.outcome._replace(replayed=True)


def replayed(connection: apsw.Connection, append: Append, there: dict[bytes, tuple[str, int, int]]) -> Appended | None:
    """The first outcome of an append whose events are recorded already; None where none of them is."""
    places = [
        (stream.stream_id, there.get(event.event_id.bytes)) for stream in append.streams for event in stream.events
    ]
    found = [place for _, place in places if place is not None]
    if not found:
        return None
    # As one append they stand in the log in their order, and one after the other in the stream they are meant for.
    last = found[-1][2]
    whole = len(found) == len(places) and [place[2] for place in found] == sorted(place[2] for place in found)
    if not whole or _apart(found) or any(place is None or place[0] != stream_id for stream_id, place in places):
        raise EventIdReused(
            "An event id of this append is recorded already, as part of another append: give each event its own id."
        )
    after = log.versions(connection, [stream.stream_id for stream in append.streams if not stream.events])
    after.update({stream_id: version for stream_id, version, _ in found})
    versions = tuple((stream.stream_id, after[stream.stream_id]) for stream in append.streams)
    ids = tuple(event.event_id for stream in append.streams for event in stream.events)
    return Appended(versions, last, ids, replayed=True)


def _apart(found: list[tuple[str, int, int]]) -> bool:
    """Whether somebody else's event stands between two of these in a stream, or they are not in their order there."""
    versions: dict[str, int] = {}
    for stream_id, version, _ in found:
        if version != versions.get(stream_id, version - 1) + 1:
            return True
        versions[stream_id] = version
    return False
