"""Takes in what another store recorded: events just as they were there, and the ids of commands."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from foldline.errors import CodecError, EventIdReused
from foldline.store.spi import Claimed, RecordedEvent, check_claims, check_follows, check_restored
from foldline.store.sqlite import log

_CLAIMS_AFTER = (
    "SELECT command_id, fingerprint, CAST(outcome AS BLOB) FROM foldline_commands WHERE command_id > ?"
    " ORDER BY command_id LIMIT ?"
)
_KEEP_CLAIM = f"{log.INSERT_CLAIM} ON CONFLICT (command_id) DO NOTHING"


def restore(connection: apsw.Connection, events: Sequence[RecordedEvent]) -> None:
    """Record events with the positions and versions they have; again adds nothing. Where it raises, all is taken back.

    Raises ValidationFailed, EventIdReused, CodecError or StoreError where they cannot be kept.
    """
    before = check_restored(events)
    if not events:
        return
    end = log.head(connection)
    if events[0].position <= end:
        there = log.read_all(connection, events[0].position - 1, len(events), None).events
        if there == list(events):
            return
    check_follows(events, end, before, log.versions(connection, list(before)))
    if log.ids_recorded(connection, [event.raw_id for event in events]):
        raise EventIdReused("One of the events to restore has the id of an event that is recorded already.")
    try:
        connection.executemany(log.INSERT_EVENT, events)
    except OverflowError as error:  # an int beyond 64 bits
        raise CodecError(f"An event to restore cannot be kept by SQLite: {error}.") from None


def read_claims(connection: apsw.Connection, after: str, limit: int) -> list[tuple[str, Claimed]]:
    """At most so many command ids above one, in the order of their code points, and what they came to."""
    rows = connection.execute(_CLAIMS_AFTER, (after, log.at_most(limit)))
    return [(command_id, log.remembered(fingerprint, outcome)) for command_id, fingerprint, outcome in rows]


def restore_claims(connection: apsw.Connection, claims: Sequence[tuple[str, Claimed]], now: int) -> None:
    """Remember command ids that another store claimed; those that are known are kept as they are."""
    check_claims(claims)
    connection.executemany(
        _KEEP_CLAIM,
        [(command_id, known.fingerprint, log.encode_outcome(known.outcome), now) for command_id, known in claims],
    )
