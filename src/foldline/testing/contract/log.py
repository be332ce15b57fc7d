"""Appending: whole or not at all, at the expected version, and unchangeable (G1, G2, G5)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from foldline.domain.message import MAX_ID_BYTES
from foldline.errors import StoreClosed, ValidationFailed
from foldline.store.spi import (
    Append,
    Appended,
    Expect,
    ExpectedVersion,
    NewEvent,
    Outcome,
    Store,
    StreamAppend,
    to_micros,
)
from foldline.testing.contract.harness import (
    Place,
    StoreCase,
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
    """Appending to streams."""

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
        expectations: dict[ExpectedVersion, bool] = {
            Expect.NO_STREAM: False,
            0: False,
            1: False,
            2: True,
            3: False,
            2**40: False,
            Expect.ANY: True,
        }
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
            added = [event(data)]  # type: ignore[arg-type]  # such things happen
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
                with pytest.raises(Exception):  # noqa: B017  (a database refuses with errors of its own)
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
