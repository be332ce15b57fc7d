"""Feeds projections with batches: one read, one decode and one transaction for all; each fails for itself."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from foldline.domain.codec import Codec
from foldline.domain.message import Envelope
from foldline.errors import (
    OutcomeUnknown,
    ProjectionHalted,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from foldline.observe import Observer, ProjectionAdvanced, ProjectionFailed
from foldline.projection import ProjectionType
from foldline.projection.member import Member, Retry
from foldline.projection.projector import Changes, Decoded, FoldFailed, SqlShare, ViewShare, decode
from foldline.projection.sql import SqlType
from foldline.store.spi import Batch, Checkpoint, EventStore, Row, Transaction, ViewStore
from foldline.subscription import next_batch

R = TypeVar("R")

log = logging.getLogger("foldline.projection")

INLINE = 64
"""The most events that are decoded and folded on the event loop itself; more go to a worker thread."""

KEPT_BYTES = 48 * 1024 * 1024
"""About how much memory the rows of one view may take that are kept from batch to batch of a catch-up."""

PASSING = (StoreBusy, StoreFull, StoreUnavailable, OutcomeUnknown)


class Plan(NamedTuple):
    """What a member is to commit: its share of a batch, and what that makes of its table."""

    member: Member
    checkpoint: Checkpoint
    position: int
    share: ViewShare | SqlShare | None = None
    changes: Changes | None = None

    async def apply(self, transaction: Transaction) -> bool:
        """Write it, if the checkpoint is still as it was; raises FoldFailed where a handler in SQL fails."""
        if not await transaction.advance(self.checkpoint, self.position):
            return False
        share = self.share
        if isinstance(share, SqlShare):
            instance = share.projection.instance
            for route, event, recorded in share.steps:
                given = [recorded.envelope if wanted is Envelope else transaction for wanted in route.takes]
                try:
                    await route.handler(instance, event, *given)
                except (StoreClosed, *PASSING):
                    raise
                except Exception as error:
                    raise FoldFailed(recorded.position, error) from error
        elif share is not None and self.changes is not None:
            if self.changes.deletes:
                await transaction.delete(share.view.table, self.changes.deletes)
            if self.changes.upserts:
                await transaction.upsert(share.view.table, self.changes.upserts)
        return True


class Feed:
    """Reads, decodes, folds and commits for any number of members at once; knows nothing of who runs when."""

    def __init__(
        self,
        events: EventStore,
        views: ViewStore,
        codec: Codec,
        *,
        observer: Observer | None = None,
        retry: Retry | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = events
        self.views = views
        self.retry = retry or Retry()
        self.sleep = sleep
        self.clock = clock
        self._codec = codec
        self._observer = observer

    async def patiently(self, what: str, call: Callable[[], Awaitable[R]], *, reading: bool = False) -> R:
        """Call the store, again and again while its trouble may pass, with growing pauses.

        Whatever hinders a mere reading may pass, but for the store being closed.
        """
        attempt = 0
        while True:
            try:
                return await call()
            except StoreClosed:
                raise
            except StoreError as error:
                if not reading and not isinstance(error, PASSING):
                    raise
                attempt += 1
                pause = self.retry.pause(attempt)
                log.warning("%s failed (%s). Trying again in %.1f s.", what, error, pause)
            await self.sleep(pause)

    async def join(self, type_: ProjectionType) -> Member:
        """A projection as a member, with its tables made where they are missing."""
        checkpoint = await self.patiently("Preparing a projection", lambda: self.views.prepare(type_.spec))
        return Member(type_, checkpoint, self.clock())

    async def reset(self, member: Member) -> None:
        """Empty a member's tables and set it back to the log's beginning."""
        member.set(await self.patiently("Resetting a projection", lambda: self.views.reset(member.type.spec)))

    async def read(self, members: Iterable[Member], after: int, limit: int, poll: float = 0) -> Batch:
        """What follows a position of the events that any of the members projects; see `next_batch`."""
        names = frozenset[str]().union(*(member.type.names for member in members))
        return await self.patiently(
            "Reading events",
            lambda: next_batch(self.events, after, types=names, limit=limit, poll=poll),
            reading=True,
        )

    async def step(
        self, members: Iterable[Member], after: int, batch: Batch, *, keep: bool = False, write: bool = True
    ) -> None:
        """Bring members, each from where it is, as far as a batch reaches that was read from ``after``.

        Each ends further on, or told to have failed or to have lost its checkpoint to another process.
        ``keep`` keeps rows in memory for the next batch. Without ``write`` nothing is committed where no
        event concerns anybody; positions then move in memory only.
        """
        started = self.clock()
        # A member that was set back after the batch was read must not skip what lies between.
        able = [member for member in members if after <= member.position < batch.position and not member.halted]
        for member in able:
            member.lost = False
        plans = await self._folded(able, batch)
        if write or any(plan.share is not None and plan.share.count for plan in plans):
            plans = await self._commit(plans)
        now = self.clock()
        for plan in plans:
            member, count = plan.member, plan.share.count if plan.share else 0
            if member.limit is not None:
                member.limit = None if member.limit > len(batch.events) else member.limit * 2
            member.careful = False
            if not keep or len(member.states) * _size_of(plan.changes) > KEPT_BYTES:
                member.states = {}
            member.moved(plan.position, now)
            if count and self._observer is not None:
                self._observer(ProjectionAdvanced(member.name, plan.position, count, now - started))

    async def flush(self, members: Iterable[Member]) -> None:
        """Commit the checkpoints of members that went past events which do not concern them."""
        plans = [Plan(one, one.checkpoint, one.position) for one in members if one.pending and not one.halted]
        if plans:
            await self._commit(plans)

    async def reread(self, members: Sequence[Member]) -> None:
        """Take up the checkpoints others wrote; halts members whose tables are another version's by now."""
        found = await self.patiently("Reading checkpoints", self.views.checkpoints, reading=True)
        for member in members:
            checkpoint = found.get(member.name)
            if checkpoint is None or checkpoint.fingerprint != member.type.fingerprint:
                self.halt(member, "its tables are kept by another version of the code now")
            elif (
                checkpoint.generation != member.checkpoint.generation
                or checkpoint.position > member.position
                # The database has gone back behind what this process committed: to a standby, or to a backup.
                or checkpoint.position < member.checkpoint.position
            ):
                member.set(checkpoint)
            else:
                member.checkpoint = checkpoint

    def halt(self, member: Member, reason: str) -> None:
        """Stop a member for good, and say so to all who wait for it."""
        member.error = reason
        position = member.position if member.failed_at is None else member.failed_at
        log.error("Projection %s halted at position %d: %s", member.name, position, reason)
        member.stop("halted", ProjectionHalted(member.name, position, reason))

    # --- Folding
    # -------------------------------------------------------------------------------------------------

    async def _folded(self, members: list[Member], batch: Batch) -> list[Plan]:
        """What each member is to commit; those that fail are noted as failed and left out."""
        names = frozenset[str]().union(*(member.type.names for member in members))

        def share() -> list[ViewShare | SqlShare | FoldFailed]:
            decoded = decode(self._codec, batch.events, names)
            return [_share(member, decoded, batch.position) for member in members]

        size = len(batch.events)
        shares = await _off_loop(size, share)
        ready: list[tuple[Member, ViewShare | SqlShare, list[Row]]] = []
        for member, one in zip(members, shares, strict=True):
            if isinstance(one, FoldFailed):
                self._failed(member, one, None)
                continue
            try:
                ready.append((member, one, await self._load(member, one)))
            except StoreClosed:
                raise
            except Exception as error:
                await self._troubled(member, error, one)

        def fold() -> list[Changes | FoldFailed | None]:
            return [_fold(member, one, rows) for member, one, rows in ready]

        changes = await _off_loop(size, fold)
        plans: list[Plan] = []
        for (member, one, _), changed in zip(ready, changes, strict=True):
            if isinstance(changed, FoldFailed):
                if changed.position is None and not member.careful:
                    # Some row does not fit its table: look again, at each row after each event, to find out
                    # when.
                    member.careful = True
                    member.states = {}
                else:
                    self._failed(member, changed, one)
            else:
                plans.append(Plan(member, member.checkpoint, one.position, one, changed))
        return plans

    async def _load(self, member: Member, share: ViewShare | SqlShare) -> list[Row]:
        # Loading needs no transaction: rows change only together with the checkpoint, and unless that is
        # still as it was, nothing is committed.
        if isinstance(share, SqlShare):
            return []
        keys = share.stored_keys(member.states)
        if not keys:
            return []
        table = share.view.table
        return await self.patiently("Loading rows", lambda: self.views.load(table, keys))

    # --- Committing
    # ----------------------------------------------------------------------------------------------

    async def _commit(self, plans: list[Plan]) -> list[Plan]:
        """Commit all in one transaction or, where that fails, each in its own; what went through."""

        async def work(transaction: Transaction) -> list[bool]:
            return [await plan.apply(transaction) for plan in plans]

        if not plans:
            return []
        try:
            advanced = await self.patiently("Committing", lambda: self.views.transact(work))
        except StoreClosed:
            raise
        except Exception as error:
            if len(plans) > 1:
                return [done for plan in plans for done in await self._commit([plan])]
            await self._troubled(plans[0].member, error, plans[0].share)
            return []
        done, lost = [], []
        for plan, won in zip(plans, advanced, strict=True):
            if won:
                plan.member.checkpoint = plan.checkpoint._replace(position=plan.position)
                done.append(plan)
            else:
                plan.member.lost = True
                plan.member.states = {}
                lost.append(plan.member)
        if lost:
            await self.reread(lost)
        return done

    # --- Failing
    # -------------------------------------------------------------------------------------------------

    async def _troubled(self, member: Member, error: Exception, share: ViewShare | SqlShare | None) -> None:
        """Note what the store, or a handler in SQL, raised, unless somebody else has the tables by now."""
        if share is None:
            log.warning("The checkpoint of %s could not be moved on, and will be later: %s", member.name, error)
            return
        checkpoint = member.checkpoint
        await self.reread([member])
        if member.checkpoint == checkpoint and not member.halted:
            self._failed(member, error if isinstance(error, FoldFailed) else FoldFailed(None, error), share)
        else:
            member.lost = True

    def _failed(self, member: Member, failure: FoldFailed, share: ViewShare | SqlShare | None) -> None:
        """Note what a member failed on, and how it is to go on."""
        member.states = {}
        position = failure.position
        if position is None:
            positions = share.positions() if share is not None else []
            if len(positions) > 1:
                # Only the whole is known to be at fault: halve it until one event is left.
                member.limit = len(positions) // 2
                return
            position = positions[0] if positions else member.position + 1
        member.attempts = member.attempts + 1 if member.failed_at == position else 1
        member.failed_at = position
        member.error = f"{failure}"
        if member.position < position - 1:
            member.before = position
        halted = member.attempts >= self.retry.attempts
        log.warning(
            "Projection %s failed at position %d, attempt %d of %d: %s",
            member.name,
            position,
            member.attempts,
            self.retry.attempts,
            failure,
            exc_info=failure.error,
        )
        if self._observer is not None:
            self._observer(ProjectionFailed(member.name, position, member.attempts, str(failure), halted))

    async def recover(self, member: Member) -> None:
        """Before a member that failed goes on: wait as it must, or halt it."""
        if member.failed_at is not None and member.before is None:
            if member.attempts >= self.retry.attempts:
                self.halt(member, member.error or "it failed")
            else:
                await self.sleep(self.retry.pause(member.attempts))


def _share(member: Member, decoded: list[Decoded], position: int) -> ViewShare | SqlShare | FoldFailed:
    bounds: dict[str, Any] = {"after": member.position, "before": member.before, "limit": member.limit}
    try:
        if isinstance(member.type, SqlType):
            return SqlShare(member.type, decoded, position, **bounds)
        return ViewShare(member.type, decoded, position, **bounds)
    except FoldFailed as failure:
        return failure


def _fold(member: Member, share: ViewShare | SqlShare, rows: list[Row]) -> Changes | FoldFailed | None:
    if isinstance(share, SqlShare):
        return None
    try:
        return share.fold(rows, member.states, careful=member.careful)
    except FoldFailed as failure:
        return failure


def _size_of(changes: Changes | None) -> int:
    """About how many bytes a row takes as a struct, by some of those that were just written."""
    rows = changes.upserts[:20] if changes is not None else []
    if not rows:
        return 1000
    # A struct that was read from JSON takes some times the bytes of its text.
    return 200 + 2 * sum(sys.getsizeof(value) for row in rows for value in row) // len(rows)


async def _off_loop(size: int, call: Callable[[], R]) -> R:
    return call() if size <= INLINE else await asyncio.to_thread(call)
