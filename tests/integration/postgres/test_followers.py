"""G4 under fire: no follower loses, doubles or turns round an event, or stands still, whatever the writers go through.

Writers in processes of their own, with transaction ids older than their positions, with transactions that are rolled
back after they drew positions, and with backends that are terminated; beside them transactions that have nothing to
do with appending and stay open all the time. What each follower saw is compared with the table at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from bisect import bisect
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from foldline.store.postgres.connect import use_raw_codecs
from foldline.store.spi import Batch, RecordedEvent
from tests.integration.postgres.support import (
    COLUMNS,
    Connection,
    Seen,
    Source,
    appended,
    chance,
    connected,
    faults_of_follower,
    faults_of_log,
    finish,
    follow,
    kill,
    line,
    one,
    opened,
    start,
    table,
    with_options,
)
from tests.servers.fixtures import MakeServer
from tests.servers.postgres import PostgresServer

NO_LONGER = 1.0
"""Seconds that a follower may see nothing new while events are committed."""

TERMINATE = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND application_name NOT LIKE 'spared%'
ORDER BY md5(pid::text || $1) LIMIT 1
"""


class Naive:
    """A seeded fault: a source that reads whatever is visible above a position, without asking how far it may."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read_all(self, *, after: int = 0, limit: int = 1000) -> Batch:
        rows = await self._connection.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM foldline_events WHERE position > $1 ORDER BY position LIMIT $2",
            after, limit,
        )  # fmt: skip
        events = [RecordedEvent(*row) for row in rows]
        return Batch(events, events[-1].position if events else after)

    async def wait(self, after: int, timeout: float) -> bool:
        await asyncio.sleep(0.005)
        return True


class Delivery(NamedTuple):
    """When a follower saw events, and the last of their positions."""

    at: float
    position: int


class Follower:
    """What one follower saw."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.lives: list[list[Delivery]] = [[]]
        """Its deliveries, apart for each time that it was started."""

    async def take(self, events: Sequence[RecordedEvent]) -> None:
        self.seen += [Seen(event.position, event.event_id, event.stream_id, event.version) for event in events]
        self.lives[-1].append(Delivery(time.monotonic(), events[-1].position))

    def longest_pause(self, committed: Sequence[Delivery]) -> float:
        """The longest time that it saw nothing though something was committed that it had not seen."""
        longest = 0.0
        for life in self.lives:
            for before, after in itertools.pairwise(life):
                waited_for = bisect(committed, before)
                while waited_for < len(committed) and committed[waited_for].at < after.at:
                    if committed[waited_for].position > before.position:
                        longest = max(longest, after.at - committed[waited_for].at)
                        break
                    waited_for += 1
        return longest


class Report(NamedTuple):
    """What a run came to."""

    log: list[Seen]
    acknowledged: set[UUID]
    committed: list[Delivery]
    followers: dict[str, Follower]
    restarts: int
    terminated: int

    def faults(self, name: str) -> list[str]:
        """What is wrong with what a follower saw."""
        return faults_of_follower(self.followers[name].seen, self.log)


async def under_fire(
    server: PostgresServer,
    folder: Path,
    seconds: float,
    dice: random.Random,
    *,
    stores: int,
    raw: int,
    processes: bool,
    naive: bool,
) -> Report:
    """Have writers write for so many seconds while followers follow; wait until these have come to the end."""
    url = server.create_database("fired")
    seed = dice.randrange(2**32)
    followers = {"here": Follower()}
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(url))
        for place in (url, server.url()):
            idle = await stack.enter_async_context(connected(with_options(place, application_name="spared idle")))
            await idle.execute("BEGIN; CREATE TABLE unrelated (n int); INSERT INTO unrelated VALUES (1)")
        until: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(follow(store, followers["here"].take, 0, until))]
        if naive:
            followers["naive"] = Follower()
            source = await stack.enter_async_context(naive_source(url))
            tasks.append(asyncio.create_task(follow(source, followers["naive"].take, 0, until)))
        elsewhere = await start("follow.py", url, "printed", output=folder / "elsewhere") if processes else None
        ended = asyncio.Event()
        restarted = asyncio.create_task(restart(url, ended, until, dice)) if processes else None

        writers: dict[str, asyncio.subprocess.Process] = {}
        stack.push_async_callback(lambda: kill([*writers.values(), *([elsewhere] if elsewhere else [])]))
        for number in range(stores):
            name = f"store{number}"
            writers[name] = await start("write.py", url, name, seed, 2, "paced", output=folder / name)
        for number in range(raw):
            name = f"raw{number}"
            writers[name] = await start("write_raw.py", url, name, seed, 3, output=folder / name)
        terminated = await terminate_at_random(url, seconds, dice)
        for writer in writers.values():
            await finish(writer)
        log = await table(url)
        ended.set()
        until.set_result(log[-1].position)
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
            restarts = await restarted if restarted is not None else []
        if elsewhere is not None:
            await finish(elsewhere, given=f"{log[-1].position}\n")
            followers["elsewhere"] = printed((folder / "elsewhere").read_text().splitlines())
            followers["restarted"] = await kept(url, restarts)
        acknowledgements = [
            told.split() for name in writers for told in (folder / name).read_text().splitlines() if told != "ready"
        ]
        return Report(
            log,
            {UUID(event_id) for told in acknowledgements for event_id in told[2:]},
            sorted(Delivery(float(told[0]), int(told[1])) for told in acknowledgements),
            followers,
            len(restarts),
            terminated,
        )


@asynccontextmanager
async def naive_source(url: str) -> AsyncIterator[Source]:
    async with connected(with_options(url, application_name="spared naive")) as connection:
        await use_raw_codecs(connection)
        yield Naive(connection)


async def terminate_at_random(url: str, seconds: float, dice: random.Random) -> int:
    """Terminate one backend after the other, of whomever; how many that were."""
    terminated = 0
    async with connected(with_options(url, application_name="spared killer")) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(dice.uniform(0.05, 0.4))
            terminated += len(await connection.fetch(TERMINATE, str(dice.random())))
    return terminated


async def restart(url: str, ended: asyncio.Event, until: asyncio.Future[int], dice: random.Random) -> list[float]:
    """Run a follower and kill it, again and again, the last time to its end; when each of them was ready."""
    begun: list[float] = []
    while True:
        process = await start("follow.py", url, "kept")
        try:
            begun.append(float((await line(process)).split()[1]))
            try:
                async with asyncio.timeout(dice.uniform(0.1, 4)):
                    await ended.wait()
            except TimeoutError:
                continue
            await finish(process, given=f"{await until}\n")
            return begun
        finally:
            await kill([process])


def printed(lines: Iterable[str]) -> Follower:
    """What follow.py printed."""
    follower = Follower()
    for told in lines:
        match told.split():
            case [position, event_id, stream_id, version, at]:
                follower.seen.append(Seen(int(position), UUID(event_id), stream_id, int(version)))
                follower.lives[-1].append(Delivery(float(at), int(position)))
    return follower


async def kept(url: str, begun: Sequence[float]) -> Follower:
    """What follow.py kept in its table."""
    follower = Follower()
    follower.lives = [[] for _ in range(len(begun) + 1)]
    async with connected(url) as connection:
        for row in await connection.fetch(
            "SELECT position, event_id::text, stream_id, version, at FROM seen ORDER BY nr"
        ):
            follower.seen.append(Seen(row[0], UUID(row[1]), row[2], row[3]))
            follower.lives[bisect(begun, row[4])].append(Delivery(row[4], row[0]))
    return follower


@pytest.mark.timeout(180)
def test_followers_see_every_event_once_in_order_and_without_a_pause(own_server: MakeServer, tmp_path: Path) -> None:
    """For a minute: 12 writers by way of stores and 6 by transactions of their own, in 8 processes."""
    dice = chance()
    report = asyncio.run(
        under_fire(own_server(), tmp_path, 60, dice, stores=6, raw=2, processes=True, naive=False)
    )  # fmt: skip
    pauses = {name: follower.longest_pause(report.committed) for name, follower in report.followers.items()}
    print(f"{len(report.log)} events, {report.restarts} restarts, {report.terminated} terminated, pauses {pauses}")
    assert faults_of_log(report.log) == []
    assert {name: report.faults(name) for name in report.followers} == {"here": [], "elsewhere": [], "restarted": []}
    assert report.acknowledged <= {event.event_id for event in report.log}
    assert max(pauses.values()) < NO_LONGER
    # It was fire.
    assert len(report.log) > 5_000
    assert report.restarts >= 5
    assert report.terminated >= 100


def test_the_test_bites(own_server: MakeServer, tmp_path: Path) -> None:
    """A follower that just reads on by position loses events in the same run, and is found out; ours does not."""
    dice = chance()
    report = asyncio.run(under_fire(own_server(), tmp_path, 5, dice, stores=2, raw=2, processes=False, naive=True))
    assert report.faults("here") == []
    (first, *_) = report.faults("naive")
    assert "events were lost" in first


@pytest.mark.parametrize("end", ["commit", "rollback", "terminate", "vanish"])
def test_an_append_held_open_holds_up_only_what_is_above_it(database: str, end: str) -> None:
    """What is below is delivered at once, who holds is to be seen, and when it is over followers go on at once."""

    async def main() -> None:
        async with opened(database) as store, connected(database) as early, connected(database) as late:
            first = appended(await store.append(one("before-1"))).position
            below = await drawn(early)
            floor = await drawn(late) - 1
            assert floor == below
            above = [appended(await store.append(one("after-1"))).position for _ in range(3)]
            assert (await store.head(), await store.held()) == (first, first)
            follower = asyncio.ensure_future(store.wait(first, 30))

            # The one below ends, and is there at once, though the other one goes on.
            await commit(early, below)
            began = time.monotonic()
            assert await follower
            assert time.monotonic() - began < NO_LONGER
            batch = await store.read_all(after=first)
            assert [event.position for event in batch.events] == [below]
            assert (await store.head(), await store.held(), batch.position) == (below, floor, below)

            # That lasts for as long as it takes, and can be seen.
            assert not await store.wait(below, 1.5)
            assert (await store.head(), await store.held()) == (below, floor)
            assert await late.fetchval(HOLDS, floor) == [late.get_server_pid()]

            follower = asyncio.ensure_future(store.wait(below, 30))
            began = time.monotonic()
            match end:
                case "commit":
                    await commit(late, floor + 1)
                case "rollback":
                    await late.execute("ROLLBACK")
                case "terminate":
                    await early.fetchval("SELECT pg_terminate_backend($1)", late.get_server_pid())
                case _:
                    late.terminate()
            assert await follower
            assert time.monotonic() - began < NO_LONGER
            batch = await store.read_all(after=below)
            assert [event.position for event in batch.events] == ([floor + 1] if end == "commit" else []) + above
            assert await store.held() is None

    asyncio.run(main())


HOLDS = """
SELECT array_agg(pid) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = 5065423680884965376 | $1
"""


async def drawn(connection: Connection) -> int:
    """Have an append in flight that has drawn a position and not committed."""
    await connection.execute("BEGIN")
    await connection.fetchval("SELECT foldline_enter()")
    return int(await connection.fetchval("SELECT nextval('foldline_positions')"))


async def commit(connection: Connection, position: int) -> None:
    """Have it commit."""
    await connection.execute(
        "INSERT INTO foldline_events VALUES ($1, gen_random_uuid(), $2, 'held', 1, 'Happened', 1, '{}', '{}', now())",
        position, f"held-{position}",
    )  # fmt: skip
    await connection.execute("COMMIT")


def test_other_transactions_hold_nobody_up(database: str) -> None:
    """Neither those that write something else here or elsewhere, nor advisory locks that are not ours."""

    async def main() -> None:
        elsewhere = urlsplit(database)._replace(path="/postgres").geturl()
        async with opened(database) as store, AsyncExitStack() as stack:
            for place, begin in (
                (database, "BEGIN; SELECT pg_current_xact_id(), pg_advisory_xact_lock(1), pg_advisory_xact_lock(1, 1)"),
                (database, "BEGIN; CREATE TABLE unrelated (n int); LOCK TABLE unrelated"),
                (database, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM foldline_events"),
                (elsewhere, "BEGIN; SELECT pg_current_xact_id(), pg_advisory_xact_lock(5065423680884965376)"),
            ):
                await (await stack.enter_async_context(connected(place))).execute(begin)
            for _ in range(3):
                position = appended(await store.append(one("a-1"))).position
                assert await store.head() == position
            assert await store.held() is None

    asyncio.run(main())
