"""A contract that any store fulfils proves nothing: each of these broken stores must fail the test named with it."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from foldline.store.memory import MemoryStore
from foldline.store.memory import views as memory_views
from foldline.store.spi import (
    Append,
    Appended,
    Batch,
    Capabilities,
    Checkpoint,
    Claimed,
    Clock,
    Kind,
    Outcome,
    ProjectionSpec,
    RecordedEvent,
    Row,
    Select,
    Snapshot,
    Store,
    VersionConflict,
    check_claims,
)
from foldline.testing.contract import StoreContract, harness, utc_now
from foldline.testing.contract.restoring import of_streams

# --- Broken logs ------------------------------------------------------------------------------------------------------


class NoVersionCheck(MemoryStore):
    """Takes every append, whatever it expects."""

    def _conflict(self, append: Append) -> VersionConflict | None:
        return None


class LeavesHoles(MemoryStore):
    """Takes an append that expects a version beyond the end."""

    def _conflict(self, append: Append) -> VersionConflict | None:
        found = super()._conflict(append)
        ahead = found is not None and isinstance(found.expected, int) and found.expected > found.actual
        return None if ahead else found


class WrongActual(MemoryStore):
    """Tells a conflict, but not where the stream is."""

    def _conflict(self, append: Append) -> VersionConflict | None:
        found = super()._conflict(append)
        return None if found is None else found._replace(actual=found.actual + 1)


class NotAtomic(MemoryStore):
    """Lets others in between the look at the versions and the writing."""

    async def append(self, append: Append, /) -> Outcome:
        if (found := self._conflict(append)) is not None:
            return found
        await asyncio.sleep(0)
        return self._record(append)


class KeepsHalf(MemoryStore):
    """Records the streams before the one that conflicts."""

    def _conflict(self, append: Append) -> VersionConflict | None:
        found = super()._conflict(append)
        if found is not None:
            fine = [stream for stream in append.streams if stream.stream_id != found.stream_id]
            self._record(Append(tuple(fine)))
        return found


class SkipsLastStream(MemoryStore):
    """Forgets the last of several streams."""

    def _record(self, append: Append) -> Appended:
        return super()._record(append._replace(streams=append.streams[: max(1, len(append.streams) - 1)]))


class Unordered(MemoryStore):
    """Puts the latest event before the one before it when it reads the log."""

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        found, position = await super().read_all(after=after, limit=limit, types=types)
        return Batch([*found[:-2], *reversed(found[-2:])], position)


class ForgetsRetries(MemoryStore):
    """Records an append again that is retried."""

    def _first_outcome(self, append: Append) -> Appended | None:
        return None


class BelievesRetries(MemoryStore):
    """Takes an append for a retry as soon as one of its ids is known."""

    def _first_outcome(self, append: Append) -> Appended | None:
        known = [one.event_id for stream in append.streams for one in stream.events if one.event_id in self._by_id]
        return Appended((), 0, tuple(known), replayed=True) if known else None


class WantsItInOnePiece(MemoryStore):
    """Takes an append for a retry only where nothing stands between its events in the log."""

    def _first_outcome(self, append: Append) -> Appended | None:
        known = [self._by_id.get(one.event_id) for stream in append.streams for one in stream.events]
        at = [one.position for one in known if one is not None]
        if at and at != list(range(at[0], at[0] + len(at))):
            return None
        return super()._first_outcome(append)


class ForgetsClaims(MemoryStore):
    """Does not remember which commands it has had."""

    def _record(self, append: Append) -> Appended:
        return super()._record(append._replace(claim=None))


class ClaimsOnConflict(MemoryStore):
    """Keeps the command's id though its append was refused."""

    def _conflict(self, append: Append) -> VersionConflict | None:
        found = super()._conflict(append)
        if found is not None and append.claim is not None:
            self._claims[append.claim.command_id] = Claimed(append.claim.fingerprint, Appended((), 0, ()))
        return found


class IgnoresDigest(MemoryStore):
    """Answers another command with the outcome of the first one of its id."""

    async def append(self, append: Append, /) -> Outcome:
        if append.claim is not None and (known := self._claims.get(append.claim.command_id)) is not None:
            return known.outcome._replace(replayed=True)
        return await super().append(append)


class WritesJsonAgain(MemoryStore):
    """Keeps what the JSON means, and not what it is."""

    def _record(self, append: Append) -> Appended:
        streams = [
            stream._replace(
                events=[one._replace(data=json.dumps(json.loads(one.data)).encode()) for one in stream.events]
            )
            for stream in append.streams
        ]
        return super()._record(append._replace(streams=tuple(streams)))


class NormalisesIds(MemoryStore):
    """Takes two ids for one that only look alike."""

    async def append(self, append: Append, /) -> Outcome:
        streams = [one._replace(stream_id=unicodedata.normalize("NFC", one.stream_id)) for one in append.streams]
        return await super().append(append._replace(streams=tuple(streams)))


class HandsOutItsLists(MemoryStore):
    """Lets the reader change what is recorded."""

    async def read_stream(self, stream_id: str, /, **window: Any) -> list[RecordedEvent]:
        return self._streams.get(stream_id, []) if not window else await super().read_stream(stream_id, **window)


class FollowsTheClock(MemoryStore):
    """Records an earlier time when the clock is set back."""

    def _record(self, append: Append) -> Appended:
        self._latest = -(2**63)
        return super()._record(append)


class LosesOnClose(MemoryStore):
    """Acknowledges an append, and closes without a word to those who wait."""

    async def close(self) -> None:
        self._closed = True


class AppendsWhenClosed(MemoryStore):
    """Acknowledges appends after its end."""

    def _check(self) -> None:
        pass


# --- Broken copies ----------------------------------------------------------------------------------------------------


class NumbersAnew(MemoryStore):
    """Gives restored events positions of its own."""

    def _keep(self, recorded: RecordedEvent) -> None:
        super()._keep(recorded._replace(position=self._end_position() + 1))


class RestoresAnything(MemoryStore):
    """Believes that what it is given follows what it has."""

    async def restore(self, events: Sequence[RecordedEvent], /) -> None:
        for event in events:
            self._keep(event)
        self._signal()


class RestoresHalf(MemoryStore):
    """Keeps what was fine of what it refuses."""

    async def restore(self, events: Sequence[RecordedEvent], /) -> None:
        for event in events:
            await super().restore([event])


class AppendsAsIfAlone(MemoryStore):
    """Draws positions as if nobody else had given any."""

    def _record(self, append: Append) -> Appended:
        outcome = super()._record(append)
        for event in self._events[len(self._events) - len(outcome.event_ids) :]:
            place = self._events.index(event)
            self._events[place] = event._replace(position=place + 1)
        return outcome


class ReplacesClaims(MemoryStore):
    """Takes the other store's word for what a command came to here."""

    async def restore_claims(self, claims: Sequence[tuple[str, Claimed]], /) -> None:
        check_claims(claims)
        self._claims.update(claims)


class TellsClaimsAsMade(MemoryStore):
    """Pages through command ids in the order in which they were claimed."""

    async def read_claims(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, Claimed]]:
        return [one for one in self._claims.items() if one[0] > after][:limit]


# --- Broken followers -------------------------------------------------------------------------------------------------


class SkipsAnEvent(MemoryStore):
    """Tells a position beyond the first event that it did not hand out."""

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        found, position = await super().read_all(after=after, limit=limit, types=types)
        return Batch(found, position + 1 if len(found) == limit else position)


class CommitsLate(MemoryStore):
    """Shows an event after later ones were seen, as a database does that draws positions before the commit."""

    late: int | None = None

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        found, position = await super().read_all(after=after, limit=limit, types=types)
        if self.late is None and after > 0 and len(found) > 1:
            self.late = found[0].position
            return Batch(found[1:], position)
        return Batch(found, position)


class ReadsTwice(MemoryStore):
    """Hands out the event at the position again."""

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        found, position = await super().read_all(after=after - 1, limit=limit + 1, types=types)
        return Batch(found, max(after, position))


class NeverMoves(MemoryStore):
    """Leaves a follower of other types where it was."""

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        found, _ = await super().read_all(after=after, limit=limit, types=types)
        return Batch(found, found[-1].position if found else after)


class WakesNobody(MemoryStore):
    """Writes without a word to those who wait."""

    def _signal(self) -> None:
        pass


class IgnoresTypes(MemoryStore):
    """Hands out events of all types."""

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        return await super().read_all(after=after, limit=limit)


class BackwardsFromTheEnd(MemoryStore):
    """Takes the last events of a stream, and hands them out forwards."""

    async def read_stream(self, stream_id: str, /, *, backwards: bool = False, **window: Any) -> list[RecordedEvent]:
        found = await super().read_stream(stream_id, backwards=backwards, **window)
        return sorted(found, key=lambda one: one.version)


class StaysBehind(MemoryStore):
    """Shows followers an event only when there is one more."""

    async def head(self) -> int:
        return max(await super().head() - 1, 0)


class HeldByOthers(MemoryStore):
    """Shows nothing from after a transaction began that is open, as one does that goes by the least transaction id."""

    held: int | None = None

    def _bound(self) -> int:
        return min(self._end_position(), 2**63 if self.held is None else self.held)

    async def head(self) -> int:
        return self._bound()

    async def wait(self, after: int, timeout: float) -> bool:
        return await self._until(lambda: self._bound() > after, timeout)

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        found, position = await super().read_all(after=after, limit=limit, types=types)
        return Batch([one for one in found if one.position <= self._bound()], max(after, min(position, self._bound())))


# --- Broken read models -----------------------------------------------------------------------------------------------


class CommitsRowsAlone(MemoryStore):
    """Keeps the rows of work that raised."""

    async def transact(self, work: Any, /) -> Any:
        undo = memory_views.MemoryTransaction.undo

        class Kept(memory_views.MemoryTransaction):
            def undo(self) -> None:
                self._before = [change for change in self._before if change[0] is self._checkpoints]
                undo(self)

        return await _with_transaction(Kept, super().transact, work)


class CommitsCheckpointAlone(MemoryStore):
    """Keeps the checkpoint of work that raised."""

    async def transact(self, work: Any, /) -> Any:
        undo = memory_views.MemoryTransaction.undo

        class Kept(memory_views.MemoryTransaction):
            def undo(self) -> None:
                self._before = [change for change in self._before if change[0] is not self._checkpoints]
                undo(self)

        return await _with_transaction(Kept, super().transact, work)


class MovesAnyCheckpoint(MemoryStore):
    """Lets a straggler commit."""

    async def transact(self, work: Any, /) -> Any:
        class Lax(memory_views.MemoryTransaction):
            async def advance(self, checkpoint: Checkpoint, position: int, /) -> bool:
                self._set(self._checkpoints, checkpoint.projection, checkpoint._replace(position=position))
                return True

        return await _with_transaction(Lax, super().transact, work)


class WaitsInTransactions(MemoryStore):
    """Lets the work wait for anything, and others in meanwhile."""

    async def transact(self, work: Any, /) -> Any:
        return await work(memory_views.MemoryTransaction(self._tables, self._checkpoints))


class KeepsItsGeneration(MemoryStore):
    """Makes a projection anew without fencing off those who had it."""

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        fresh = await super().reset(spec)
        self._checkpoints[spec.name] = fresh._replace(generation=1)
        return self._checkpoints[spec.name]


class KeepsOldRows(MemoryStore):
    """Sets a projection back without emptying it."""

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        kept = {name: dict(rows) for name, rows in self._tables.items()}
        fresh = await super().reset(spec)
        self._tables.update(kept)
        return fresh


class SharesTables(MemoryStore):
    """Lets a projection have another's table."""

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        self._specs.clear()
        return await super().reset(spec)


class RoundsDecimals(MemoryStore):
    """Keeps a decimal as a float."""

    async def select(self, query: Select, /) -> list[Row]:
        return [
            tuple(Decimal(float(one)) if isinstance(one, Decimal) else one for one in row)
            for row in await super().select(query)
        ]


class RoundsTimes(MemoryStore):
    """Keeps a time to the millisecond."""

    async def select(self, query: Select, /) -> list[Row]:
        def rounded(one: Any) -> Any:
            return one.replace(microsecond=one.microsecond // 1000 * 1000) if isinstance(one, datetime) else one

        return [tuple(map(rounded, row)) for row in await super().select(query)]


class KeepsNoNul(MemoryStore):
    """Cuts text off where a program in C would."""

    async def select(self, query: Select, /) -> list[Row]:
        return [
            tuple(one.partition("\0")[0] if isinstance(one, str) else one for one in row)
            for row in await super().select(query)
        ]


class PagesByKeyAlone(MemoryStore):
    """Goes on after a key, though the page is in another order."""

    async def select(self, query: Select, /) -> list[Row]:
        if query.after is None:
            return await super().select(query)
        key = query.table.columns.index(next(one for one in query.table.columns if one.name == query.table.key))
        rows = await super().select(query._replace(after=None, limit=None))
        after = query.after[-1]
        return [row for row in rows if (row[key] < after if query.order[-1].descending else row[key] > after)][
            : query.limit
        ]


class LimitsBeforeIt(MemoryStore):
    """Filters what is on the page, and not what is in the table."""

    async def select(self, query: Select, /) -> list[Row]:
        page = await super().select(query._replace(where=()))
        fitting = await super().select(query._replace(limit=None))
        return [row for row in page if row in fitting]


class WakesTooEarly(MemoryStore):
    """Takes any projection's progress for the one that is waited for."""

    async def wait_checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        return (await self.checkpoints()).get(projection)


class KeepsOldSnapshots(MemoryStore):
    """Lets a snapshot that comes late replace a newer one."""

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        self._snapshots[snapshot.stream_id] = snapshot


class ClaimsToBeDurable(MemoryStore):
    """Says that it is what it is not."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durable=True, sql=False, shared=False)


class ClaimsToHaveSql(MemoryStore):
    """Says that it is what it is not."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durable=False, sql=True, shared=False)


BITES: list[tuple[type[MemoryStore], str]] = [
    (NoVersionCheck, "test_many_writers_never_win_the_same_version"),
    (NoVersionCheck, "test_of_many_who_begin_a_stream_one_wins"),
    (NoVersionCheck, "test_the_expected_version_decides"),
    (LeavesHoles, "test_a_version_beyond_the_end_is_a_conflict"),
    (WrongActual, "test_the_expected_version_decides"),
    (NotAtomic, "test_many_writers_never_win_the_same_version"),
    (NotAtomic, "test_many_writers_of_several_streams_each"),
    (KeepsHalf, "test_a_conflict_in_the_last_stream_leaves_nothing_in_any"),
    (SkipsLastStream, "test_several_streams_are_appended_to_as_one"),
    (Unordered, "test_versions_count_from_one_and_positions_grow"),
    (Unordered, "test_ten_thousand_events_in_one_append"),
    (ForgetsRetries, "test_an_append_to_several_streams_is_retried"),
    (ForgetsRetries, "test_retries_in_the_same_moment_yield_one_copy"),
    (ForgetsRetries, "test_a_cancelled_append_is_whole_or_absent"),
    (BelievesRetries, "test_a_retry_with_more_events_is_refused"),
    (BelievesRetries, "test_an_event_id_of_another_stream_is_refused"),
    (BelievesRetries, "test_event_ids_that_stand_otherwise_are_refused"),
    (WantsItInOnePiece, "test_what_stands_between_its_streams_in_the_log_is_no_matter"),
    (ForgetsClaims, "test_one_command_many_times_at_once_is_carried_out_once"),
    (ForgetsClaims, "test_a_command_without_events_is_claimed_too"),
    (ClaimsOnConflict, "test_a_conflict_leaves_the_id_free"),
    (IgnoresDigest, "test_another_command_under_the_same_id_is_refused"),
    (WritesJsonAgain, "test_any_json_text_is_kept_byte_for_byte"),
    (NormalisesIds, "test_odd_stream_ids_are_kept"),
    (HandsOutItsLists, "test_recorded_events_cannot_be_changed"),
    (FollowsTheClock, "test_recorded_time_never_goes_back"),
    (LosesOnClose, "test_a_closed_store_says_so"),
    (AppendsWhenClosed, "test_a_closed_store_says_so"),
    (NumbersAnew, "test_restored_events_are_as_they_were"),
    (RestoresAnything, "test_what_does_not_follow_is_refused"),
    (RestoresAnything, "test_an_event_id_is_restored_once"),
    (RestoresHalf, "test_what_does_not_follow_is_refused"),
    (AppendsAsIfAlone, "test_what_comes_later_goes_on_above"),
    (ReplacesClaims, "test_restored_claims_are_remembered"),
    (TellsClaimsAsMade, "test_claims_are_read_in_order"),
    (WakesNobody, "test_a_wait_is_woken_by_what_is_restored"),
    (SkipsAnEvent, "test_followers_see_every_event_once_and_in_order"),
    (SkipsAnEvent, "test_a_page_is_a_thousand_events_unless_told"),
    (CommitsLate, "test_followers_see_every_event_once_and_in_order"),
    (ReadsTwice, "test_followers_see_every_event_once_and_in_order"),
    (ReadsTwice, "test_a_follower_goes_on_from_any_position"),
    (NeverMoves, "test_the_last_position_covers_what_is_of_other_types"),
    (WakesNobody, "test_followers_see_every_event_once_and_in_order"),
    (WakesNobody, "test_a_wait_is_woken_by_an_append"),
    (WakesNobody, "test_a_wait_for_a_view_is_woken_when_it_is_reached"),
    (IgnoresTypes, "test_a_page_of_the_log"),
    (BackwardsFromTheEnd, "test_a_window_of_a_stream"),
    (HeldByOthers, "test_what_others_hold_open_holds_nobody_up"),
    (StaysBehind, "test_what_is_told_as_written_can_be_read"),
    (KeepsNoNul, "test_nul_in_text_is_like_any_other_character"),
    (CommitsRowsAlone, "test_work_that_raises_leaves_nothing"),
    (CommitsCheckpointAlone, "test_work_that_raises_leaves_nothing"),
    (MovesAnyCheckpoint, "test_a_checkpoint_moves_only_from_where_it_is"),
    (MovesAnyCheckpoint, "test_of_many_who_move_a_checkpoint_one_does"),
    (WaitsInTransactions, "test_work_may_await_only_the_transaction"),
    (KeepsItsGeneration, "test_a_reset_empties_and_fences"),
    (KeepsOldRows, "test_a_reset_empties_and_fences"),
    (KeepsOldRows, "test_a_changed_projection_is_made_anew"),
    (SharesTables, "test_a_table_belongs_to_one_projection"),
    (RoundsDecimals, "test_every_kind_of_value_comes_back"),
    (RoundsTimes, "test_every_kind_of_value_comes_back"),
    (PagesByKeyAlone, "test_pages_put_together_are_the_whole"),
    (LimitsBeforeIt, "test_a_query_is_answered_as_by_a_list"),
    (WakesTooEarly, "test_a_wait_for_a_view_ends_when_its_time_is_over"),
    (KeepsOldSnapshots, "test_the_newest_is_kept"),
    (ClaimsToBeDurable, "test_the_contract_covers_what_is_declared"),
    (ClaimsToBeDurable, "test_what_is_not_durable_is_gone"),
    (ClaimsToHaveSql, "test_the_contract_covers_what_is_declared"),
]
"""Each broken store, with a test that it must fail."""

HOLE = of_streams((8, "b-1", 1), (9, "b-1", 3))

PARAMETERS: dict[tuple[type[MemoryStore], str], dict[str, Any]] = {
    (RestoresAnything, "test_what_does_not_follow_is_refused"): {"given": HOLE},
    (RestoresHalf, "test_what_does_not_follow_is_refused"): {"given": HOLE},
    (CommitsRowsAlone, "test_work_that_raises_leaves_nothing"): {"error": ValueError},
    (NormalisesIds, "test_odd_stream_ids_are_kept"): {"stream_id": "e\u0301 is not \u00e9"},
    (CommitsCheckpointAlone, "test_work_that_raises_leaves_nothing"): {"error": ValueError},
    (RoundsDecimals, "test_every_kind_of_value_comes_back"): {"kind": Kind.DECIMAL},
    (RoundsTimes, "test_every_kind_of_value_comes_back"): {"kind": Kind.TIMESTAMP},
}


def case_of(made: type[MemoryStore]) -> StoreContract:
    """The contract over a store of that class."""

    class Case(StoreContract):
        @asynccontextmanager
        async def store_at(self, folder: Path, *, clock: Clock = utc_now) -> AsyncIterator[Store]:
            self.store = made(clock=clock)
            try:
                yield self.store
            finally:
                await self.store.close()

        @asynccontextmanager
        async def unrelated(self, folder: Path) -> AsyncIterator[None]:
            if isinstance(self.store, HeldByOthers):
                self.store.held = await self.store.head()
            yield

    return Case()


@pytest.fixture
def _impatience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A broken store may leave its test waiting for ever, and nobody will look at the least example that it fails."""
    monkeypatch.setattr(harness, "DEADLINE", 2.0)
    before = settings.get_current_profile_name()
    settings.register_profile("impatient", phases=(Phase.generate,), database=None, derandomize=True)
    settings.load_profile("impatient")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("_impatience")
@pytest.mark.parametrize(("broken", "test"), BITES)
def test_a_broken_store_is_found(broken: type[MemoryStore], test: str, tmp_path: Path) -> None:
    """The test that is named fails."""
    run = getattr(case_of(broken), test)
    with pytest.raises((AssertionError, TimeoutError, pytest.fail.Exception)):
        run(tmp_path, **PARAMETERS.get((broken, test), {}))


@pytest.mark.parametrize("test", sorted({test for _, test in BITES}))
def test_a_sound_store_is_not(test: str, tmp_path: Path) -> None:
    """Called in the same way, over a store that is not broken, each of these tests passes."""
    found = next((given for (_, name), given in PARAMETERS.items() if name == test), {})
    getattr(case_of(MemoryStore), test)(tmp_path, **found)


def test_every_part_of_the_contract_bites() -> None:
    """No class of the contract is without a broken store that it finds."""
    bitten = {test for _, test in BITES}
    parts = [part for part in StoreContract.__mro__ if any(name.startswith("test_") for name in vars(part))]
    names = [name for part in parts for name in vars(part) if name.startswith("test_")]
    assert len(names) == len(set(names)), "a test of one part hides that of another"
    for part in parts:
        assert bitten & set(vars(part)), f"nothing shows that {part.__name__} finds anything"


async def _with_transaction(kind: type[Any], transact: Callable[[Any], Any], work: Any) -> Any:
    before = memory_views.MemoryTransaction
    memory_views.MemoryTransaction = kind  # type: ignore[misc]
    try:
        return await transact(work)
    finally:
        memory_views.MemoryTransaction = before  # type: ignore[misc]
