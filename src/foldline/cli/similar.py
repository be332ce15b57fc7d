"""What to say of a stream that is not there."""

from __future__ import annotations

from difflib import get_close_matches

from foldline.cli.console import Stop
from foldline.domain.message import StreamId
from foldline.store.spi import EventStore

LOOKED_AT = 5_000
"""In how many of the log's first events a similar name is looked for."""


async def no_such_stream(store: EventStore, stream: str) -> Stop:
    """The failure to raise, with names that are like the one that was asked for."""
    batch = await store.read_all(limit=LOOKED_AT)
    if not batch.events:
        return Stop(f"There is no stream {stream!r}: the store is empty.")
    names = dict.fromkeys(event.stream_id for event in batch.events)
    ending = [name for name in names if StreamId.parse(name).id == stream]
    like = ending or get_close_matches(stream, names, n=3, cutoff=0.7)
    if like:
        return Stop(f"There is no stream {stream!r}. Did you mean {' or '.join(like)}?")
    return Stop(f"There is no stream {stream!r}. There is, for one, {next(iter(names))!r}.")
