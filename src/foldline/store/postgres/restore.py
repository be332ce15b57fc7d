"""Takes in what another store recorded: events just as they were there, by COPY, and the ids of commands.

All of this runs in a transaction of the caller's, on a connection with raw codecs; where it raises, nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from foldline.errors import CodecError, EventIdReused
from foldline.store.postgres import log
from foldline.store.postgres.connect import Connection
from foldline.store.spi import Claimed, RecordedEvent, check_claims, check_follows, check_restored

# Nobody else writes from here to the end of the transaction, and it waits for those who do: so what is read now of the
# log's end and of streams stays true. Readers do not notice.
_ALONE = "LOCK TABLE foldline_events IN SHARE ROW EXCLUSIVE MODE"

# Bind: $1 uuid[].
_ANY_RECORDED = "SELECT EXISTS (SELECT FROM foldline_events WHERE event_id = ANY($1::uuid[]))"

# Bind: $1 bigint. The sequence is not set back, wherever transactions that failed have moved it, and is never behind
# the events: an append that follows draws a position above them. It stays moved where this transaction fails.
_DRAWN = "SELECT setval('foldline_positions', greatest($1, last_value)) FROM foldline_positions"

# Bind: $1 text, $2 bigint.
_CLAIMS_AFTER = (
    "SELECT command_id, fingerprint, streams, versions, position, event_ids FROM foldline_commands"
    " WHERE command_id > $1 ORDER BY command_id LIMIT $2"
)

# Bind: the columns of foldline_commands.
_KEEP_CLAIM = (
    "INSERT INTO foldline_commands (command_id, fingerprint, streams, versions, position, event_ids, claimed_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, now()) ON CONFLICT (command_id) DO NOTHING"
)


async def restore(connection: Connection, events: Sequence[RecordedEvent]) -> None:
    """Record events with the positions and versions they have; again adds nothing.

    Raises ValidationFailed, EventIdReused, CodecError or StoreError where they cannot be kept.
    """
    before = check_restored(events)
    if not events:
        return
    await connection.execute(_ALONE)
    # Followers read no further than the log's end of now until the transaction is over, though positions move on.
    await connection.execute(log.ENTER)
    end = await connection.fetchval(log.END)
    if events[0].position <= end:
        there = await log.read_all(connection, events[0].position - 1, events[-1].position, len(events), None)
        if there == list(events):
            return
    now = {stream_id: version for stream_id, version in await connection.fetch(log.VERSIONS, list(before))}  # noqa: C416
    check_follows(events, end, before, now)
    if await connection.fetchval(_ANY_RECORDED, [event.raw_id for event in events]):
        raise EventIdReused("One of the events to restore has the id of an event that is recorded already.")
    try:
        await connection.copy_records_to_table("foldline_events", records=events, columns=log.COLUMNS)
    except (asyncpg.DataError, OverflowError, ValueError) as error:  # a number beyond its column's bits
        raise CodecError(f"An event to restore cannot be kept by PostgreSQL: {error}.") from error
    await connection.execute(_DRAWN, events[-1].position)


async def read_claims(connection: Connection, after: str, limit: int) -> list[tuple[str, Claimed]]:
    """At most so many command ids above one, in the order of their code points, and what they came to."""
    rows = await connection.fetch(_CLAIMS_AFTER, after, max(limit, 0))
    return [(row[0], log.claimed_of(row)) for row in rows]


async def restore_claims(connection: Connection, claims: Sequence[tuple[str, Claimed]]) -> None:
    """Remember command ids that another store claimed; those that are known are kept as they are."""
    check_claims(claims)
    await connection.executemany(
        _KEEP_CLAIM,
        [
            (
                command_id,
                known.fingerprint,
                [stream_id for stream_id, _ in known.outcome.versions],
                [version for _, version in known.outcome.versions],
                known.outcome.position,
                [event_id.bytes for event_id in known.outcome.event_ids],
            )
            for command_id, known in claims
        ],
    )
