"""Appending: whole or not at all, each version once, in the order of real time, and unchangeable (G1, G2, G3, G5)."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from foldline.domain.message import MAX_ID_BYTES
from foldline.errors import StoreClosed, ValidationFailed
from foldline.store.spi import Append, Appended, Expect, NewEvent, Outcome, Store, StreamAppend, to_micros
from foldline.testing.contract.harness import (
    Place,
    StoreCase,
    appended,
    conflict,
    event,
    events,
    ids,
    kept,
    new_id,
    on_place,
    on_store,
    to,
    together,
    whole_log,
)

WRITERS = 64

GOOD_IDS = (
    "order-1",
    "-",
    "order",
    "a/b/../c",
    "100%",
    "%s %(x)s {0}",
    'it\'s "quoted" `and` \\ so on',
    "'; DROP TABLE foldline_events; --",
    "Ärger-Straße-λ-漢字-\N{GRINNING FACE}",
    "e\u0301 is not \u00e9",
    "\N{RIGHT-TO-LEFT OVERRIDE}order",
    " spaces ",
    "\N{NO-BREAK SPACE}",
    "\uffff\U0010ffff",
    "x" * MAX_ID_BYTES,
)
"""Stream ids that every store keeps as they are."""

BAD_IDS = ("", "a\x00b", "a\nb", "tab\t", "\x7f", "\x85", "half \ud800 of a pair", "x" * 10_240, "\u6f22" * 171)
"""Stream ids that every store refuses."""


class AppendContract(StoreCase):
    """Appending to streams, one writer or many."""

    @on_store
    async def test_events_are_read_back_as_they_were_written(self, store: Store) -> None:
        """Each field of an event comes back, with its place in the stream and in the log."""
        began = to_micros(datetime.now(UTC))
        written = NewEvent(
            new_id(), "order-placed", 7, b'{"a": 1}', b'{"trace":"x"}', "correlation", "cause", "ann@example.org"
        )
        outcome = await kept(store, to("order-1-2", written, expected=Expect.NO_STREAM))
        assert outcome.versions == (("order-1-2", 1),)
        assert outcome.event_ids == (written.event_id,)
        [read] = await store.read_stream("order-1-2")
        assert (await store.read_all()).events == [read]
        assert read.event_id == written.event_id
        assert read.position == outcome.position == await store.head()
        assert (read.stream_id, read.category, read.version) == ("order-1-2", "order", 1)
        assert read[5:9] == written[1:5]
        assert read[10:] == written[5:8]
        assert began <= read.recorded_micros <= to_micros(datetime.now(UTC))
        assert read.envelope.metadata == {"trace": "x"}

    @on_store
    async def test_what_is_left_out_stays_left_out(self, store: Store) -> None:
        """No actor is None, and not an empty text."""
        await kept(store, to("a-1", event()))
        [read] = await store.read_stream("a-1")
        assert read[8] == b"{}"
        assert read[10:] == (None, None, None)

    @on_store
    async def test_versions_count_from_one_and_positions_grow(self, store: Store) -> None:
        """In a stream there is no gap between versions, and the log has them in the same order."""
        for count in (1, 3, 2):
            await kept(store, to("a-1", *events(count)))
            await kept(store, to("b-1", *events(1)))
        read = await store.read_stream("a-1")
        assert [one.version for one in read] == [1, 2, 3, 4, 5, 6]
        log = await whole_log(store)
        assert [one.position for one in log] == sorted({one.position for one in log})
        assert [one for one in log if one.stream_id == "a-1"] == read

    @on_store
    async def test_ten_thousand_events_in_one_append(self, store: Store) -> None:
        """They are all there, contiguous in their stream, in their order, behind what was there before."""
        await kept(store, to("big-1", event()))
        many = events(10_000)
        outcome = await kept(store, to("big-1", *many, expected=1))
        assert outcome.versions == (("big-1", 10_001),)
        read = await store.read_stream("big-1", after=1)
        assert [one.version for one in read] == list(range(2, 10_002))
        assert ids(read) == [one.event_id for one in many]
        assert [one.data for one in read] == [one.data for one in many]
        assert ids(await whole_log(store))[1:] == ids(read)

    @on_store
    async def test_the_expected_version_decides(self, store: Store) -> None:
        """NO_STREAM and 0 are the same, a number is that version, ANY is any, and a conflict tells the actual one."""
        for new in ("a-1", "a-2"):
            await kept(store, to(new, *events(2), expected=Expect.NO_STREAM if new == "a-1" else 0))
        expectations = {Expect.NO_STREAM: False, 0: False, 1: False, 2: True, 3: False, 2**40: False, Expect.ANY: True}
        for number, (expected, fits) in enumerate(expectations.items()):
            stream_id = f"b-{number}"
            await kept(store, to(stream_id, *events(2)))
            head = await store.head()
            outcome = await store.append(to(stream_id, event(), expected=expected))
            assert isinstance(outcome, Appended) is fits, expected
            if not fits:
                assert conflict(outcome) == (stream_id, expected, 2)
                assert await store.head() == head
            assert len(await store.read_stream(stream_id)) == 2 + fits

    @on_store
    async def test_a_version_beyond_the_end_is_a_conflict(self, store: Store) -> None:
        """It is never a hole, nor is a stream that does not exist yet."""
        assert conflict(await store.append(to("a-1", event(), expected=1))).actual == 0
        await kept(store, to("a-1", event()))
        assert conflict(await store.append(to("a-1", event(), expected=2))).actual == 1
        assert len(await whole_log(store)) == 1
        await kept(store, to("a-1", event(), expected=1))

    @on_store
    async def test_several_streams_are_appended_to_as_one(self, store: Store) -> None:
        """Their events follow one another in the log, and each stream's version is told."""
        await kept(store, to("b-1", *events(2)))
        added = together(
            to("a-1", *events(2), expected=0),
            to("b-1", *events(3), expected=2),
            to("c-1", expected=0),
            to("d-1", event()),
        )
        outcome = await kept(store, added)
        assert outcome.versions == (("a-1", 2), ("b-1", 5), ("c-1", 0), ("d-1", 1))
        assert outcome.event_ids == tuple(one.event_id for stream in added.streams for one in stream.events)
        log = (await whole_log(store))[2:]
        assert ids(log) == list(outcome.event_ids)
        assert log[-1].position == outcome.position

    @on_store
    async def test_a_conflict_in_the_last_stream_leaves_nothing_in_any(self, store: Store) -> None:
        """Nor does it use up a version of those before it."""
        await kept(store, to("c-1", *events(3)))
        before = await whole_log(store)
        refused = together(to("a-1", *events(2), expected=0), to("b-1", event()), to("c-1", event(), expected=2))
        assert conflict(await store.append(refused)) == ("c-1", 2, 3)
        assert await whole_log(store) == before
        assert await store.read_stream("a-1") == await store.read_stream("b-1") == []
        await kept(store, together(to("a-1", event(), expected=0), to("c-1", event(), expected=3)))

    @on_store
    async def test_nothing_is_kept_of_what_no_store_could_keep(self, store: Store) -> None:
        """One bad part refuses the whole append, whatever stands beside it."""
        good = to("a-1", event())
        for bad in (
            together(good, to("a-1", event())),
            together(good, to("b-1", event(), expected=-1)),
            together(good, to("b-1", event(b"{"))),
            together(good, to("b-1", event(type=""))),
            together(good, to("b-1", event(actor="a\nb"))),
            together(good, to("b-1", event(correlation_id="\x00"))),
            together(good, to("b-1", event(causation_id="\ud800"))),
        ):
            with pytest.raises(ValidationFailed):
                await store.append(bad)
        assert await whole_log(store) == []

    @pytest.mark.parametrize("stream_id", GOOD_IDS, ids=ascii)
    @on_store
    async def test_odd_stream_ids_are_kept(self, store: Store, stream_id: str) -> None:
        """A stream's id is text and nothing else: never a path, a pattern, a format or SQL."""
        neighbour = stream_id[:-1] + "~"
        await kept(store, together(to(stream_id, event(), expected=0), to(neighbour, event(), expected=0)))
        await kept(store, to(stream_id, event(), expected=1))
        read = await store.read_stream(stream_id)
        assert [(one.stream_id, one.category, one.version) for one in read] == [
            (stream_id, stream_id.partition("-")[0], version) for version in (1, 2)
        ]
        assert (await whole_log(store))[0] == read[0]

    @pytest.mark.parametrize("stream_id", BAD_IDS, ids=lambda value: ascii(value)[:20])
    @on_store
    async def test_bad_stream_ids_are_refused(self, store: Store, stream_id: str) -> None:
        """With the same error by every adapter, and with nothing kept."""
        with pytest.raises(ValidationFailed):
            await store.append(together(to("a-1", event()), to(stream_id, event())))
        assert await whole_log(store) == []

    @on_store
    async def test_many_writers_never_win_the_same_version(self, store: Store) -> None:
        """Of 64 who try at once exactly one wins each version, and when all are through nothing is lost or double."""
        rounds = 0

        async def add(number: int) -> int:
            nonlocal rounds
            version = 0
            added = event(b'{"add":%d}' % number)
            while True:
                rounds += 1
                outcome = await store.append(to("sum-1", added, expected=version))
                if isinstance(outcome, Appended):
                    assert outcome.versions == (("sum-1", version + 1),)
                    return version + 1
                found = conflict(outcome)
                assert found.actual > version, "a conflict must tell a version that is further on"
                version = found.actual

        won = await asyncio.gather(*map(add, range(WRITERS)))
        assert sorted(won) == list(range(1, WRITERS + 1))
        read = await store.read_stream("sum-1")
        assert [one.version for one in read] == list(range(1, WRITERS + 1))
        assert sum(int(one.data[7:-1]) for one in read) == sum(range(WRITERS))
        assert rounds >= 2 * WRITERS - 1

    @on_store
    async def test_of_many_who_begin_a_stream_one_wins(self, store: Store) -> None:
        """The others are told that it is there."""
        outcomes = await asyncio.gather(
            *(store.append(to("a-1", event(), expected=Expect.NO_STREAM)) for _ in range(WRITERS))
        )
        winners = [one for one in outcomes if isinstance(one, Appended)]
        assert len(winners) == 1
        assert {conflict(one).actual for one in outcomes if one is not winners[0]} == {1}
        assert len(await store.read_stream("a-1")) == 1

    @on_store
    async def test_many_writers_of_several_streams_each(self, store: Store) -> None:
        """Appends that cross each other's streams end, and each is whole: every transfer is on both its accounts."""
        accounts = [f"account-{number}" for number in range(5)]

        async def transfer(number: int) -> None:
            one, other = list(itertools.permutations(accounts, 2))[number % 20]
            versions = {one: 0, other: 0}
            added = {name: event(b'{"transfer":%d}' % number) for name in versions}
            while True:
                both = together(*(to(name, added[name], expected=versions[name]) for name in versions))
                outcome = await store.append(both)
                if isinstance(outcome, Appended):
                    assert dict(outcome.versions) == {name: at + 1 for name, at in versions.items()}
                    return
                versions[conflict(outcome).stream_id] = conflict(outcome).actual

        await asyncio.gather(*map(transfer, range(WRITERS)))
        log = await whole_log(store)
        assert len(log) == 2 * WRITERS
        for first, second in zip(log[::2], log[1::2], strict=True):
            assert first.data == second.data, "the two halves of an append stand apart"
            assert first.stream_id != second.stream_id
        for account in accounts:
            versions = [one.version for one in await store.read_stream(account)]
            assert versions == list(range(1, len(versions) + 1))

    @on_store
    async def test_writers_with_any_version_all_win(self, store: Store) -> None:
        """Many at once, of one stream: each append stands whole and by itself."""
        outcomes = await asyncio.gather(*(store.append(to("a-1", *events(5))) for _ in range(WRITERS)))
        read = await store.read_stream("a-1")
        assert [one.version for one in read] == list(range(1, 5 * WRITERS + 1))
        for outcome in map(appended, outcomes):
            last = outcome.versions[0][1]
            assert tuple(ids(read[last - 5 : last])) == outcome.event_ids
            assert read[last - 1].position == outcome.position

    @on_store
    async def test_positions_follow_real_time(self, store: Store) -> None:
        """If an append had returned before another was begun, all its positions are below the other's (G3)."""
        ticks = itertools.count()
        spans: list[tuple[int, int, Appended]] = []

        async def write(number: int) -> None:
            for turn in range(12):
                begun = next(ticks)
                # Streams of its own, of everybody, and two at once.
                added = together(to(f"own-{number}", *events(1 + turn % 3)), *[to("all-1", event())][: turn % 2])
                outcome = await kept(store, added)
                spans.append((begun, next(ticks), outcome))

        await asyncio.gather(*map(write, range(12)))
        at = {one.event_id: one.position for one in await whole_log(store)}
        for begun, _, outcome in spans:
            mine = min(at[one] for one in outcome.event_ids)
            for _, ended, earlier in spans:
                if ended < begun:
                    assert max(at[one] for one in earlier.event_ids) < mine
        for stream_id in ("all-1", *(f"own-{number}" for number in range(12))):
            positions = [one.position for one in await store.read_stream(stream_id)]
            assert positions == sorted(positions)

    @on_store
    async def test_a_cancelled_append_is_whole_or_absent(self, store: Store) -> None:
        """Wherever the cancellation meets it, and a retry under the same event ids yields one copy."""
        for turns in range(8):
            stream_id = f"a-{turns}"
            append = together(to(stream_id, *events(3)), to(f"{stream_id}-b", *events(2)))
            task = asyncio.create_task(_outcome(store, append))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            outcomes = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcomes[0], (Appended, asyncio.CancelledError))
            # Whatever was begun before is decided by the time a later append is acknowledged.
            await kept(store, to("barrier-1", event()))
            sizes = [len(await store.read_stream(one.stream_id)) for one in append.streams]
            assert sizes in ([0, 0], [3, 2])
            again = appended(await store.append(append))
            assert again.replayed is (sizes == [3, 2])
            assert [len(await store.read_stream(one.stream_id)) for one in append.streams] == [3, 2]

    @on_store
    async def test_an_empty_append_adds_nothing(self, store: Store) -> None:
        """Its position is the log's end, and its expectations are still checked."""
        assert (await kept(store, Append(()))).position == 0
        end = (await kept(store, to("a-1", *events(2)))).position
        outcome = await kept(store, Append((StreamAppend("a-1", 2, ()), StreamAppend("b-1", Expect.NO_STREAM, ()))))
        assert outcome == ((("a-1", 2), ("b-1", 0)), end, (), False)
        assert conflict(await store.append(to("a-1", expected=1))) == ("a-1", 1, 2)
        assert await store.head() == end

    @on_place
    async def test_recorded_time_never_goes_back(self, place: Place) -> None:
        """Though the clock may; an imported event keeps the time that it brings, and leaves that of others alone."""
        noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
        now = noon
        async with place.open(clock=lambda: now) as store:
            await kept(store, to("a-1", event()))
            now = noon - timedelta(hours=1)
            await kept(store, to("a-1", event()))
            long_ago = to_micros(datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC))
            await kept(store, to("a-1", event(recorded_micros=long_ago)))
            await kept(store, to("a-1", event()))
            now = noon + timedelta(microseconds=1)
            await kept(store, to("a-1", event()))
            times = [one.recorded_at for one in await store.read_stream("a-1")]
        assert times[:2] == [noon, noon]
        assert times[2] == datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC)
        assert times[3:] == [noon, now]

    @on_place
    async def test_recorded_events_cannot_be_changed(self, place: Place) -> None:
        """Neither through what was given or read, nor past the store (G5)."""
        async with place.open() as store:
            data = bytearray(b'{"a":1}')
            added = [event(data)]
            await kept(store, Append((StreamAppend("a-1", Expect.ANY, added), StreamAppend("b-1", 0, events(2)))))
            before = await whole_log(store)
            data[:] = b'{"b":2}'
            added.clear()
            (await store.read_stream("a-1")).clear()
            (await store.read_all()).events.reverse()
            assert await whole_log(store) == before
            assert await store.read_stream("a-1") == before[:1]
            assert before[0].data == b'{"a":1}'
            attempts = place.case.tamper(place.folder, store, before[0])
            assert attempts, "tamper() must try something"
            for number, attempt in enumerate(attempts):
                with pytest.raises(Exception):  # noqa: B017, PT011  (a database refuses with errors of its own)
                    attempt()
                    pytest.fail(f"attempt {number} to change a recorded event was not refused")
                assert await whole_log(store) == before
                assert await store.read_stream("a-1") == before[:1]
            await kept(store, to("b-1", event(), expected=2))

    @on_store
    async def test_a_closed_store_says_so(self, store: Store) -> None:
        """Every call, and every wait that had begun."""
        await kept(store, to("a-1", event()))
        waits = [asyncio.create_task(store.wait(99, 60)), asyncio.create_task(store.wait(1, 60))]
        # They began before this one, and it has come to its end.
        assert await store.wait(99, 0) is False
        await store.close()
        for wait in waits:
            with pytest.raises(StoreClosed):
                await wait
        for call in (
            lambda: store.append(to("a-1", event())),
            lambda: store.read_stream("a-1"),
            store.read_all,
            store.head,
            lambda: store.wait(0, 1),
            lambda: store.claimed("x"),
            lambda: store.load_snapshot("a-1"),
            store.checkpoints,
            lambda: store.wait_checkpoint("p", 1, 1),
        ):
            with pytest.raises(StoreClosed):
                await call()
        await store.close()  # which may be called again

    @on_store
    async def test_closing_settles_what_was_accepted(self, store: Store) -> None:
        """Each append that had begun is acknowledged or told that the store is closed; none is left waiting."""
        begun = [asyncio.create_task(_outcome(store, to(f"a-{number}", event()))) for number in range(50)]
        await asyncio.sleep(0)
        await store.close()
        for outcome in await asyncio.gather(*begun, return_exceptions=True):
            assert isinstance(outcome, (Appended, StoreClosed)), outcome


async def _outcome(store: Store, append: Append) -> Outcome:
    return await store.append(append)
