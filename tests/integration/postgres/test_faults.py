"""Everything that may happen between a store and its server: retried, or refused with a typed error, and then over.

A pool, or an append, must be well again within RECOVERS seconds of the server's or the network's coming back; it is
measured here, from the moment at which the fault ends.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from foldline.errors import OutcomeUnknown, StoreBusy, StoreClosed, StoreUnavailable
from foldline.store.postgres import PostgresStore
from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    Column,
    Expect,
    Kind,
    ProjectionSpec,
    RecordedEvent,
    StreamAppend,
    Table,
    Transaction,
)
from tests.integration.postgres.support import (
    Seen,
    appended,
    chance,
    connected,
    event,
    eventually,
    everything,
    faults_of_follower,
    faults_of_log,
    follow,
    ids_of,
    insist,
    name_of,
    one,
    opened,
    table,
    with_options,
)
from tests.servers.fixtures import MakeServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

MakeProxy = Callable[..., Proxy]

RECOVERS = 5.0
"""Seconds within which everything works again when the fault is over."""

TERMINATE_ALL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'foldline' AND pid <> pg_backend_pid()"
)

COUNTED = Table("counted", (Column("stream", Kind.TEXT), Column("seen", Kind.INTEGER)), "stream")
COUNTING = ProjectionSpec("counting", "1", (COUNTED,))


class Load:
    """Tasks that append, follow and read all the time, and what came of it."""

    def __init__(self, store: PostgresStore, dice: random.Random) -> None:
        self.store = store
        self.appends: list[tuple[Append, Appended]] = []
        self.seen: list[Seen] = []
        self.acknowledged_at = 0.0
        self.read_at = 0.0
        self._seed = dice.randrange(2**32)
        self._stopping = False
        self._changed = asyncio.Event()
        self._until: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def write(self, number: int) -> None:
        """Append to a stream of its own, never giving anything up."""
        dice, version = random.Random(f"{self._seed} {number}"), 0
        while not self._stopping:
            events = [event() for _ in range(dice.randrange(1, 4))]
            append = Append(
                (
                    StreamAppend(f"own-{number}", version, events),
                    StreamAppend(f"shared-{dice.randrange(3)}", Expect.ANY, [event()]),
                )
            )
            outcome = appended(await insist(self.store, append))
            self.acknowledged_at = time.monotonic()
            self._changed.set()
            self.appends.append((append, outcome))
            version += len(events)
            await asyncio.sleep(dice.uniform(0, 0.01))

    async def read(self) -> None:
        """Read by way of both pools."""
        while not self._stopping:
            try:
                await self.store.read_stream("own-0")
                await self.store.checkpoints()
                self.read_at = time.monotonic()
                self._changed.set()
            except (StoreUnavailable, StoreBusy):
                pass
            await asyncio.sleep(0.005)

    async def take(self, events: Sequence[RecordedEvent]) -> None:
        """Keep what the follower saw."""
        self._changed.set()
        self.seen += [Seen(one.position, one.event_id, one.stream_id, one.version) for one in events]

    async def going(self, since: float | None = None, within: float = 30) -> float:
        """Wait until there were appends, reads and deliveries since a moment; seconds that this took."""
        since = time.monotonic() if since is None else since
        delivered = len(self.seen)
        async with asyncio.timeout(within):
            while self.acknowledged_at < since or self.read_at < since or len(self.seen) <= delivered:
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic() - since

    async def check(self, url: str) -> None:
        """Compare what was told with what is there."""
        log = await table(url)
        self._until.set_result(log[-1].position)
        async with asyncio.timeout(30):
            await self._follower
        assert faults_of_log(log) == []
        assert faults_of_follower(self.seen, log) == []
        places = {one.event_id: one.position for one in log}
        for append, outcome in self.appends:
            positions = [places[event_id] for event_id in ids_of(append)]
            assert positions == sorted(positions)
            assert positions[-1] == outcome.position
        assert len(log) == sum(len(ids_of(append)) for append, _ in self.appends)

    async def __aenter__(self) -> Load:
        self._writers = [asyncio.create_task(self.write(number)) for number in range(8)]
        self._reader = asyncio.create_task(self.read())
        self._follower = asyncio.create_task(follow(self.store, self.take, 0, self._until))
        await self.going()
        return self

    async def stop(self) -> None:
        """End the writers and the reader well."""
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._writers, self._reader)

    async def __aexit__(self, *raised: object) -> None:
        self._stopping = True
        for task in (*self._writers, self._reader, self._follower):
            task.cancel()
        await asyncio.gather(*self._writers, self._reader, self._follower, return_exceptions=True)


@asynccontextmanager
async def load(url: str, dice: random.Random) -> AsyncIterator[Load]:
    """A store under load."""
    async with asyncio.timeout(100), opened(url) as store, Load(store, dice) as tasks:
        yield tasks


# --- The server ------------------------------------------------------------------------------------------------------


def test_every_backend_is_terminated(database: str) -> None:
    """Again and again, under load: nobody notices."""
    dice = chance()

    async def main() -> None:
        async with load(database, dice) as tasks, connected(database) as killer:
            for _ in range(20):
                assert await killer.fetchval(TERMINATE_ALL) >= 1
                assert await tasks.going() < RECOVERS
            await tasks.stop()
            await tasks.check(database)

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_restarts_under_load(own_server: MakeServer, mode: Literal["fast", "immediate"]) -> None:
    """What was under way is done again."""
    dice = chance()
    server = own_server()
    url = server.create_database("restarted")

    async def main() -> None:
        async with load(url, dice) as tasks:
            for _ in range(3):
                await asyncio.to_thread(server.restart, mode)
                assert await tasks.going() < RECOVERS
            await tasks.stop()
            await tasks.check(url)

    asyncio.run(main())


def test_the_server_is_down_for_longer_than_anybody_waits(
    own_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed errors after a bounded time, and everything works soon after it has come back."""
    monkeypatch.setattr("foldline.store.postgres.appender.PATIENCE", 1.0)
    monkeypatch.setattr("foldline.store.postgres.connect.PATIENCE", 1.0)
    server = own_server()
    url = server.create_database("down")

    async def main() -> None:
        async with asyncio.timeout(60), opened(url) as store:
            await store.append(one("a-1"))
            server.stop("fast")
            refused = one("a-1", event(), event())
            calls = (store.append(refused), store.read_stream("a-1"), store.head(), store.checkpoints())
            began = time.monotonic()
            said = await asyncio.gather(*calls, store.wait(1, 0.5), return_exceptions=True)
            assert time.monotonic() - began < 4
            # Nothing was sent, so it is known that nothing was kept; or it was, and nobody can tell.
            assert isinstance(said[0], (StoreUnavailable, OutcomeUnknown)), said
            assert all(isinstance(error, StoreUnavailable) for error in said[1:4]), said
            assert said[4] is False or isinstance(said[4], StoreUnavailable)
            assert all("\n" not in str(error) for error in said[:4])
            server.start()
            began = time.monotonic()
            async with asyncio.timeout(RECOVERS):
                assert appended(await store.append(refused)).versions == (("a-1", 3),)
                assert len(await store.read_stream("a-1")) == 3
                assert await store.checkpoints() == {}
                assert await store.wait(1, 5)
            print(f"recovered within {time.monotonic() - began:.2f} s")

    asyncio.run(main())


def test_failover_to_a_promoted_standby(own_server: MakeServer) -> None:
    """With both hosts in the URL: what was acknowledged is on the standby, and all go on there."""
    dice = chance()
    server = own_server()
    server.create_database("moved")

    async def main() -> None:
        with await asyncio.to_thread(server.standby) as standby:
            hosts = f"127.0.0.1:{server.port},127.0.0.1:{standby.port}"
            url = f"postgresql://postgres@{hosts}/moved"
            await asyncio.to_thread(server.configure, synchronous_standby_names="*")
            async with load(url, dice) as tasks:
                await tasks.going()
                await asyncio.to_thread(server.crash)
                await asyncio.to_thread(standby.promote)
                seconds = await tasks.going()
                print(f"went on {seconds:.2f} s after the standby was promoted")
                assert seconds < RECOVERS
                await tasks.stop()
                await tasks.check(standby.url("moved"))

    asyncio.run(main())


def test_failover_from_a_server_that_falls_silent(
    own_server: MakeServer, network: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither answers nor refuses, as a machine without power: the next host in the URL is asked all the same."""
    monkeypatch.setattr("foldline.store.postgres.appender.STALLED", 3.0)
    dice = chance()
    server = own_server()
    server.create_database("moved")

    async def main() -> None:
        with await asyncio.to_thread(server.standby) as standby:
            await asyncio.to_thread(server.configure, synchronous_standby_names="*")
            first, second = network(server.port), network(standby.port)
            hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
            async with load(f"postgresql://postgres@{hosts}/moved?timeout=4", dice) as tasks:
                first.stall()
                await asyncio.to_thread(standby.promote)
                seconds = await tasks.going()
                # It must be noticed first, which takes as long as a statement may take.
                print(f"went on {seconds:.2f} s after the standby was promoted")
                assert seconds < 3 * RECOVERS
                # Once it is known, those who connect go to the right one.
                async with connected(standby.url("moved")) as killer:
                    await killer.fetchval(TERMINATE_ALL)
                assert await tasks.going() < RECOVERS
                await tasks.stop()
                await tasks.check(standby.url("moved"))

    asyncio.run(main())


def test_a_synchronous_standby_that_is_gone(own_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the primary has is not acknowledged, though it can be seen there, and though it is retried."""
    monkeypatch.setattr("foldline.store.postgres.appender.PATIENCE", 0.8)
    monkeypatch.setattr("foldline.store.postgres.appender.STALLED", 0.5)
    server = own_server()
    url = server.create_database("lonely")
    waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    async def main() -> None:
        async with asyncio.timeout(60), opened(url) as store, connected(url) as killer:
            await store.append(one("a-1"))
            appends = (one("a-1"), one("b-1", expected=0), one("c-1")._replace(claim=Claim("c", b"c")))
            for number, append in enumerate(appends):
                server.configure(synchronous_standby_names="nobody")
                pending = asyncio.ensure_future(store.append(append))
                await eventually(lambda: killer.fetchval(waiting), what="a commit that waits for the standby")

                async def there(number: int = number) -> bool:
                    return len(await table(url)) == number + 2

                await eventually(there, what="what was committed here alone")
                for attempt in (pending, store.append(append)):
                    with pytest.raises((OutcomeUnknown, StoreUnavailable)):
                        await attempt
                server.configure(synchronous_standby_names="")
                await killer.fetch(waiting)
                assert appended(await store.append(append)).replayed

    asyncio.run(main())


# --- The network -----------------------------------------------------------------------------------------------------


def appends(kind: str) -> Append:
    """An append that takes one of the ways there are."""
    match kind:
        case "lone":
            return one("lost-1")
        case "claimed":
            return one("lost-1")._replace(claim=Claim("c-1", b"body"))
        case "streams":
            return Append(tuple(StreamAppend(f"lost-{number}", 0, [event()]) for number in (1, 2)))
        case _:
            return one("lost-1", *(event() for _ in range(5_000)))


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("lone", b"lost-1"),
        ("claimed", b"lost-1"),
        ("streams", b"lost-1"),
        ("large", b"lost-1"),
        ("large", b"COMMIT"),
    ],
)
def test_the_answer_to_a_commit_is_lost(
    postgres: PostgresServer, database: str, network: MakeProxy, kind: str, sent: bytes
) -> None:
    """It is found out by the event ids: one copy, and a success."""
    proxy = network(postgres.port)

    async def main() -> None:
        async with opened(proxy.url(name_of(database))) as store:
            await store.append(one("before-1"))
            proxy.lose_answer_to(sent)
            append = appends(kind)
            async with asyncio.timeout(20):
                outcome = appended(await store.append(append))
            seen = await table(database)
            assert [one.event_id for one in seen[1:]] == ids_of(append)
            assert outcome.event_ids == tuple(ids_of(append))
            assert seen[-1].position == outcome.position
            assert appended(await store.append(append)) == outcome._replace(replayed=True)
            assert (await everything(store)) == seen

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"pg_backend_pid", b"foldline_migrations", b"foldline_record"])
def test_a_connection_is_lost_while_a_store_is_opened(
    postgres: PostgresServer, database: str, network: MakeProxy, sent: bytes
) -> None:
    """As may be while a server restarts: another is made."""
    proxy = network(postgres.port)
    proxy.lose_answer_to(sent)

    async def main() -> None:
        async with asyncio.timeout(20), opened(proxy.url(name_of(database))) as store:
            assert appended(await store.append(one("a-1"))).position == 1

    asyncio.run(main())


def test_a_slow_network(postgres18: PostgresServer, database18: str, network: MakeProxy) -> None:
    """Is slow and no more than that."""
    dice = chance()
    proxy = network(postgres18.port)
    proxy.delay(0.05)

    async def main() -> None:
        async with load(proxy.url(name_of(database18)), dice) as tasks:
            for _ in range(3):
                await tasks.going()
            proxy.delay(0)
            await tasks.going()
            await tasks.stop()
            await tasks.check(database18)

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["cut", "refuse", "stall", "deaf", "mute"])
def test_a_broken_network(postgres18: PostgresServer, database18: str, network: MakeProxy, fault: str) -> None:
    """Cut, or silent in one direction or both, and then well again: so are the pools and the appends."""
    dice = chance()
    proxy = network(postgres18.port)

    async def main() -> None:
        async with load(with_options(proxy.url(name_of(database18)), timeout=2), dice) as tasks:
            for _ in range(2):
                match fault:
                    case "cut":
                        proxy.cut()
                    case "refuse":
                        proxy.refuse()
                    case "stall":
                        proxy.stall()
                    case "deaf":
                        proxy.stall(up=True, down=False)
                    case _:
                        proxy.stall(up=False, down=True)
                if fault != "cut":
                    await asyncio.sleep(dice.uniform(0.2, 1.5))
                proxy.flow()
                seconds = await tasks.going()
                print(f"went on after {seconds:.2f} s")
                assert seconds < RECOVERS
            await tasks.stop()
            await tasks.check(database18)

    asyncio.run(main())


@pytest.mark.parametrize("down", [True, False])
def test_a_network_that_swallows_what_was_sent(
    postgres18: PostgresServer, database18: str, network: MakeProxy, down: bool
) -> None:
    """It stands still without a word and is cut in the end: the append is retried, and is there once."""
    proxy = network(postgres18.port)

    async def main() -> None:
        async with asyncio.timeout(60), opened(with_options(proxy.url(name_of(database18)), timeout=2)) as store:
            await store.append(one("a-1"))
            proxy.stall(up=not down, down=down)
            append = one("a-1", event(), event())
            pending = asyncio.ensure_future(store.append(append))
            reading = asyncio.ensure_future(store.read_stream("a-1"))
            # A read is given up in the time that the URL says.
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await reading
            assert time.monotonic() - began < 4
            assert not pending.done()
            proxy.cut()
            proxy.flow()
            began = time.monotonic()
            outcome = appended(await pending)
            assert len(await store.read_stream("a-1")) == 3
            assert time.monotonic() - began < RECOVERS
            assert outcome.versions == (("a-1", 3),)

    asyncio.run(main())


# --- Callers ---------------------------------------------------------------------------------------------------------


def test_callers_are_cancelled_in_the_middle(database: str) -> None:
    """Whatever they were at, nothing half is left, no connection is lost for good, and the others are not disturbed."""
    dice = chance()

    async def main() -> None:
        async with asyncio.timeout(60), opened(with_options(database, pool_size=2)) as store:
            checkpoint = await store.prepare(COUNTING)

            async def count(transaction: Transaction) -> bool:
                await transaction.upsert(COUNTED, [("a", 1), ("b", 2)])
                await transaction.fetch("SELECT pg_sleep(0.005)")
                return await transaction.advance(checkpoint, 10)

            tried: list[Append] = []

            def append() -> Any:
                tried.append(one(f"c-{dice.randrange(3)}", event(), event()))
                return store.append(tried[-1])

            calls: list[Callable[[], Any]] = [
                append,
                lambda: store.read_all(limit=100),
                lambda: store.sql("SELECT pg_sleep(0.01)"),
                lambda: store.transact(count),
                lambda: store.wait(10**9, 5),
                lambda: store.wait_checkpoint("counting", 10**6, 5),
            ]
            for _ in range(60):
                callers = [asyncio.ensure_future(dice.choice(calls)()) for _ in range(10)]
                await asyncio.sleep(dice.uniform(0, 0.02))
                for caller in callers:
                    caller.cancel()
                for said in await asyncio.gather(*callers, return_exceptions=True):
                    assert not isinstance(said, Exception) or isinstance(said, asyncio.CancelledError), said
            # All connections are there, for as many as there may be at once.
            async with asyncio.timeout(10):
                await asyncio.gather(*(store.read_stream("c-0") for _ in range(20)))
                await asyncio.gather(*(store.checkpoints() for _ in range(20)))
            rows = await store.load(COUNTED, ["a", "b"])
            moved = (await store.checkpoints())["counting"].position
            assert (len(rows), moved) in ((0, 0), (2, 10))
            # An append that was taken goes on without whoever asked for it, or never began; and it can be retried.
            for once in tried:
                await store.append(once)
            log = await table(database)
            assert faults_of_log(log) == []
            assert sorted(one.event_id for one in log) == sorted(id for once in tried for id in ids_of(once))
            await eventually(lambda: none(database, "state LIKE 'idle in%'"))

    asyncio.run(main())


async def none(url: str, what: str) -> bool:
    """Whether no connection to the database is like that."""
    async with connected(url) as connection:
        text = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {what}"
        return bool(await connection.fetchval(text) == 0)


def test_close_while_appends_are_in_flight(database: str) -> None:
    """What was accepted is recorded and told so; what came too late is refused and not recorded."""

    async def main() -> None:
        store = await PostgresStore.open(database)
        accepted = [one(f"d-{number % 7}", event(), event()) for number in range(300)]
        waiting = [asyncio.ensure_future(store.append(append)) for append in accepted]
        reading = asyncio.ensure_future(store.sql("SELECT pg_sleep(0.2), 1 AS n"))
        follower = asyncio.ensure_future(store.wait(10**9, 30))
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(20):
            closing = asyncio.ensure_future(store.close())
            await asyncio.sleep(0)
            # It may be accepted until it is refused, but nothing in between.
            with pytest.raises(StoreClosed):
                while True:
                    late = one("d-0")
                    appended(await store.append(late))
                    accepted.append(late)
            outcomes = await asyncio.gather(*waiting)
            with pytest.raises(StoreClosed):
                await follower
            await asyncio.gather(closing, store.close())
            await asyncio.gather(reading, return_exceptions=True)
            for call in (store.read_stream("d-0"), store.head(), store.checkpoints(), store.wait(0, 1)):
                with pytest.raises(StoreClosed):
                    await call
        log = await table(database)
        assert faults_of_log(log) == []
        assert [appended(outcome).versions[0][1] > 0 for outcome in outcomes] == [True] * 300
        assert {one.event_id for one in log} == {id for append in accepted for id in ids_of(append)}
        await eventually(lambda: none(database, "application_name = 'foldline'"))

    asyncio.run(main())


def test_close_while_the_server_is_gone(own_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in bounded time, and whoever waits is told."""
    monkeypatch.setattr("foldline.store.postgres.appender.PATIENCE", 1.0)
    server = own_server()
    url = server.create_database("gone")

    async def main() -> None:
        store = await PostgresStore.open(url)
        await store.append(one("a-1"))
        server.crash()
        pending = asyncio.ensure_future(store.append(one("a-1")))
        await asyncio.sleep(0)
        began = time.monotonic()
        await store.close()
        assert time.monotonic() - began < 5
        with pytest.raises((OutcomeUnknown, StoreUnavailable)):
            await pending

    asyncio.run(main())
