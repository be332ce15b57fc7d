"""Builds projections anew from the first event, with bounded memory, and tells how far it has come."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

from foldline.domain.codec import Codec
from foldline.errors import ProjectionHalted
from foldline.observe import Observer
from foldline.projection import ProjectionType
from foldline.projection.feed import Feed
from foldline.projection.member import Member, Retry
from foldline.store.spi import Batch, EventStore, ViewStore

CATCH_UP = 10_000
"""How many events a projection far behind takes at a time: few, so that others get at the store between."""


class Progress(NamedTuple):
    """How far a rebuild has come.

    ``rate`` is in positions a second since it began, ``seconds_left`` an estimate (None before there is a
    rate).
    """

    projection: str
    position: int
    head: int
    rate: float
    seconds_left: float | None

    @property
    def done(self) -> bool:
        """Whether it has reached the head as it was when the rebuild began."""
        return self.position >= self.head


Watcher: TypeAlias = Callable[[Progress], None]
"""Is told of progress after each batch, on the event loop; must be quick."""


def teller(watcher: Watcher, head: int, clock: Callable[[], float]) -> Callable[[Member], None]:
    """Tells a watcher of a member's progress towards a head."""
    started = clock()

    def tell(member: Member) -> None:
        seconds = clock() - started
        position = min(member.position, head)
        rate = position / seconds if seconds > 0 else 0.0
        left = (head - position) / rate if rate else None
        watcher(Progress(member.name, position, head, rate, left))

    return tell


async def rebuild(
    events: EventStore,
    views: ViewStore,
    codec: Codec,
    projections: Iterable[ProjectionType],
    *,
    progress: Watcher | None = None,
    observer: Observer | None = None,
    batch: int = CATCH_UP,
    retry: Retry | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Empty the projections' tables and fold the whole log into them, up to its head as of now.

    All of them are fed by one reading of the log. Interrupted anywhere, by cancelling or by a crash, it
    leaves tables that agree with their checkpoints, and whoever projects next goes on from there; so may
    another process that serves the same projections meanwhile. Raises ProjectionHalted where an event cannot
    be handled, after the other projections have been built.
    """
    feed = Feed(events, views, codec, observer=observer, retry=retry or Retry(attempts=2), sleep=sleep, clock=clock)
    head = await feed.patiently("Reading the log's head", events.head, reading=True)
    members = [await feed.join(one) for one in projections]
    for member in members:
        await feed.reset(member)
        member.state = "rebuilding"
        if progress is not None:
            member.watchers.append(teller(progress, head, clock))
    together = [member for member in members if head > member.position]
    await catch_up(feed, together, head, batch)
    for member in together:
        # Whoever failed was left behind by the others, and now goes on alone.
        while member.position < head and not member.halted:
            await feed.recover(member)
            await catch_up(feed, [member], head, batch)
    for member in members:
        if member.halted:
            raise ProjectionHalted(member.name, member.failed_at or member.position, member.error or "it failed")


async def catch_up(feed: Feed, members: list[Member], head: int, batch: int) -> None:
    """Feed members that are at one place together, until they reach a head or are unwell."""
    ahead = _ReadAhead(feed, batch)
    try:
        with _collector_resting() as done_with_a_batch:
            while going := [one for one in members if one.position < head and not one.halted]:
                after = min(member.position for member in going)
                found = await ahead.read(going, after)
                if found.position <= after:
                    return
                if found.position < head:
                    ahead.begin(going, found.position)
                await feed.step(going, after, found, keep=True)
                del found  # before the collector looks
                done_with_a_batch()
                if any(member.unwell for member in going):
                    members = [member for member in going if not member.unwell]
    finally:
        await ahead.end()


class _ReadAhead:
    """Reads the next batch while one is folded and committed: a store in another process works meanwhile."""

    def __init__(self, feed: Feed, size: int) -> None:
        self._feed = feed
        self._size = size
        self._after = -1
        self._begun: asyncio.Task[Batch] | None = None

    async def read(self, members: list[Member], after: int) -> Batch:
        """What follows a position, for these members or some of those for whom it was begun."""
        begun, self._begun = self._begun, None
        if begun is not None and self._after == after:
            return await begun
        if begun is not None:
            await _cancelled(begun)
        return await self._feed.read(members, after, self._size)

    def begin(self, members: list[Member], after: int) -> None:
        """Begin to read what follows a position."""
        self._after = after
        self._begun = asyncio.create_task(self._feed.read(members, after, self._size))

    async def end(self) -> None:
        """Leave nothing behind."""
        if self._begun is not None:
            await _cancelled(self._begun)


async def _cancelled(task: asyncio.Task[Batch]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _collector_resting() -> Iterator[Callable[[], object]]:
    """Keep the cyclic garbage collector from looking through each batch again and again while it is made and folded.

    A batch is tens of thousands of objects and no cycles; looking through them took a quarter of a rebuild's time. The
    function given is to be called after each batch: now and then it collects the cycles that others made meanwhile.
    """
    if not gc.isenabled():
        yield lambda: None
        return
    batches = itertools.count(1)
    gc.disable()
    try:
        yield lambda: gc.collect(0) if next(batches) % 16 == 0 else None
    finally:
        gc.enable()
