"""Group commit: appends that wait leave together, in one round trip, and each learns its own outcome.

A few lanes, each with a connection of its own, take turns: what arrives while one is at the database leaves with the
next. A stream is in one lane at a time, so that this process never races with itself. Where another process was first
to a stream, the batch is decided again while no other writer is let near the streams that were lost, so that a second
attempt cannot be lost in the same way.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

from asyncpg import exceptions as pg

from foldline.errors import (
    CodecError,
    FoldlineError,
    OutcomeUnknown,
    StoreBusy,
    StoreClosed,
    StoreUnavailable,
)
from foldline.observe import AppendsCommitted, Observer
from foldline.store.postgres.connect import PATIENCE, Line, Settings
from foldline.store.postgres.decide import Facts, Job, Plan, decide, groups_of
from foldline.store.postgres.errors import LOST, TRANSIENT, translate
from foldline.store.postgres.lane import Lane
from foldline.store.postgres.log import LOCK
from foldline.store.spi import Append, Appended, Clock, Outcome, to_micros

LANES = 2
"""Batches that may be at the database at once. More add no speed: the server's work is bound by its processor."""

MAX_EVENTS = 2_000
"""A batch takes no further append once it has this many events."""

MAX_BYTES = 4 * 1024 * 1024
"""… or this much data."""

SHARED_FROM = 128
"""Events from which what waits is shared out among idle lanes: below, a batch costs more than it carries."""

MAX_KNOWN = 100_000
"""How many streams' versions are remembered, so that an append to one of them needs no look-up."""

STALLED = 5.0
"""Seconds after which an attempt at a batch is given up as stalled, and made again on another connection."""

LOOK_FOR_STALLED = 1.0
"""Seconds between two looks for that. A timer for every batch would cost a lone append a fortieth of its time."""

_new = tuple.__new__


class Batch(NamedTuple):
    """Appends that leave together."""

    jobs: list[Job]
    names: set[str]
    """Streams and command ids that nobody else may use meanwhile."""
    events: int
    looks: bool
    """Whether one of them depends on a stream to which it adds nothing."""


class Appender:
    """Takes appends and settles them batch by batch. Runs on the event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        pooled: bool,
        clock: Clock,
        observer: Observer | None,
        settled: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._pooled = pooled
        self._clock = clock
        self._observer = observer
        self._settled = settled
        self._waiting: list[Job] = []
        self._idle = [Lane(settings, pooled) for _ in range(LANES)]
        self._lanes = tuple(self._idle)
        self._busy: set[str] = set()
        """The streams and command ids that are at the database."""
        self._turns: set[asyncio.Future[Any]] = set()
        self._known: dict[str, int] = {}
        self._time = 0
        self._scheduled = False
        self._lonely = False
        """Whether the last to leave left alone: then the next one need not wait for company either."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        """Make the first connection, so that what is wrong with it is told at once."""
        await self._lanes[0].line()

    async def append(self, append: Append) -> Outcome:
        """Record all of it or nothing. Raises StoreClosed after `close`.

        Whoever is cancelled meanwhile does not learn whether it was recorded.
        """
        if self._closed:
            raise StoreClosed
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append((future, append))
        if not self._lonely:
            self._schedule()
        elif self._busy or not self._idle or len(self._waiting) > 1:
            self._dispatch()
        else:
            # Nobody is near: this task does it by itself, which saves two turns of the event loop.
            await self._alone(future)
        return await future

    async def _alone(self, future: asyncio.Future[Outcome]) -> None:
        batch = self._take()
        self._busy |= batch.names
        self._turns.add(future)
        future.add_done_callback(self._turns.discard)
        self._keep_looking()
        try:
            await self._turn(self._idle.pop(), batch)
        finally:
            if not future.done():
                future.cancel()

    def learn(self, stream_id: str, version: int) -> None:
        """Remember that a stream has this version: it was seen, and what is recorded stays."""
        if self._known.get(stream_id, 0) < version:
            self._known[stream_id] = version
            self._forget_some()

    def _forget_some(self) -> None:
        known = self._known
        if len(known) > MAX_KNOWN:
            # Those that were learnt first, which costs others a look-up at most.
            for stream_id in list(islice(known, MAX_KNOWN // 2)):
                del known[stream_id]

    async def close(self) -> None:
        """Settle what was accepted, then close the connections."""
        self._closed = True
        while self._waiting or self._turns:
            self._dispatch()
            if self._turns:
                await asyncio.wait(self._turns)
        for lane in self._lanes:
            await lane.close()
        if self._timer is not None:
            self._timer.cancel()

    # --- Making batches -----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        # Once the tasks that are ready now have had their turn, so that what they append leaves together.
        if not self._scheduled and self._idle:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._waiting and self._idle:
            batch = self._take()
            if not batch.jobs:
                return
            self._lonely = len(batch.jobs) == 1
            self._busy |= batch.names
            lane = self._idle.pop()
            turn = self._loop.create_task(self._turn(lane, batch))
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)
        self._keep_looking()

    def _keep_looking(self) -> None:
        if self._timer is None and self._turns:
            self._timer = self._loop.call_later(LOOK_FOR_STALLED, self._look_for_stalled)

    def _look_for_stalled(self) -> None:
        self._timer = None
        now = time.monotonic()
        for lane in self._lanes:
            if lane.until < now:
                lane.drop()  # whoever waits for it is told that it is lost
        self._keep_looking()

    def _take(self) -> Batch:
        """The jobs that may leave now, in their order."""
        waiting, busy = self._waiting, self._busy
        if len(waiting) == 1 and not busy:
            self._waiting = []
            streams, claim = waiting[0][1]
            names = {stream.stream_id for stream in streams}
            if claim is not None:
                names.add(f"\0{claim.command_id}")
            sizes = [len(stream.events) for stream in streams]
            return Batch(waiting, names, sum(sizes), 0 in sizes)
        most = MAX_EVENTS
        if len(waiting) > 1 and len(self._idle) > 1:
            all_events = sum([len(stream.events) for _, append in waiting for stream in append.streams])
            if all_events >= SHARED_FROM:
                most = min(most, -(-all_events // len(self._idle)))
        jobs: list[Job] = []
        left: list[Job] = []
        names = set()
        held: set[str] = set()
        events = size = 0
        looks = False
        for number, job in enumerate(waiting):
            streams, claim = job[1]
            if events >= most or size >= MAX_BYTES:
                left += waiting[number:]
                break
            if claim is not None or len(streams) != 1:
                mine = {stream.stream_id for stream in streams}
                # A command id may stand in one batch once: who comes second is to be told what became of the first.
                own = f"\0{claim.command_id}" if claim is not None else ""
                if not mine.isdisjoint(busy) or not mine.isdisjoint(held) or own in names or own in busy or own in held:
                    held |= mine
                    held.add(own)
                    left.append(job)
                    continue
                if own:
                    names.add(own)
                names |= mine
            else:
                stream_id = streams[0].stream_id
                # Behind one that has to wait, those for the same streams wait too, so that streams keep their order.
                if (busy and stream_id in busy) or (held and stream_id in held):
                    held.add(stream_id)
                    left.append(job)
                    continue
                names.add(stream_id)
            jobs.append(job)
            for _, _, added in streams:
                if added:
                    events += len(added)
                    # Much alike in one stream, as a rule: good enough for a limit that protects memory.
                    size += len(added) * max(len(added[0].data), len(added[-1].data))
                else:
                    looks = True
        self._waiting = left
        return Batch(jobs, names, events, looks)

    # --- Settling a batch ---------------------------------------------------------------------------------------------

    async def _turn(self, lane: Lane, batch: Batch) -> None:
        try:
            await self._settle(lane, batch)
        except BaseException as error:
            # Whatever it is, those who wait are told of it, and this lane serves the next ones.
            for future, _ in batch.jobs:
                if isinstance(error, asyncio.CancelledError):
                    future.cancel()
                elif not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            lane.until = math.inf
            self._busy -= batch.names
            self._idle.append(lane)
            if self._waiting:
                self._schedule()

    async def _settle(self, lane: Lane, batch: Batch) -> None:
        """Bring a batch to an end, trying again as long as that can help."""
        jobs = batch.jobs
        patience = STALLED if batch.events <= MAX_EVENTS else self._settings.timeout
        deadline = time.monotonic() + PATIENCE
        lane.sent = careful = unknown = False
        lost: set[str] = set()
        pause = 0.02
        while True:
            try:
                begin = time.perf_counter()
                line = lane.ready
                if line is None:
                    line = await lane.line()
                    # It may lead to another server than before: a standby that was behind has less than was known.
                    self._known.clear()
                lane.until = time.monotonic() + patience
                if careful or batch.looks:
                    plan, positions = await self._record_carefully(lane, line, jobs, lost, careful)
                else:
                    plan, positions = await self._record(lane, line, jobs)
                self._acknowledge(plan, positions, time.perf_counter() - begin)
                if not plan.later:
                    return
                jobs, careful = plan.later, True
                continue
            except pg.UniqueViolationError as error:
                # Somebody else was first. Which streams that concerns is found out by asking them all.
                careful = True
                if time.monotonic() > deadline:
                    self._fail(jobs, error, unknown)
                    return
                lost = {stream.stream_id for _, append in jobs for stream in append.streams}
                for stream_id in lost:
                    self._known.pop(stream_id, None)
                continue
            except (*LOST, *TRANSIENT) as error:
                if not isinstance(error, (pg.DeadlockDetectedError, pg.SerializationError)):
                    lane.drop()
                    unknown = unknown or lane.sent
                careful = True
                if time.monotonic() + pause > deadline:
                    self._fail(jobs, error, unknown)
                    return
            except (pg.DataError, pg.ProgramLimitExceededError, ValueError, OverflowError) as error:
                if len(jobs) > 1:
                    # One of them cannot be kept, and it must not be the end of the others.
                    for job in jobs:
                        await self._settle(lane, batch._replace(jobs=[job]))
                    return
                raise CodecError(f"An event of this append cannot be kept by PostgreSQL: {error}.") from error
            except pg.PostgresError as error:
                self._fail(jobs, error, unknown)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def _record(self, lane: Lane, line: Line, jobs: list[Job]) -> tuple[Plan, list[int]]:
        """Record a batch by what is known, asking only for what is not."""
        # Behind a pooler nobody would notice that the server became another, so there nothing is taken as known.
        facts = Facts()
        known = {} if self._pooled else self._known
        plan = decide(jobs, known, facts, self._now())
        if facts.open:
            plan = await self._plan(lane, line, jobs, known, facts)
        return plan, await lane.record(line, groups_of(plan.at), plan)

    async def _record_carefully(
        self, lane: Lane, line: Line, jobs: list[Job], lost: set[str], careful: bool
    ) -> tuple[Plan, list[int]]:
        """Record a batch by facts, alone with the streams that were lost, and with those that are only looked at."""
        shared, alone = set[str](), set(lost)
        for _, append in jobs:
            for stream_id, _, events in append.streams:
                (shared if events else alone).add(stream_id)
        async with line.transaction(isolation="read_committed"):
            await line.fetchval(LOCK, groups_of(shared, alone))
            plan = await self._plan(lane, line, jobs, {}, Facts(careful=careful))
            return plan, await lane.record(line, [], plan)

    async def _plan(self, lane: Lane, line: Line, jobs: list[Job], known: dict[str, int], facts: Facts) -> Plan:
        plan = decide(jobs, known, facts, self._now())
        while facts.open:
            await lane.ask(line, facts)
            plan = decide(jobs, known, facts, self._now())
        return plan

    def _acknowledge(self, plan: Plan, positions: list[int], seconds: float) -> None:
        self._known.update(plan.at)
        self._forget_some()
        if positions:
            self._settled()
        for future, versions, place, event_ids in plan.added:
            if not future.done():
                position = positions[place - 1] if place > 0 else -place
                future.set_result(_new(Appended, (versions, position, event_ids, False)))
        for waiter, outcome in plan.answers:
            if not waiter.done():
                waiter.set_result(outcome)
        for waiter, error in plan.failures:
            if not waiter.done():
                waiter.set_exception(error)
        if self._observer is not None and plan.added:
            self._observer(AppendsCommitted(len(plan.added), len(plan.rows), seconds))

    def _fail(self, jobs: list[Job], error: BaseException, unknown: bool) -> None:
        """Tell those who wait; each gets an error of its own, for it is raised in a task of its own."""
        where = self._settings.shown
        for future, _ in jobs:
            if future.done():
                continue
            typed: FoldlineError
            if unknown:
                typed = OutcomeUnknown(
                    f"{where} was lost while this was appended, and could not be reached again for "
                    f"{PATIENCE:g} s to see whether it was kept: retry it with the same event ids."
                )
            elif isinstance(error, TRANSIENT):
                typed = translate(error, where)
            elif isinstance(error, pg.UniqueViolationError):
                typed = StoreBusy(f"{where}: others were first at the same streams for {PATIENCE:g} s. Try again.")
            elif isinstance(error, LOST):
                typed = StoreUnavailable(f"{where} could not be reached for {PATIENCE:g} s; nothing was kept: {error}.")
            else:
                typed = translate(error, where)
            typed.__cause__ = error
            future.set_exception(typed)

    def _now(self) -> int:
        # The clock may be set back; recorded time never goes back in this process.
        self._time = max(self._time, to_micros(self._clock()))
        return self._time
