"""``foldline events``: what a store recorded, as a table or as JSON Lines, now or as it happens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from foldline.app import open_store
from foldline.cli.options import Flag, StoreOption, store_url
from foldline.cli.similar import no_such_stream
from foldline.cli.table import EventTable
from foldline.store.spi import EventStore, RecordedEvent
from foldline.subscription import POLL, next_batch
from foldline.transfer import line_of

PAGE = 1_000


def events(
    stream: str | None = None,
    /,
    *,
    store: StoreOption = None,
    follow: Flag = False,
    new: Flag = False,
    json: Flag = False,
    after: Annotated[int, Parameter(validator=Number(gte=0), show_default=False)] = 0,
    types: Annotated[list[str] | None, Parameter(negative="")] = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
) -> None:
    """List the events of a store or of one stream, or follow them.

    Parameters
    ----------
    stream
        Only this stream, such as order-17.
    follow
        Go on with events as they are recorded, until Ctrl-C.
    new
        Leave out what is recorded already; for use with --follow.
    json
        One JSON object a line, with all that is known of the event and its data as it is stored.
    after
        Start after this position of the log (with STREAM: after this version).
    types
        Only events of these types, separated by commas; may be given several times.
    limit
        Stop after this many events.
    """
    wanted = None if types is None else frozenset(one for given in types for one in given.split(",") if one)
    asyncio.run(_print(store_url(store), stream, follow, new, json, after, wanted, limit))


async def _print(
    url: str,
    stream: str | None,
    follow: bool,
    new: bool,
    json: bool,
    after: int,
    types: Collection[str] | None,
    limit: int | None,
) -> None:
    table = EventTable(() if stream is None else ("stream",))
    async with open_store(url, create=False) as store:
        if new:
            after = await (store.head() if stream is None else _version(store, stream))
        elif stream is not None and not follow and not await store.read_stream(stream, limit=1):
            raise await no_such_stream(store, stream)
        source = (
            _log(store, after, types, limit, follow)
            if stream is None
            else _stream(store, stream, after, types, limit, follow)
        )
        async with aclosing(source) as batches:
            async for batch in batches:
                if json:
                    sys.stdout.buffer.write(b"".join([line_of(event) + b"\n" for event in batch]))
                else:
                    table.print(batch)
                sys.stdout.flush()


async def _log(
    store: EventStore, after: int, types: Collection[str] | None, limit: int | None, follow: bool
) -> AsyncGenerator[list[RecordedEvent], None]:
    while limit is None or limit > 0:
        size = PAGE if limit is None else min(PAGE, limit)
        batch = await next_batch(store, after, types=types, limit=size, poll=POLL if follow else 0)
        if batch.position <= after:
            if follow:
                continue
            return
        after = batch.position
        if limit is not None:
            limit -= len(batch.events)
        if batch.events:
            yield batch.events


async def _stream(
    store: EventStore,
    stream: str,
    after: int,
    types: Collection[str] | None,
    limit: int | None,
    follow: bool,
) -> AsyncGenerator[list[RecordedEvent], None]:
    while limit is None or limit > 0:
        # The head first: what is recorded while the stream is read then ends the wait at once.
        head = await store.head()
        found = await store.read_stream(stream, after=after, limit=PAGE)
        if not found:
            if not follow:
                return
            await store.wait(head, POLL)
            continue
        after = found[-1].version
        chosen = [event for event in found if types is None or event.type in types][:limit]
        if limit is not None:
            limit -= len(chosen)
        if chosen:
            yield chosen


async def _version(store: EventStore, stream: str) -> int:
    last = await store.read_stream(stream, limit=1, backwards=True)
    return last[0].version if last else 0
