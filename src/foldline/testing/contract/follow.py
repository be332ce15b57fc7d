"""Following the log: every event, once, in order, and woken as soon as there is one (G4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from foldline.store.spi import RecordedEvent, Store
from foldline.subscription import follow
from foldline.testing.contract.harness import (
    Place,
    StoreCase,
    event,
    events,
    kept,
    on_place,
    on_store,
    to,
    together,
    whole_log,
)

PROMPT = 10.0
"""Seconds within which something that is woken must have woken; far below the deadlines that it is given."""

END = "end"


class FollowContract(StoreCase):
    """Followers that began before, while and after events were written."""

    @on_store
    async def test_followers_see_every_event_once_and_in_order(self, store: Store) -> None:
        """Whenever they begin, whatever they follow, and however much they take at a time."""
        followers: list[tuple[asyncio.Task[list[RecordedEvent]], Collection[str] | None]] = []

        def begin(batch: int, types: Collection[str] | None = None) -> None:
            followers.append((asyncio.create_task(_collect(store, batch, types)), types))

        async def write(number: int) -> None:
            for turn in range(10):
                kind = ("placed", "paid")[turn % 2]
                await kept(store, together(to(f"a-{number}", event(type=kind)), to("all-1", event(type="x"), event())))
                if number == 3:
                    begin(1 + turn)

        begin(1)
        begin(1000)
        begin(7, ["paid", "x"])
        await kept(store, to("before-1", *events(10)))
        begin(3)
        await asyncio.gather(*map(write, range(16)))
        begin(50)
        begin(2, {"paid"})
        await kept(store, to("end-1", event(type=END)))
        begin(100)
        log = (await whole_log(store))[:-1]
        assert len(log) == 10 + 16 * 10 * 3
        for task, types in followers:
            assert await task == [one for one in log if types is None or one.type in types]

    @on_store
    async def test_a_follower_goes_on_from_any_position(self, store: Store) -> None:
        """A position is all that it has to remember."""
        for number in range(20):
            await kept(store, to(f"a-{number % 3}", *events(1 + number % 4)))
        log = await whole_log(store)
        for index in range(0, len(log), 5):
            assert await whole_log(store, log[index].position) == log[index + 1 :]

    @on_store
    async def test_a_wait_ends_at_once_where_there_is_something(self, store: Store) -> None:
        """Even with no time to wait."""
        end = (await kept(store, to("a-1", *events(3)))).position
        for after in (-1, 0, end - 1):
            assert await store.wait(after, 30) is True
            assert await store.wait(after, 0) is True

    @on_store
    async def test_a_wait_ends_when_its_time_is_over(self, store: Store) -> None:
        """With False, and not before."""
        end = (await kept(store, to("a-1", event()))).position
        assert await store.wait(end, 0) is False
        began = time.monotonic()
        assert await store.wait(end, 0.15) is False
        assert 0.1 < time.monotonic() - began < PROMPT

    @on_store
    async def test_a_wait_is_woken_by_an_append(self, store: Store) -> None:
        """Many waits by one, and only those that it concerns."""
        end = (await kept(store, to("a-1", event()))).position
        began = time.monotonic()
        waits = [asyncio.create_task(store.wait(end, 50)) for _ in range(20)]
        further = asyncio.create_task(store.wait(end + 1_000_000, 50))
        await asyncio.sleep(0)
        await kept(store, to("a-1", event()))
        assert await asyncio.gather(*waits) == [True] * 20
        assert time.monotonic() - began < PROMPT
        assert not further.done()
        further.cancel()

    @on_store
    async def test_a_cancelled_wait_leaves_the_others_alone(self, store: Store) -> None:
        """And the store goes on."""
        waits = [asyncio.create_task(store.wait(0, 50)) for _ in range(10)]
        await asyncio.sleep(0)
        for wait in waits[::2]:
            wait.cancel()
        await kept(store, to("a-1", event()))
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert all(one is True for one in ended[1::2])
        assert await store.wait(0, 0) is True

    @on_store
    async def test_what_is_told_as_written_can_be_read(self, store: Store) -> None:
        """By whoever is told first: the writer, one who waits, and one who asks for the end."""

        async def write(number: int) -> None:
            for _ in range(10):
                outcome = await kept(store, to(f"a-{number}", *events(2)))
                read = await store.read_stream(f"a-{number}")
                assert [one.version for one in read] == list(range(1, outcome.versions[0][1] + 1))
                if self.serial:
                    assert await store.head() >= outcome.position
                # Appends that began before this one keep followers below it until they have ended, and no longer.
                assert await store.wait(outcome.position - 1, 0 if self.serial else PROMPT)
                assert await store.head() >= outcome.position
                batch = await store.read_all(after=outcome.position - 1, limit=1)
                assert [one.position for one in batch.events] == [outcome.position]

        await asyncio.gather(*map(write, range(8)))
        assert await store.head() == (await whole_log(store))[-1].position

    @on_place
    async def test_what_others_hold_open_holds_nobody_up(self, place: Place) -> None:
        """A transaction that appends nothing may stay open for as long as it likes: every append is told at once."""
        async with place.open() as store:
            await kept(store, to("before-1", event()))
            async with self.unrelated(place.folder):
                follower = asyncio.create_task(_collect(store, 100, None))
                for _ in range(10):
                    outcomes = await asyncio.gather(*(kept(store, to(f"a-{n}", *events(2))) for n in range(8)))
                    last = max(outcome.position for outcome in outcomes)
                    assert await store.wait(last - 1, PROMPT), "followers are held up by what is no append"
                    assert await store.head() >= last
                await kept(store, to("end-1", event(type=END)))
                async with asyncio.timeout(PROMPT):
                    seen = await follower
            assert seen == (await whole_log(store))[:-1]
            assert len(seen) == 1 + 10 * 8 * 2


async def _collect(store: Store, batch: int, types: Collection[str] | None) -> list[RecordedEvent]:
    """What a follower sees until it has come to the end event."""
    found: list[RecordedEvent] = []
    # It must be woken and may not look by itself, for its poll is far beyond the test's deadline.
    async for seen in follow(store, types=None if types is None else [*types, END], batch=batch, poll=3600.0):
        found += seen.events
        if found and found[-1].type == END:
            return found[:-1]
    raise AssertionError("a follower ended by itself")
