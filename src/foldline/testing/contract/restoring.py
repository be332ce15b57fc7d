"""Taking in what another store recorded, as a copy of a whole store does: just as it was there, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from foldline.errors import EventIdReused, StoreError, ValidationFailed
from foldline.store.spi import Appended, Claim, Claimed, ClaimReused, RecordedEvent, Store
from foldline.subscription import follow
from foldline.testing.contract.harness import (
    StoreCase,
    appended,
    conflict,
    event,
    ids,
    kept,
    new_id,
    on_store,
    to,
    together,
    whole_log,
)

ODD_DATA = (
    b'{"b": 1,\n  "a":1.10e5 }',
    '{"\u2028\u00e9\U0001f600":"\\u0000"}'.encode(),
    b" null ",
    b"123456789012345678901",
)


def recorded(position: int, stream_id: str = "a-1", version: int = 1, **more: Any) -> RecordedEvent:
    """An event as some other store has it."""
    return RecordedEvent(
        position, new_id().bytes, stream_id, stream_id.partition("-")[0], version, "happened", 1, b"{}", b"{}",
        1_700_000_000_000_000 + position, None, None, None,
    )._replace(**more)  # fmt: skip


def of_streams(*places: tuple[int, str, int]) -> list[RecordedEvent]:
    """Events at these positions, each with its stream and its version there."""
    return [recorded(position, stream_id, version) for position, stream_id, version in places]


class RestoreContract(StoreCase):
    """Events with the positions and versions that they have elsewhere, and command ids that were claimed elsewhere."""

    @on_store
    async def test_restored_events_are_as_they_were(self, store: Store) -> None:
        """Every field of each, at its own position, though there are gaps between these."""
        odd = "\u00c4rger-'%/ \U0001f600"
        given = [
            recorded(7, odd, 1, data=ODD_DATA[0], metadata=b'{ "m":\t1 }', recorded_micros=-3),
            recorded(8, "a-1", 1, data=ODD_DATA[1], correlation_id="c", causation_id="'", actor="\u00e4nn"),
            recorded(20, odd, 2, data=ODD_DATA[2], schema_version=9, type="'; DROP TABLE foldline_events; --"),
            recorded(3_000_000_000, "-", 1, data=ODD_DATA[3], recorded_micros=4_000_000_000_000_001),
        ]
        await store.restore(given)
        assert await whole_log(store) == given
        assert await store.read_stream(odd) == [given[0], given[2]]
        assert await store.head() == 3_000_000_000
        assert (await store.read_all(after=7, limit=2)).events == given[1:3]
        assert (await store.read_all(after=9, limit=1)).position == 20
        assert (await store.read_all(after=20, types=["of no type"])) == ([], 3_000_000_000)
        await store.restore([])
        assert await whole_log(store) == given

    @on_store
    async def test_what_comes_later_goes_on_above(self, store: Store) -> None:
        """Appends at the versions that were restored, more of the other store's events, and appends again."""
        first = await kept(store, to("a-1", event(), expected=0))
        given = of_streams((first.position + 5, "a-1", 2), (first.position + 6, "b-1", 1))
        await store.restore(given)
        assert conflict(await store.append(to("a-1", event(), expected=1))).actual == 2
        assert conflict(await store.append(to("b-1", event(), expected=0))).actual == 1
        second = await kept(store, together(to("a-1", event(), expected=2), to("b-1", event(), expected=1)))
        assert second.position > given[-1].position
        more = of_streams((second.position + 100, "b-1", 3), (second.position + 101, "c-1", 1))
        await store.restore(more)
        third = await kept(store, together(to("c-1", event(), expected=1), to("a-1", event(), expected=3)))
        assert third.position > more[-1].position == second.position + 101
        log = await whole_log(store)
        assert len(log) == 9
        assert [one.position for one in log] == sorted({one.position for one in log})
        for stream_id, version in (("a-1", 4), ("b-1", 3), ("c-1", 2)):
            assert [one.version for one in await store.read_stream(stream_id)] == list(range(1, version + 1))

    @on_store
    async def test_ten_thousand_events_are_restored_at_once(self, store: Store) -> None:
        """All of them in their order, of many streams at once."""
        given = of_streams(*((2 * number + 5, f"a-{number % 100}", number // 100 + 1) for number in range(10_000)))
        await store.restore(given)
        assert await whole_log(store) == given
        assert (await kept(store, to("a-0", event(), expected=100))).position > given[-1].position

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param([recorded(1)], id="at the log's end"),
            pytest.param(of_streams((1, "b-1", 1), (9, "b-1", 2)), id="from below the log's end"),
            pytest.param(of_streams((9, "b-1", 1), (9, "b-1", 2)), id="two at one position"),
            pytest.param(of_streams((9, "b-1", 1), (8, "b-1", 2)), id="not in order"),
            pytest.param(of_streams((8, "b-1", 2), (9, "b-1", 1)), id="versions not in order"),
            pytest.param(of_streams((8, "b-1", 1), (9, "b-1", 3)), id="a hole in a stream"),
            pytest.param(of_streams((8, "b-1", 1), (9, "a-1", 3)), id="a hole after what is there"),
            pytest.param(of_streams((8, "b-1", 1), (9, "a-1", 1)), id="a version that is there"),
            pytest.param(of_streams((9, "b-1", 0), (10, "b-1", 1)), id="version 0"),
            pytest.param(of_streams((9, "b-1", 2)), id="a new stream that does not begin at 1"),
            pytest.param([recorded(9, "b-1", category="c")], id="another category"),
            pytest.param([recorded(9, "b-1", raw_id=b"short")], id="no event id"),
        ],
    )
    @on_store
    async def test_what_does_not_follow_is_refused(self, store: Store, given: Sequence[RecordedEvent]) -> None:
        """Nothing of it is kept, and the store goes on."""
        first = await kept(store, to("a-1", event(), expected=0))
        before = await whole_log(store)
        # Wherever this store's first event is, they lie about it as they would about position 1.
        moved = [one._replace(position=one.position + first.position - 1) for one in given]
        with pytest.raises(StoreError):
            await store.restore(moved)
        assert await whole_log(store) == before
        good = of_streams((first.position + 8, "b-1", 1), (first.position + 9, "a-1", 2))
        await store.restore(good)
        assert await whole_log(store) == [*before, *good]

    @on_store
    async def test_what_no_store_could_keep_is_not_restored(self, store: Store) -> None:
        """The same as is refused in an append."""
        for bad in (
            recorded(9, data=b"nonsense"),
            recorded(9, metadata=b"{"),
            recorded(9, "a\x00"),
            recorded(9, "\ud800"),
            recorded(9, type=""),
            recorded(9, actor="a\nb"),
            recorded(9, correlation_id="x" * 1000),
        ):
            with pytest.raises(ValidationFailed):
                await store.restore([recorded(8, "b-1"), bad])
        assert await whole_log(store) == []

    @on_store
    async def test_an_event_id_is_restored_once(self, store: Store) -> None:
        """Not a second time, neither of the same event nor as another's."""
        mine = event()
        first = await kept(store, to("a-1", mine))
        log = await whole_log(store)
        at = first.position
        once = recorded(at + 1, "b-1", 1)
        for given in (
            [recorded(at + 1, "b-1", 1), recorded(at + 2, "b-1", 2, raw_id=mine.event_id.bytes)],
            [once, recorded(at + 2, "b-1", 2, raw_id=once.raw_id)],
        ):
            with pytest.raises(EventIdReused):
                await store.restore(given)
            assert await whole_log(store) == log
        await store.restore([once])
        with pytest.raises(EventIdReused):
            await store.append(to("c-1", event()._replace(event_id=once.event_id)))
        assert await whole_log(store) == [*log, once]

    @on_store
    async def test_a_restore_whose_outcome_is_unknown_is_done_again(self, store: Store) -> None:
        """What is recorded already, all of it and just so, is a success that adds nothing."""
        given = of_streams((2, "a-1", 1), (4, "b-1", 1), (7, "a-1", 2), (8, "c-1", 1))
        await store.restore(given)
        for again in (given, given[:2], given[1:3], given[3:]):
            await store.restore(again)
        changed = given[1]._replace(data=b"[]")
        later = recorded(9, "c-1", 2)
        for other in ([*given, later], [given[0], changed], [changed], [given[0], given[2]], [given[3], later]):
            with pytest.raises(StoreError):
                await store.restore(other)
        assert await whole_log(store) == given

    @on_store
    async def test_an_append_that_was_restored_is_retried(self, store: Store) -> None:
        """Where it was recorded first, other appends' events may stand between its own, but not in its streams."""
        given = of_streams(
            (3, "a-1", 1), (4, "x-1", 1), (6, "a-1", 2), (7, "a-1", 3), (9, "b-1", 1), (11, "x-1", 2), (12, "a-1", 4)
        )  # fmt: skip
        await store.restore(given)
        mine = [event()._replace(event_id=one.event_id) for one in given]
        outcome = appended(await store.append(together(to("a-1", *mine[2:4], expected=1), to("b-1", mine[4]))))
        assert outcome == Appended((("a-1", 3), ("b-1", 1)), 9, tuple(ids([given[2], given[3], given[4]])), True)
        for other in (
            to("a-1", mine[0], mine[3]),
            to("a-1", mine[3], mine[2]),
            together(to("b-1", mine[4]), to("a-1", mine[2])),
        ):
            with pytest.raises(EventIdReused):
                await store.append(other)
        assert await whole_log(store) == given

    @on_store
    async def test_a_wait_is_woken_by_what_is_restored(self, store: Store) -> None:
        """And who follows the log sees all of it, once and in order."""
        seen: list[RecordedEvent] = []

        async def watch() -> None:
            async for batch in follow(store, batch=3, poll=60.0):
                seen.extend(batch.events)
                if len(seen) >= 8:
                    return

        waiting = asyncio.create_task(store.wait(0, 50.0))
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        given = of_streams(*((number * 10, "a-1", number) for number in range(1, 8)))
        await store.restore(given[:2])
        assert await waiting
        await store.restore(given[2:])
        await kept(store, to("a-1", event(), expected=7))
        async with asyncio.timeout(30):
            await watching
        assert seen == await whole_log(store)

    @on_store
    async def test_appends_beside_a_restore(self, store: Store) -> None:
        """Whoever comes in the same moment is before it or after it."""
        begun = [asyncio.create_task(store.append(to(f"b-{number}", event(), expected=0))) for number in range(20)]
        await asyncio.gather(*begun)
        end = await store.head()
        given = of_streams(*((end + 1000 + number, "a-1", number) for number in range(1, 51)))
        results = await asyncio.gather(
            *(store.append(to(f"b-{number}", event())) for number in range(10)),
            store.restore(given),
            *(store.append(to(f"b-{number}", event())) for number in range(20)),
        )
        assert all(isinstance(one, Appended) for number, one in enumerate(results) if number != 10)
        log = await whole_log(store)
        assert len(log) == 100
        assert [one.position for one in log] == sorted({one.position for one in log})
        assert [one for one in log if one.stream_id == "a-1"] == given

    @on_store
    async def test_claims_are_read_in_order(self, store: Store) -> None:
        """Page by page, by the code points of their ids, whatever order they were made in."""
        names = ["b", "a", "B", "ab", "\u00e9", "\uffff", "\U0001f600", "z", "'", "a b", "10", "9"]
        outcomes = {
            name: await kept(store, to(f"a-{number}", event(), event(), claim=Claim(name, name.encode())))
            for number, name in enumerate(names)
        }
        expected = [(name, Claimed(name.encode(), outcomes[name])) for name in sorted(names)]
        assert await store.read_claims() == expected
        found: list[tuple[str, Claimed]] = []
        while page := await store.read_claims(after=found[-1][0] if found else "", limit=5):
            assert len(page) == min(5, len(names) - len(found))
            found += page
        assert found == expected
        assert await store.read_claims(after="b", limit=1) == [expected[sorted(names).index("b") + 1]]
        assert await store.read_claims(limit=0) == []

    @on_store
    async def test_restored_claims_are_remembered(self, store: Store) -> None:
        """A command that was carried out elsewhere is not carried out again; what is known here is not changed."""
        first = await kept(store, to("a-1", event(), claim=Claim("mine", b"body")))
        elsewhere = Claimed(b"\x00digest\xff", Appended((("b-1", 3), ("c-1", 1)), 77, (new_id(), new_id())))
        nothing = Claimed(b"", Appended((), 77, ()))
        claims = [("theirs", elsewhere), ("mine", Claimed(b"other", nothing.outcome)), ("none", nothing)]
        await store.restore_claims(claims)
        await store.restore_claims(claims)
        await store.restore_claims([])
        assert await store.claimed("theirs") == elsewhere
        assert await store.claimed("mine") == Claimed(b"body", first)
        assert await store.read_claims() == [
            ("mine", Claimed(b"body", first)),
            ("none", nothing),
            ("theirs", elsewhere),
        ]
        again = await store.append(to("b-1", event(), claim=Claim("theirs", b"\x00digest\xff")))
        assert again == elsewhere.outcome._replace(replayed=True)
        assert await store.append(to("b-1", event(), claim=Claim("theirs", b"body"))) == ClaimReused("theirs")
        assert len(await whole_log(store)) == 1
        for bad in ("", "a\x00", "\ud800"):
            with pytest.raises(ValidationFailed):
                await store.restore_claims([("good", nothing), (bad, nothing)])
        assert await store.claimed("good") is None

    @on_store
    async def test_claims_beside_restored_ones(self, store: Store) -> None:
        """A command that is given in the moment in which its id is restored is carried out before it or not at all."""
        elsewhere = Claimed(b"body", Appended((("b-1", 3),), 77, (new_id(),)))
        results = await asyncio.gather(
            *(store.append(to("x-1", event(), claim=Claim(f"c-{number}", b"body"))) for number in range(10)),
            store.restore_claims([(f"c-{number}", elsewhere) for number in range(20)]),
            *(store.append(to("x-1", event(), claim=Claim(f"c-{number}", b"body"))) for number in range(20)),
        )
        outcomes = [appended(one) for number, one in enumerate(results) if number != 10]  # type: ignore[arg-type]
        assert len(await whole_log(store)) == len([one for one in outcomes if not one.replayed])
        for number, outcome in enumerate(outcomes[10:]):
            known = await store.claimed(f"c-{number}")
            assert known is not None
            assert known.outcome == outcome._replace(replayed=False)
