"""Export: every event of a store, with all that is known of it, one a line, as ``import`` reads it back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from foldline.store.spi import EventStore
from foldline.transfer.lines import line_of

BATCH = 2_000


class Exported(NamedTuple):
    """What an export came to: how many events, up to which position of the log."""

    events: int
    position: int
    seconds: float


async def export_events(
    store: EventStore,
    out: BinaryIO,
    *,
    after: int = 0,
    progress: Callable[[Exported, int], None] | None = None,
) -> Exported:
    """Write all events above a position to a file, up to the log's end as it is at the start.

    ``progress`` is told of what was written, and of that end, after each batch. To go on later, export again
    ``after`` the position that is returned. Raises OSError where the file cannot be written, StoreError.
    """
    started = time.monotonic()
    head = await store.head()
    events, position = 0, after
    while position < head:
        batch = await store.read_all(after=position, limit=BATCH)
        if batch.position <= position:
            break
        recorded = [event for event in batch.events if event.position <= head]
        await asyncio.to_thread(out.write, b"".join([line_of(event) + b"\n" for event in recorded]))
        events += len(recorded)
        position = min(batch.position, head)
        if progress is not None:
            progress(Exported(events, position, time.monotonic() - started), head)
    return Exported(events, position, time.monotonic() - started)
