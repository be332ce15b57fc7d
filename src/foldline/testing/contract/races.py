"""Many writers at once: each version is won once, and positions follow real time (G2, G3)."""

from __future__ import annotations

import asyncio
import itertools

from foldline.store.spi import (
    Append,
    Appended,
    Expect,
    Outcome,
    Store,
)
from foldline.testing.contract.harness import (
    StoreCase,
    appended,
    conflict,
    event,
    events,
    ids,
    kept,
    on_store,
    to,
    together,
    whole_log,
)

WRITERS = 64


class RaceContract(StoreCase):
    """Appends that meet each other."""

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
        halves: dict[bytes, list[str]] = {}
        for one in log:
            halves.setdefault(one.data, []).append(one.stream_id)
        assert len(halves) == WRITERS
        assert all(len(set(on)) == len(on) == 2 for on in halves.values()), "a transfer is on one account alone"
        if self.serial:
            for first, second in zip(log[::2], log[1::2], strict=True):
                assert first.data == second.data, "the two halves of an append stand apart"
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
            # Where one append is recorded after the other, it is decided by the time a later one is acknowledged.
            await kept(store, to("barrier-1", event()))
            there = [event.stream_id for event in await whole_log(store)]
            sizes = [there.count(one.stream_id) for one in append.streams]
            assert sizes in ([0, 0], [3, 2])
            again = appended(await store.append(append))
            assert again.replayed is (sizes == [3, 2]) or (again.replayed and not self.serial)
            assert [len(await store.read_stream(one.stream_id)) for one in append.streams] == [3, 2]


async def _outcome(store: Store, append: Append) -> Outcome:
    return await store.append(append)
