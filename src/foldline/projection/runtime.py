"""Keeps a process's projections up to date: those near the head together, those far behind by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

from foldline.domain.codec import Codec
from foldline.errors import FoldlineError, ProjectionHalted, StoreClosed, UnknownName, ViewBehind
from foldline.observe import Observer
from foldline.projection import ProjectionType
from foldline.projection.feed import Feed, log
from foldline.projection.member import Member, Retry
from foldline.projection.rebuild import CATCH_UP, Watcher, teller
from foldline.store.spi import EventStore, ViewStore
from foldline.subscription import POLL

FLUSH = 0.05
"""At most so many seconds pass before other processes see that a projection went past foreign events."""

STAND_BY = 1.0
"""How often, in seconds, a projection that another process advances is looked at."""


class ProjectionStatus(NamedTuple):
    """How a projection fares.

    ``lag`` is how many positions it is behind ``head``, the end of the log as last seen; ``rate`` is in
    positions a second, lately. ``state`` is live, catching-up, rebuilding, halted or stopped (nothing
    projects it in this process). ``error`` says why it halted, or what it is trying again.
    """

    name: str
    kind: str
    position: int
    head: int
    lag: int
    state: str
    error: str | None
    rate: float


class ProjectionRuntime:
    """Follows the log and keeps projections up to date while it is entered as an async context manager.

    Any number of processes may do so for the same projections: each batch of events takes effect once, for a
    checkpoint moves only from where its projection really is (G6).
    """

    def __init__(
        self,
        events: EventStore,
        views: ViewStore,
        codec: Codec,
        projections: Iterable[ProjectionType],
        *,
        observer: Observer | None = None,
        retry: Retry | None = None,
        batch: int = 500,
        catch_up: int = CATCH_UP,
        poll: float = POLL,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._types = {one.name: one for one in projections}
        self._feed = Feed(events, views, codec, observer=observer, retry=retry, sleep=sleep, clock=clock)
        self._batch = batch
        self._catch_up_batch = catch_up
        self._poll = poll
        self._members: dict[str, Member] = {}
        self._live: list[Member] = []
        self._joined = asyncio.Event()
        self._waiting_at: int | None = None
        self._flushed = clock()
        self._head = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ProjectionRuntime:
        """Make the missing tables, read the checkpoints, and start; raises DefinitionError and StoreError."""
        feed = self._feed
        members = {}
        for one in self._types.values():
            members[one.name] = await feed.join(one)
        self._head = await feed.patiently("Reading the log's head", feed.events.head, reading=True)
        self._members = members
        started = asyncio.Event()
        self._runner = asyncio.create_task(self._run(started), name="foldline projections")
        try:
            await started.wait()
        except BaseException:
            self._runner.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop. A batch in flight is committed whole or not at all; the next start goes on from there."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        runner.cancel()
        await asyncio.wait([runner])
        self._stopped()
        if not runner.cancelled() and (fault := runner.exception()) is not None:
            raise fault

    # --- For users
    # -----------------------------------------------------------------------------------------------

    def status(self) -> list[ProjectionStatus]:
        """How each projection fares, as this process knows it. See `read_status` where none runs here."""
        now = self._feed.clock()
        return [
            ProjectionStatus(
                member.name,
                member.type.kind,
                member.position,
                self._head,
                max(0, self._head - member.position),
                member.state,
                member.error,
                member.rate(now),
            )
            for member in self._members.values()
        ]

    async def wait(self, names: Collection[str] | None, position: int, timeout: float) -> None:
        """Wait until the named projections (None: all) have reached a position, ``timeout`` seconds at most.

        Raises ViewBehind where one did not in time, ProjectionHalted where it will not, and UnknownName.
        Where the projections do not run here, those of another process are waited for.
        """
        started = time.monotonic()
        for name in self._types if names is None else names:
            if name not in self._types:
                raise UnknownName("projection", name, list(self._types))
            member = self._members.get(name)
            if member is not None and self._runner is not None:
                await self._reached(member, position, timeout, started)
                continue
            left = max(0.0, timeout - (time.monotonic() - started))
            if await self._feed.views.wait_checkpoint(name, position, left) is None:
                found = (await self._feed.views.checkpoints()).get(name)
                raise ViewBehind(name, found.position if found else 0, position, timeout)

    async def rebuild(self, name: str, progress: Watcher | None = None) -> None:
        """Build a projection anew from the first event, and wait until it has reached the head as of now.

        Cancelling the call stops the waiting; the projection goes on catching up. Raises ProjectionHalted
        where it cannot handle an event, UnknownName, and FoldlineError where no projection runs here.
        """
        member = self._members.get(name)
        if name not in self._types:
            raise UnknownName("projection", name, list(self._types))
        if member is None or self._tasks is None:
            raise FoldlineError(f"Projection {name!r} does not run in this process: rebuild it where it does.")
        feed = self._feed
        head = await feed.patiently("Reading the log's head", feed.events.head, reading=True)
        async with member.lock:
            await feed.reset(member)
            member.state = "rebuilding"
            self._start([member])
        if progress is None:
            await self._reached(member, head, None, 0)
            return
        tell = teller(progress, head, feed.clock)
        faults: list[Exception] = []

        def guarded(member: Member) -> None:
            # What the caller's function raises is the caller's, and must not stop the projection.
            try:
                tell(member)
            except Exception as error:
                faults.append(error)
                member.watchers.remove(guarded)

        member.watchers.append(guarded)
        try:
            await self._reached(member, head, None, 0)
        finally:
            if guarded in member.watchers:
                member.watchers.remove(guarded)
        if faults:
            raise faults[0]

    async def _reached(self, member: Member, position: int, timeout: float | None, started: float) -> None:
        if member.position >= position:
            return
        if member.halted or member.state == "stopped":
            failed_at = member.position if member.failed_at is None else member.failed_at
            raise ProjectionHalted(member.name, failed_at, member.error or "it stopped")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (position, future)
        member.waiters.append(waiter)
        try:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            async with asyncio.timeout(left):
                await future
        except TimeoutError:
            if member.position >= position:
                return
            raise ViewBehind(member.name, member.position, position, timeout or 0) from None
        finally:
            if waiter in member.waiters:
                member.waiters.remove(waiter)

    # --- Running
    # -------------------------------------------------------------------------------------------------

    async def _run(self, started: asyncio.Event) -> None:
        """Run until cancelled; a store that is closed underneath ends it quietly."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                started.set()
                starts: dict[int, list[Member]] = {}
                for member in self._members.values():
                    starts.setdefault(member.position, []).append(member)
                for members in starts.values():
                    self._start(members)
                tasks.create_task(self._follow(), name="foldline projections: live")
        except* StoreClosed:
            log.info("The store was closed; projections stop.")
        except* Exception:
            log.exception("Projections stopped by a fault in Foldline itself.")
            raise
        finally:
            self._tasks = None
            self._stopped()

    def _stopped(self) -> None:
        for member in self._members.values():
            if not member.halted and member.state != "stopped":
                member.stop("stopped", ProjectionHalted(member.name, member.position, "its process is stopping"))

    def _start(self, members: list[Member]) -> None:
        """Let members catch up in a task of their own, whoever had them before."""
        owner = object()
        for member in members:
            member.owner = owner
            if member in self._live:
                self._live.remove(member)
        if self._tasks is not None:
            name = "foldline projections: " + ", ".join(member.name for member in members)
            self._tasks.create_task(self._catch_up(members, owner), name=name)

    async def _catch_up(self, members: list[Member], owner: object) -> None:
        """Bring members to the head in big batches, then let them join those that are live."""
        feed = self._feed
        while members := [one for one in members if one.owner is owner and not one.halted]:
            for member in members:
                if member.state == "live":
                    member.state = "catching-up"
            if len(members) == 1:
                await feed.recover(members[0])
                if members[0].lost:
                    await self._stand_by(members[0])
            after = min(member.position for member in members)
            batch = await feed.read(members, after, self._catch_up_batch)
            self._head = max(self._head, batch.position)
            if batch.position > after:
                async with _held(members):
                    mine = [one for one in members if one.owner is owner]
                    await feed.step(mine, after, batch, keep=True)
            if len(members) > 1:
                for member in [one for one in members if one.unwell and one.owner is owner]:
                    self._start([member])
            if len(batch.events) < self._catch_up_batch:
                self._join([one for one in members if one.owner is owner], batch.position)

    def _join(self, members: list[Member], reached: int) -> None:
        """Hand over to the live follower those that have got to the head, unless it already waits beyond."""
        for member in members:
            if member.position < reached or member.unwell or member.halted:
                continue
            if self._waiting_at is None or self._waiting_at <= member.position:
                member.states = {}
                member.state = "live"
                member.owner = self
                self._live.append(member)
                self._joined.set()

    async def _stand_by(self, member: Member) -> None:
        """Wait while another process advances the projection: it does what would be done here."""
        feed = self._feed
        while member.lost and not member.halted:
            head = await feed.patiently("Reading the log's head", feed.events.head, reading=True)
            self._head = max(self._head, head)
            if head - member.position <= self._batch:
                member.lost = False
                return
            before, generation = member.position, member.checkpoint.generation
            await feed.sleep(STAND_BY)
            async with member.lock:
                await feed.reread([member])
            member.lost = (before, generation) != (member.position, member.checkpoint.generation)

    async def _follow(self) -> None:
        """Feed all live members from one reading of the log."""
        feed = self._feed
        while True:
            if not self._live:
                self._joined.clear()
                await self._joined.wait()
            members = list(self._live)
            after = min(member.position for member in members)
            self._waiting_at = after
            try:
                batch = await feed.read(members, after, self._batch, self._patience(members))
            finally:
                self._waiting_at = None
            self._head = max(self._head, batch.position)
            async with _held(members):
                members = [one for one in members if one in self._live]
                if batch.position > after:
                    await feed.step(members, after, batch, write=False)
                    if not any(member.pending for member in members):
                        self._flushed = feed.clock()
                elif not any(member.pending for member in members):
                    # Nothing happened for long: make sure that nobody set a projection back meanwhile.
                    await feed.reread(members)
                if self._patience(members) <= 0:
                    await feed.flush(members)
                    self._flushed = feed.clock()
            self._let_go(members)

    def _patience(self, members: Sequence[Member]) -> float:
        """How long the follower may wait for events before it has to commit the checkpoints that went on."""
        if any(member.pending for member in members):
            return max(0.0, self._flushed + FLUSH - self._feed.clock())
        return self._poll

    def _let_go(self, members: Sequence[Member]) -> None:
        """Members that would hold the others up go on by themselves."""
        for member in members:
            if member not in self._live:
                continue
            behind = self._head - member.position > 4 * self._batch
            member.lost = member.lost and behind
            if member.halted:
                self._live.remove(member)
            elif member.unwell or behind:
                self._start([member])


@contextlib.asynccontextmanager
async def _held(members: Sequence[Member]) -> AsyncIterator[None]:
    """The members' locks, taken in one order everywhere."""
    async with contextlib.AsyncExitStack() as stack:
        for member in sorted(members, key=lambda one: one.name):
            await stack.enter_async_context(member.lock)
        yield


async def read_status(
    events: EventStore, views: ViewStore, projections: Iterable[ProjectionType]
) -> list[ProjectionStatus]:
    """How far projections have come, by what is committed: for a process in which none of them runs."""
    head = await events.head()
    found = await views.checkpoints()
    told = []
    for one in projections:
        checkpoint = found.get(one.name)
        error = None
        if checkpoint is None:
            error = "it was never built"
        elif checkpoint.fingerprint != one.fingerprint:
            error = "it was built by another version of the code, and will be built anew"
        position = checkpoint.position if checkpoint is not None else 0
        lag = max(0, head - position)
        told.append(ProjectionStatus(one.name, one.kind, position, head, lag, "stopped", error, 0.0))
    return told
