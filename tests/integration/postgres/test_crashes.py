"""A hundred crashes of the server under sixteen writers: what was acknowledged is there, once and whole."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple
from uuid import UUID

import pytest

from foldline.store.spi import RecordedEvent
from tests.integration.postgres.support import (
    Seen,
    chance,
    faults_of_follower,
    faults_of_log,
    follow,
    kill,
    opened,
    start,
    table,
)
from tests.servers.fixtures import MakeServer
from tests.servers.postgres import PostgresServer

CRASHES = 100
WRITERS = 4
TASKS = 4


class Acknowledged(NamedTuple):
    """An append that a writer was told to be durable."""

    position: int
    ids: list[UUID]


class Told:
    """What the writers have printed so far."""

    def __init__(self) -> None:
        self.appends: list[Acknowledged] = []
        self._more = asyncio.Event()

    async def read(self, process: asyncio.subprocess.Process) -> None:
        """Take down what one of them prints, to its end."""
        assert process.stdout is not None
        async for said in process.stdout:
            if said != b"ready\n":
                _, position, *ids = said.decode().split()
                self.appends.append(Acknowledged(int(position), [UUID(one) for one in ids]))
                self._more.set()

    async def more(self, count: int) -> None:
        """Wait until so many more appends were acknowledged."""
        wanted = len(self.appends) + count
        async with asyncio.timeout(30):
            while len(self.appends) < wanted:
                self._more.clear()
                await self._more.wait()


async def crash_again_and_again(server: PostgresServer, dice: random.Random) -> tuple[Told, list[Seen], list[Seen]]:
    """What was acknowledged, what is in the table, and what a follower saw meanwhile."""
    url = server.create_database("crashed")
    told = Told()
    seen: list[Seen] = []
    until: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def take(events: Sequence[RecordedEvent]) -> None:
        seen.extend(Seen(one.position, one.event_id, one.stream_id, one.version) for one in events)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(url))
        follower = asyncio.create_task(follow(store, take, 0, until))
        seed = dice.randrange(2**32)
        arguments = [("write.py", url, f"writer{number}", seed, TASKS, "retold") for number in range(WRITERS)]
        writers = [await start(*one) for one in arguments]
        stack.push_async_callback(kill, writers)
        readers = [asyncio.create_task(told.read(writer)) for writer in writers]
        # Each of them writes before the first crash.
        await told.more(20 * WRITERS)
        for _ in range(CRASHES):
            # At any moment of what follows upon an acknowledgement, be it the very first after the last crash.
            await told.more(dice.randrange(1, 30))
            await asyncio.sleep(dice.uniform(0, 0.005))
            await asyncio.to_thread(server.crash)
            await asyncio.to_thread(server.start)
        await told.more(20 * WRITERS)
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.close()
        async with asyncio.timeout(60):
            await asyncio.gather(*readers)
            assert [await writer.wait() for writer in writers] == [0] * WRITERS
            log = await table(url)
            until.set_result(log[-1].position)
            await follower
    return told, log, seen


@pytest.mark.timeout(240)
def test_a_hundred_crashes_lose_and_double_nothing(own_server: MakeServer) -> None:
    """Acknowledged appends are there where it was said, whole and once, and a follower saw just what is there."""
    dice = chance()
    began = time.monotonic()
    told, log, seen = asyncio.run(crash_again_and_again(own_server(), dice))
    print(f"{len(told.appends)} appends, {len(log)} events, {time.monotonic() - began:.0f} s")
    assert faults_of_log(log) == []
    places = {one.event_id: one.position for one in log}
    for append in told.appends:
        positions = [places.get(event_id) for event_id in append.ids]
        assert None not in positions, append
        assert positions[-1] == append.position, append
    # The writers gave nothing up, so what is there was acknowledged, all of it and nothing else.
    assert len(log) == sum(len(append.ids) for append in told.appends)
    assert faults_of_follower(seen, log) == []
