"""Copy: a whole log from one store into another, positions and all, and the proof that both hold the same.

A copy is at every moment a prefix of its source, so whatever interrupts it, copying again finds where it stopped and
goes on. For the same reason it first compares what is there: a store that holds anything else is left alone.

Every event of both stores is read once, compared or written, and goes into a digest of its store; at the end the two
digests must be the same. Snapshots and read models are not copied: the application that opens the copy makes them.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple

from foldline.errors import CopyDiffers, NotACopy
from foldline.store.spi import Claimed, EventStore, RecordedEvent
from foldline.transfer.digest import LogDigest

BATCH = 5_000
"""The most events that are read, or written, at once."""

BATCH_BYTES = 8 * 1024 * 1024
"""About how many bytes of data a batch may have: where events are large, fewer are read at once."""

CLAIMS = 1_000
"""How many command ids are read, or written, at once."""

SEEN_WITHIN = 10.0
"""Seconds that what was written has for being readable: an append of somebody else's to the target may hold it up."""


class Step(enum.StrEnum):
    """What a copy is doing: each step goes through the log once, or through that part of it that it is about."""

    COMPARING = "Comparing"
    COPYING = "Copying"
    VERIFYING = "Verifying"


class Copying(NamedTuple):
    """How far a copy has come in one of its steps: up to which position of how many, and with how many events."""

    step: Step
    position: int
    head: int
    events: int


class Copied(NamedTuple):
    """What a copy came to: what both stores hold now, with its digest, and how much of it was added this time.

    ``position`` is that of the last event; what was recorded above it while the copy was made is not in it.
    """

    events: int
    added: int
    streams: int
    commands: int
    position: int
    digest: str
    seconds: float


async def copy_store(
    source: EventStore,
    target: EventStore,
    *,
    batch: int = BATCH,
    progress: Callable[[Copying], None] | None = None,
) -> Copied:
    """Copy all events and command ids, up to the source's head as of now, into a store that is empty or a part of it.

    Positions, versions, ids, times and data are kept. The source may be in use: what is recorded meanwhile is copied
    by copying again. Nobody else may write to the target. ``progress`` is told after each batch.

    Raises NotACopy, before anything is written, where the target holds anything that the source does not; CopyDiffers
    where the two do not hold the same in the end; StoreError where one of them fails. What was copied stays, and
    copying again goes on after it.
    """
    started = time.monotonic()
    run = _Run(source, target, await source.head(), batch, progress or (lambda _: None))
    await run.compare()
    await _compare_claims(source, target, run.head, whole=False)
    known = run.theirs.events
    await run.copy()
    await _copy_claims(source, target, run.head)
    await run.verify()
    commands = await _compare_claims(source, target, run.head, whole=True)
    ours = run.ours
    return Copied(
        ours.events,
        ours.events - known,
        ours.streams,
        commands,
        ours.position,
        ours.hexdigest(),
        time.monotonic() - started,
    )


class _Run:
    """One copy of the log: what was read of the source (ours) and of the target (theirs)."""

    def __init__(
        self, source: EventStore, target: EventStore, head: int, batch: int, progress: Callable[[Copying], None]
    ) -> None:
        self._source = source
        self._target = target
        self._batch = batch
        self._limit = min(batch, 500)
        self._progress = progress
        self._step = Step.COMPARING
        self._before = 0  # how many events the digest had when the step began
        self.head = head
        self.ours = LogDigest()
        self.theirs = LogDigest()

    async def compare(self) -> None:
        """Read what the target holds beside the source; raises NotACopy where it is not the same."""
        while theirs := (await self._target.read_all(after=self.theirs.position, limit=self._limit)).events:
            ours = await self._read(self.ours.position, len(theirs))
            if ours != theirs:
                raise NotACopy(
                    f"{_difference(ours, theirs)}. So the target is no copy of the source, or has been written to; "
                    "nothing was written now. Copy into an empty store."
                )
            self.ours.add(ours)
            self.theirs.add(theirs)
            self._size_up(theirs)
            self._tell(Step.COMPARING, self.theirs, len(theirs))

    async def copy(self) -> None:
        """Write what the target does not hold yet. One batch is read ahead while the one before is written."""
        events = await self._read(self.ours.position, self._limit)
        while events:
            self._size_up(events)
            ahead = asyncio.ensure_future(self._read(events[-1].position, self._limit))
            try:
                await self._target.restore(events)
                self.ours.add(events)
            except BaseException:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
                raise
            self._tell(Step.COPYING, self.ours, len(events))
            events = await ahead

    async def verify(self) -> None:
        """Read what was written; raises CopyDiffers where it is not all that was to be copied, and no more."""
        end = self.ours.position
        if await self._target.head() < end:
            await self._target.wait(end - 1, SEEN_WITHIN)
        while events := (await self._target.read_all(after=self.theirs.position, limit=self._limit)).events:
            if events[-1].position > end:
                raise CopyDiffers("Somebody else writes to the target: it is no copy. Copy into an empty store.")
            self.theirs.add(events)
            self._size_up(events)
            self._tell(Step.VERIFYING, self.theirs, len(events))
        ours, theirs = self.ours.hexdigest(), self.theirs.hexdigest()
        if ours != theirs:
            raise CopyDiffers(
                f"The copy differs from its source: {self.theirs.events:,} events with digest {theirs} where "
                f"{self.ours.events:,} with digest {ours} are due. Do not use it: copy into an empty store."
            )

    async def _read(self, after: int, limit: int) -> list[RecordedEvent]:
        """The source's next events, of those that were there when the copy began."""
        if after >= self.head:
            return []
        events = (await self._source.read_all(after=after, limit=limit)).events
        while events and events[-1].position > self.head:
            events.pop()
        return events

    def _size_up(self, events: list[RecordedEvent]) -> None:
        """Fit the next batch to the size of the events of this one, though never by leaps."""
        size = sum(len(event.data) + len(event.metadata) for event in events) // len(events)
        self._limit = max(1, min(self._batch, self._limit * 2, BATCH_BYTES // max(size, 1)))

    def _tell(self, step: Step, so_far: LogDigest, added: int) -> None:
        if step is not self._step:
            self._step, self._before = step, so_far.events - added
        head = max(self.head, so_far.position)
        self._progress(Copying(step, so_far.position, head, so_far.events - self._before))


def _difference(ours: list[RecordedEvent], theirs: list[RecordedEvent]) -> str:
    """In what the events of the target differ from those of the source, which are no more than these."""
    for our, their in zip(ours, theirs, strict=False):
        if our == their:
            continue
        if our.raw_id == their.raw_id:
            fields = " and ".join(
                name for name, one, other in zip(our._fields, our, their, strict=True) if one != other
            )
            return f"{_shown(their)} of the target has another {fields} than in the source"
        return f"The target has {_shown(their)} where the source has {_shown(our)}"
    return f"The target has {_shown(theirs[len(ours)])}, where the source has no more events"


def _shown(event: RecordedEvent) -> str:
    return f"event {event.event_id} (position {event.position}, {event.stream_id!r} version {event.version})"


# --- Command ids -----------------------------------------------------------------------------------------------------


async def _copy_claims(source: EventStore, target: EventStore, head: int) -> None:
    after = ""
    while page := await source.read_claims(after=after, limit=CLAIMS):
        after = page[-1][0]
        # Those of events that are not copied yet are left out with these.
        claims = [one for one in page if one[1].outcome.position <= head]
        if claims:
            await target.restore_claims(claims)


async def _compare_claims(source: EventStore, target: EventStore, head: int, *, whole: bool) -> int:
    """How many command ids the target holds, each just as the source does; with ``whole``, all that the source does.

    Raises NotACopy, or CopyDiffers for the whole.
    """
    kind = CopyDiffers if whole else NotACopy
    count = 0
    async with aclosing(_claims(source)) as ours, aclosing(_claims(target)) as theirs:
        our = await anext(ours, None)
        async for name, claimed in theirs:
            while our is not None and our[0] < name:
                if whole:
                    _check_left_out(our, head)
                our = await anext(ours, None)
            if our is None or our[0] != name:
                raise kind(f"The target knows command id {name!r}, which the source does not: it was given commands.")
            if our[1] != claimed:
                raise kind(f"Command id {name!r} stands for another command in the target than in the source.")
            our = await anext(ours, None)
            count += 1
        while whole and our is not None:
            _check_left_out(our, head)
            our = await anext(ours, None)
    return count


def _check_left_out(claim: tuple[str, Claimed], head: int) -> None:
    name, claimed = claim
    # A command without events may have been given since, and then it is claimed at the log's end, and so at the head.
    if claimed.outcome.position <= head and claimed.outcome.event_ids:
        raise CopyDiffers(f"Command id {name!r} is missing in the target, which nobody else may write to: copy again.")


async def _claims(store: EventStore) -> AsyncGenerator[tuple[str, Claimed], None]:
    after = ""
    while page := await store.read_claims(after=after, limit=CLAIMS):
        for one in page:
            yield one
        after = page[-1][0]
