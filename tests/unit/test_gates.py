"""One decision at a time for each stream: in order, without leaks, without waiting for ever."""

from __future__ import annotations

import asyncio
import random

import pytest

from foldline.command.gates import Gates
from foldline.errors import StoreBusy
from tests.unit.bank import run


@run
async def test_a_free_gate_is_taken_at_once_and_forgotten_afterwards() -> None:
    gates = Gates()
    assert gates.is_free("a")
    await gates.enter("a")
    assert not gates.is_free("a") and gates.is_free("b")
    gates.leave("a")
    assert gates.is_free("a") and not gates._queues


@run
async def test_those_who_wait_are_served_in_their_order() -> None:
    gates, served = Gates(), []
    await gates.enter("a")

    async def one(number: int) -> None:
        await gates.enter("a")
        served.append(number)
        gates.leave("a")

    tasks = [asyncio.create_task(one(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert served == []
    gates.leave("a")
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4] and not gates._queues


@run
async def test_one_at_a_time_whatever_is_cancelled() -> None:
    gates, rng = Gates(), random.Random(1)
    inside: dict[str, int] = {"a": 0, "b": 0}

    async def one(name: str, pauses: int) -> None:
        await gates.enter(name)
        try:
            inside[name] += 1
            assert inside[name] == 1
            for _ in range(pauses):
                await asyncio.sleep(0)
            inside[name] -= 1
        except asyncio.CancelledError:
            inside[name] -= 1
            raise
        finally:
            gates.leave(name)

    tasks = [asyncio.create_task(one(rng.choice("ab"), rng.randrange(3))) for _ in range(300)]
    for _ in range(200):
        rng.choice(tasks).cancel()
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(one is None or isinstance(one, asyncio.CancelledError) for one in results)
    assert not gates._queues


@run
async def test_a_turn_given_to_one_who_is_cancelled_in_that_moment_goes_on() -> None:
    gates = Gates()
    await gates.enter("a")
    first = asyncio.create_task(gates.enter("a"))
    second = asyncio.create_task(gates.enter("a"))
    await asyncio.sleep(0)
    gates.leave("a")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    if not first.cancelled():
        gates.leave("a")
    async with asyncio.timeout(1):
        await second
    gates.leave("a")
    assert not gates._queues


@run
async def test_patience_ends() -> None:
    gates = Gates(patience=0.01)
    await gates.enter("a")
    with pytest.raises(StoreBusy, match=r"Stream 'a' was busy for 0.01 s: a handler that holds it"):
        await gates.enter("a")
    gates.leave("a")
    assert gates.is_free("a")


@run
async def test_somebody_else_s_deadline_stays_theirs() -> None:
    gates = Gates()
    await gates.enter("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await gates.enter("a")
    gates.leave("a")
    assert gates.is_free("a")
