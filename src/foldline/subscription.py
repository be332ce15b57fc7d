"""The one tailing loop: everything that follows the log asks here for what comes next.

It is level-triggered: each turn reads what lies above a position, and only where nothing does waits for the
store to say that something may. So a wake-up that is lost costs at most ``poll`` seconds, and one too many
costs one read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

from foldline.store.spi import Batch, EventStore

POLL = 5.0
"""The longest time, in seconds, that a follower sleeps before it looks by itself."""


async def next_batch(
    store: EventStore,
    after: int,
    *,
    types: Collection[str] | None = None,
    limit: int = 500,
    poll: float = POLL,
) -> Batch:
    """What follows a position, at once or as soon as there is something, but after at most ``poll`` seconds.

    The batch holds events, or moves the position past events of other types, or both; it does neither where
    the time passed without. A cancelled call leaves nothing behind.
    """
    batch = await store.read_all(after=after, limit=limit, types=types)
    if batch.position <= after and poll > 0 and await store.wait(after, poll):
        batch = await store.read_all(after=after, limit=limit, types=types)
    return batch


async def follow(
    store: EventStore,
    *,
    after: int = 0,
    types: Collection[str] | None = None,
    batch: int = 500,
    poll: float = POLL,
) -> AsyncGenerator[Batch, None]:
    """Every event above ``after``, once and in order (G4), in batches of at most ``batch``, without an end.

    A batch without events moves the position past events of other types. To go on later, keep the position of
    the last batch that was handled. Closing or cancelling the iterator leaves nothing behind.
    """
    while True:
        found = await next_batch(store, after, types=types, limit=batch, poll=poll)
        if found.position > after:
            after = found.position
            yield found
