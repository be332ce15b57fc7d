"""Following the log: every event once and in order, started before, during and after the writing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from foldline.store.spi import Append, Expect, NewEvent, Store, StreamAppend
from foldline.subscription import follow, next_batch
from tests.unit.stores import STORES, open_store, uuid7


async def append(store: Store, *types: str, stream: str = "s-1") -> None:
    events = [NewEvent(uuid7(), one, 1, b"{}") for one in types]
    await store.append(Append((StreamAppend(stream, Expect.ANY, events),)))


async def collect(store: Store, count: int, **options: object) -> list[int]:
    positions: list[int] = []
    async with aclosing(follow(store, **options)) as batches:  # type: ignore[arg-type]
        async for batch in batches:
            positions += [event.position for event in batch.events]
            if len(positions) >= count:
                return positions
    raise AssertionError("a subscription has no end")


@pytest.mark.parametrize("kind", STORES)
def test_events_come_once_and_in_order_whenever_they_are_written(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            await append(store, *["before"] * 7)
            async with asyncio.TaskGroup() as tasks:
                followers = [tasks.create_task(collect(store, 107, batch=3)) for _ in range(3)]
                late = tasks.create_task(collect(store, 100, after=7, poll=0.01))
                for at in range(100):
                    await append(store, "during", stream=f"s-{at % 4}")
            for follower in followers:
                assert follower.result() == sorted(set(follower.result()))
                assert len(follower.result()) == 107
            assert late.result() == followers[0].result()[7:]

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("kind", STORES)
def test_events_of_other_types_move_the_position(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            await append(store, "a", "b", "b")
            batch = await next_batch(store, 0, types={"a"})
            assert ([event.type for event in batch.events], batch.position) == (["a"], await store.head())
            await append(store, "b")
            batch = await next_batch(store, batch.position, types={"a"})
            assert (batch.events, batch.position) == ([], await store.head())
            # Nothing more: the position stays, after the time that was given.
            assert await next_batch(store, batch.position, poll=0.01) == ([], batch.position)

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("kind", STORES)
def test_a_waiting_follower_wakes_and_can_be_cancelled(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            before = asyncio.all_tasks()
            waiting = [asyncio.create_task(next_batch(store, 0, poll=60)) for _ in range(2)]
            await asyncio.wait(waiting, timeout=0.05)
            waiting[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting[0]
            await append(store, "a")
            assert len((await waiting[1]).events) == 1
            assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(main(), 30))
