"""Behind PgBouncer in transaction mode, where any transaction may go to another server connection than the one before.

The tests are there where PgBouncer is installed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from foldline.store.postgres import PostgresStore
from foldline.store.spi import (
    Append,
    Claim,
    Column,
    Kind,
    ProjectionSpec,
    RecordedEvent,
    Select,
    Snapshot,
    StreamAppend,
    Table,
    Transaction,
    VersionConflict,
)
from tests.integration.postgres.support import (
    Seen,
    appended,
    chance,
    event,
    eventually,
    everything,
    faults_of_follower,
    faults_of_log,
    finish,
    follow,
    ids_of,
    insist,
    kill,
    name_of,
    one,
    opened,
    start,
    table,
)
from tests.servers.fixtures import MakeServer
from tests.servers.pgbouncer import PgBouncer, installed
from tests.servers.postgres import PostgresServer

Bounce = Callable[..., PgBouncer]

SMALL = {"default_pool_size": 3, "min_pool_size": 3}
"""Fewer server connections than any one store has, so that these change hands all the time."""

COUNTED = Table("counted", (Column("id", Kind.TEXT), Column("n", Kind.INTEGER)), "id", (("n",),))
SPEC = ProjectionSpec("counting", "1", (COUNTED,), ("CREATE TABLE mine (n int)",), ("mine",))


if installed():

    def test_all_that_a_store_does(postgres: PostgresServer, empty_database: str, bounce: Bounce) -> None:
        """From an empty database on, with more tasks than there are server connections."""
        bouncer = bounce(postgres, settings=SMALL)
        url = bouncer.url(name_of(empty_database))

        async def work(store: PostgresStore, number: int) -> None:
            own = f"own-{number}"
            first = appended(await store.append(one(own, expected=0)))
            batch = one(own, *(event() for _ in range(10)), expected=1)
            assert not appended(await store.append(batch)).replayed
            assert appended(await store.append(batch)).replayed
            assert await store.append(one(own, expected=3)) == VersionConflict(own, 3, 11)
            claimed = Append(
                (StreamAppend(own, 11, [event()]), StreamAppend(f"other-{number}", 0, [event()])),
                Claim(f"c-{number}", b"c"),
            )
            outcome = appended(await store.append(claimed))
            assert await store.append(claimed) == outcome._replace(replayed=True)
            found = await store.claimed(f"c-{number}")
            assert found is not None
            assert found.outcome == outcome
            await store.append(one("shared-1"))
            assert await store.wait(first.position - 1, 10)
            assert [one.version for one in await store.read_stream(own)] == list(range(1, 13))
            await store.save_snapshot(Snapshot(own, 12, outcome.position, "f", b"state"))
            assert (await store.load_snapshot(own)) is not None

            async def count(transaction: Transaction) -> None:
                before = await transaction.load(COUNTED, ["all"])
                await transaction.upsert(COUNTED, [(own, number), ("all", before[0][1] + 1 if before else 1)])
                await transaction.execute("INSERT INTO mine VALUES (?)", number)

            await store.transact(count)
            assert await store.load(COUNTED, [own]) == [(own, number)]
            assert (await store.sql("SELECT ?::int AS n", [number]))[1] == [(number,)]

        async def main() -> None:
            async with asyncio.timeout(60), opened(url) as store, opened(url) as other:
                checkpoint = await store.prepare(SPEC)
                await asyncio.gather(*(work((store, other)[number % 2], number) for number in range(24)))
                large = one("large-1", *(event() for _ in range(5_050)))._replace(claim=Claim("large", b"c"))
                assert not appended(await store.append(large)).replayed
                assert appended(await other.append(large)).replayed
                assert await other.load(COUNTED, ["all"]) == [("all", 24)]
                assert len(await other.select(Select(COUNTED, limit=100))) == 25
                waiting = asyncio.ensure_future(other.wait_checkpoint("counting", 5, 10))
                assert await store.transact(lambda transaction: transaction.advance(checkpoint, 5))
                assert (await waiting) == checkpoint._replace(position=5)
                await store.reset(SPEC)
                assert await other.count(COUNTED) == 0
                log = await table(empty_database)
                assert faults_of_log(log) == []
                assert await everything(store) == await everything(other) == log

        asyncio.run(main())

    def test_followers_behind_it(postgres18: PostgresServer, database18: str, bounce: Bounce) -> None:
        """Writers in processes of their own, a follower here: nothing is lost, and it comes soon."""
        dice = chance()
        url = bounce(postgres18, settings=SMALL).url(name_of(database18))
        seen: list[Seen] = []

        async def main() -> None:
            until: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            async def take(events: Sequence[RecordedEvent]) -> None:
                seen.extend(Seen(one.position, one.event_id, one.stream_id, one.version) for one in events)

            async with asyncio.timeout(60), AsyncExitStack() as stack:
                store = await stack.enter_async_context(opened(url))
                follower = asyncio.create_task(follow(store, take, 0, until))
                writers = [await start("write.py", url, f"w{n}", dice.randrange(2**32), 4, "retold") for n in range(2)]
                stack.push_async_callback(kill, writers)

                async def enough() -> bool:
                    return len(seen) > 1_000

                await eventually(enough, 40, "that 1,000 events were seen")
                for writer in writers:
                    await finish(writer)
                # Nobody writes any more, so what comes now comes by looking alone.
                began = time.monotonic()
                position = appended(await insist(store, one("last-1"))).position
                assert await store.wait(position - 1, 5)
                assert time.monotonic() - began < 1
                log = await table(database18)
                until.set_result(log[-1].position)
                await follower
            assert faults_of_log(log) == []
            assert faults_of_follower(seen, log) == []

        asyncio.run(main())

    @pytest.mark.parametrize("what", ["server", "bouncer"])
    def test_restarts_behind_it(own_server: MakeServer, bounce: Bounce, what: str) -> None:
        """Of the server, and of PgBouncer itself: what was under way is done again."""
        chance()
        server = own_server()
        server.create_database("shop")
        bouncer = bounce(server, settings={**SMALL, "server_login_retry": 1})
        url = bouncer.url("shop")

        async def main() -> None:
            async with asyncio.timeout(90), opened(url) as store:
                appends: list[Append] = []

                async def write(number: int, count: int) -> None:
                    for _ in range(count):
                        appends.append(one(f"s-{number}", event(), event()))
                        appended(await insist(store, appends[-1]))
                        await asyncio.sleep(0.005)

                for _ in range(3):
                    writing = [asyncio.create_task(write(number, 20)) for number in range(6)]
                    await asyncio.wait(writing, timeout=0.05)
                    await asyncio.to_thread((server if what == "server" else bouncer).restart)
                    began = time.monotonic()
                    await asyncio.gather(*writing)
                    seconds = time.monotonic() - began
                    print(f"went on after {seconds:.2f} s")
                    assert seconds < 5
                    assert await store.checkpoints() == {}
                log = await table(server.url("shop"))
                assert faults_of_log(log) == []
                assert {one.event_id for one in log} == {id for append in appends for id in ids_of(append)}
                assert await everything(store) == log

        asyncio.run(main())

    def test_nothing_stays_in_a_session(postgres: PostgresServer, database: str, bounce: Bounce) -> None:
        """In the connections that others get after a store: no lock, no setting, no statement, nobody who listens."""
        bouncer = bounce(postgres, settings={"default_pool_size": 1})
        url = bouncer.url(name_of(database))

        async def main() -> None:
            async with opened(url) as store:
                await store.append(one("a-1"))
                await store.append(one("a-1", *(event() for _ in range(5_000))))
                await store.prepare(SPEC)
                await store.sql("SELECT 1")

        asyncio.run(main())
        for query in (
            "SELECT count(*) FROM pg_prepared_statements",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "SELECT count(*) FROM pg_listening_channels()",
            "SELECT count(*) FROM pg_cursors WHERE is_holdable",
        ):
            assert postgres.psql(query, name_of(database), port=bouncer.port) == "0", query
