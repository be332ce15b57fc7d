"""The projections' runtime: exactly once, each failing for itself, and truthful about where it is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
import pytest

from foldline.domain.codec import Codec
from foldline.domain.message import Event
from foldline.domain.schema import Registry
from foldline.errors import ProjectionHalted, StoreBusy, UnknownName, ViewBehind
from foldline.observe import Fact, ProjectionAdvanced, ProjectionFailed
from foldline.projection import ProjectionType, projection_type
from foldline.projection.member import Retry
from foldline.projection.rebuild import Progress, rebuild
from foldline.projection.runtime import ProjectionRuntime, ProjectionStatus, read_status
from foldline.projection.sql import Projection
from foldline.projection.view import View, projects, view_type
from foldline.store.spi import Append, Expect, NewEvent, Store, StreamAppend, Transaction, ViewStore, Work
from tests.unit.stores import STORES, open_store, open_two, uuid7

both = pytest.mark.parametrize("kind", STORES)


class Counted(Event):
    key: str
    amount: int = 1


class Foreign(Event):
    key: str = ""


class Total(View, key="key"):
    key: str
    events: int = 0
    total: int = 0

    @projects
    def counted(self, event: Counted) -> None:
        self.events += 1
        self.total += event.amount


class Twin(View, key="key"):
    key: str
    order: tuple[int, ...] = ()

    @projects
    def counted(self, event: Counted) -> None:
        self.order = (*self.order[-9:], event.amount)


class Fussy(View, key="key"):
    """Fails on events that `refuses` says it should."""

    key: str
    total: int = 0
    refuses: ClassVar[Callable[[Counted], bool]] = lambda event: False
    tried: ClassVar[list[int]] = []

    @projects
    def counted(self, event: Counted) -> None:
        self.total += event.amount
        if Fussy.refuses(event):
            Fussy.tried.append(event.amount)
            raise RuntimeError(f"no {event.amount}, please")


class Ledger(Projection, tables=("ledger",)):
    setup: ClassVar[str] = "CREATE TABLE ledger (key TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount <> 13));"

    @projects
    async def counted(self, event: Counted, tx: Transaction) -> None:
        await tx.execute("INSERT INTO ledger (key, amount) VALUES (?, ?)", event.key, event.amount)


CODEC = Codec(Registry("event", [Counted, Foreign]))
TOTAL, TWIN, FUSSY = view_type(Total), view_type(Twin), view_type(Fussy)
QUICK = Retry(attempts=4, first=0.001, cap=0.002)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.fixture(autouse=True)
def forget() -> None:
    Fussy.refuses = lambda event: False
    Fussy.tried = []


async def append(store: Store, events: Iterable[Event]) -> int:
    new = [NewEvent(uuid7(), type(one).__message_name__, 1, msgspec.json.encode(one)) for one in events]
    outcome = await store.append(Append((StreamAppend("s-1", Expect.ANY, new),)))
    return outcome.position  # type: ignore[union-attr]


def runtime(
    store: Store, *projections: ProjectionType, views: ViewStore | None = None, **options: Any
) -> ProjectionRuntime:
    return ProjectionRuntime(
        store, views or store, CODEC, projections or (TOTAL,), **{"retry": QUICK, "poll": 1.0, **options}
    )


async def rows(store: Store, type_: Any = TOTAL, upto: int | None = None) -> None:
    """The rows of a view equal a fold of the log up to its checkpoint."""
    checkpoint = (await store.checkpoints())[type_.name]
    expected: dict[str, Any] = {}
    for event in (await store.read_all(limit=10**6, types=type_.names)).events:
        if event.position <= checkpoint.position:
            decoded = CODEC.decode_event(event.type, 1, event.data)
            assert isinstance(decoded, Counted)
            expected.setdefault(decoded.key, type_.cls(decoded.key)).counted(decoded)
    found = {row[0]: type_.struct(row) for row in await store.load(type_.table, [f"k-{at}" for at in range(5000)])}
    assert found == expected
    if upto is not None:
        assert checkpoint.position >= upto


class Spy:
    """A view store that counts, and fails as it is told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.transactions = 0
        self.busy = 0
        self.refuse: Callable[[Any], bool] = lambda rows: False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def transact(self, work: Work[Any]) -> Any:
        self.transactions += 1
        if self.busy:
            self.busy -= 1
            raise StoreBusy
        return await self.store.transact(lambda transaction: work(_SpyTransaction(transaction, self)))


class _SpyTransaction:
    def __init__(self, transaction: Transaction, spy: Spy) -> None:
        self.transaction = transaction
        self.spy = spy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transaction, name)

    async def upsert(self, table: Any, rows: Any) -> None:
        if self.spy.refuse(rows):
            raise ValueError("this cannot be kept")
        await self.transaction.upsert(table, rows)


def events(count: int, seed: int = 1, keys: int = 40) -> list[Event]:
    chance = random.Random(seed)
    return [
        Foreign() if chance.random() < 0.2 else Counted(f"k-{chance.randrange(keys)}", chance.randrange(1000) + 100)
        for _ in range(count)
    ]


@both
def test_what_is_appended_is_projected_and_can_be_waited_for(kind: str) -> None:
    async def main() -> None:
        facts: list[Fact] = []
        async with open_store(kind) as store:
            await append(store, events(50))
            async with runtime(store, TOTAL, TWIN, observer=facts.append) as running:
                for seed in range(20):
                    position = await append(store, events(random.Random(seed).randrange(1, 200), seed))
                    await running.wait(["total"], position, 5)
                    await running.wait(None, position, 5)
                    assert {one.state for one in running.status()} == {"live"}
            await rows(store, TOTAL)
            await rows(store, TWIN)
        assert sum(fact.events for fact in facts if isinstance(fact, ProjectionAdvanced)) > 100

    run(main)


@both
def test_far_behind_it_catches_up_in_big_batches_and_then_goes_live(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            position = await append(store, events(3000, keys=700))
            async with runtime(store, TOTAL) as running:
                await running.wait(["total"], position, 10)
            spy = Spy(store)
            async with runtime(store, TOTAL, TWIN, views=spy, catch_up=1000) as running:
                async with asyncio.TaskGroup() as tasks:
                    waiting = tasks.create_task(running.wait(None, position + 200, 10))
                    for _ in range(10):
                        position = await append(store, events(20))
                    await waiting
                await running.wait(None, position, 10)
                assert [one.state for one in running.status()] == ["live", "live"]
                assert {one.lag for one in running.status()} == {0}
            await rows(store, TOTAL, position)
            await rows(store, TWIN, position)
            assert spy.transactions < 25

    run(main)


@both
def test_two_processes_apply_each_event_once(kind: str) -> None:
    async def main() -> None:
        async with (
            open_store(kind) as store,
            runtime(store, TOTAL, TWIN) as one,
            runtime(store, TOTAL, TWIN) as two,
        ):
            for seed in range(60):
                position = await append(store, events(seed % 7 + 1, seed))
                await asyncio.gather(one.wait(None, position, 5), two.wait(["twin"], position, 5))
            await rows(store, TOTAL)
            await rows(store, TWIN)

    run(main)


def test_two_connections_to_one_file_share_the_work() -> None:
    async def main() -> None:
        async with open_two() as (here, there):
            await append(here, events(900))
            idle = runtime(here, TOTAL, TWIN)
            async with runtime(there, TOTAL, TWIN, catch_up=100) as one:
                position = await append(here, events(50))
                await idle.wait(None, position, 10)
                await rows(here, TOTAL, position)
                async with runtime(here, TOTAL, TWIN) as two:
                    for seed in range(40):
                        position = await append((here, there)[seed % 2], events(seed % 7 + 1, seed))
                        await asyncio.gather(one.wait(None, position, 10), two.wait(None, position, 10))
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(two.rebuild("total"))
                        for seed in range(10):
                            position = await append(there, events(5, seed))
                            await one.wait(["twin"], position, 10)
                    await asyncio.gather(one.wait(None, position, 10), two.wait(None, position, 10))
            await rows(there, TOTAL, position)
            await rows(there, TWIN, position)

    run(main)


@both
def test_a_progress_function_that_raises_hurts_nobody_else(kind: str) -> None:
    def broken(progress: Progress) -> None:
        raise LookupError("a bar that broke")

    async def main() -> None:
        async with open_store(kind) as store, runtime(store, TOTAL) as running:
            position = await append(store, events(100))
            with pytest.raises(LookupError):
                await running.rebuild("total", broken)
            await running.wait(None, position, 5)
            await rows(store, TOTAL, position)

    run(main)


@both
def test_a_handler_that_raises_stops_its_projection_alone_right_before_the_event(kind: str) -> None:
    async def main() -> None:
        facts: list[Fact] = []
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(0)

        Fussy.refuses = lambda event: event.amount == 13
        async with (
            open_store(kind) as store,
            runtime(
                store,
                TOTAL,
                FUSSY,
                observer=facts.append,
                sleep=sleep,
                retry=Retry(attempts=4, first=1, cap=3),
            ) as running,
        ):
            bad = await append(store, [Counted("k-1", 1), Counted("k-2", 2), Counted("k-1", 13)])
            last = await append(store, [Counted("k-1", 4)])
            await running.wait(["total"], last, 5)
            with pytest.raises(ProjectionHalted, match=f"position {bad}.*no 13, please") as halted:
                await running.wait(["fussy"], last, 5)
            assert halted.value.position == bad
            await running.wait(["fussy"], bad - 1, 5)
            with pytest.raises(ProjectionHalted):
                await running.wait(["fussy"], last, 5)
            await append(store, [Counted("k-3", 1)])
            await running.wait(["total"], last + 1, 5)
            await rows(store, TOTAL)
            assert (await store.checkpoints())["fussy"].position == bad - 1
            assert sorted(await store.load(FUSSY.table, ["k-1", "k-2"])) == [("k-1", 1), ("k-2", 2)]
            state = {one.name: one for one in running.status()}["fussy"]
            assert (state.state, state.position) == ("halted", bad - 1)
            assert "no 13, please" in (state.error or "")
        failed = [fact for fact in facts if isinstance(fact, ProjectionFailed)]
        assert [(fact.attempt, fact.halted) for fact in failed] == [
            (1, False),
            (2, False),
            (3, False),
            (4, True),
        ]
        assert len(pauses) == 3
        assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2
        assert 1.5 <= pauses[2] <= 3

    run(main)


@both
def test_a_failure_that_passes_is_got_over(kind: str) -> None:
    async def main() -> None:
        Fussy.refuses = lambda event: event.amount == 13 and len(Fussy.tried) < 2
        async with open_store(kind) as store, runtime(store, FUSSY, TOTAL) as running:
            position = await append(store, [Counted("k-1", 1), Counted("k-1", 13), Counted("k-1", 5)])
            await running.wait(["fussy"], position, 5)
            assert await store.load(FUSSY.table, ["k-1"]) == [("k-1", 19)]
            assert Fussy.tried == [13, 13]
            position = await append(store, [Counted("k-1", 1)])
            await running.wait(None, position, 5)
            assert [(one.state, one.error) for one in running.status()] == [("live", None)] * 2

    run(main)


@both
def test_a_row_the_store_refuses_is_found_among_many(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            spy = Spy(store)
            spy.refuse = lambda found: any(row[0] == "k-777" for row in found)
            await append(store, [Counted(f"k-{at}", at + 1000) for at in range(1500)])
            async with runtime(store, TOTAL, TWIN, views=spy) as running:
                with pytest.raises(ProjectionHalted, match=r"position 778.*cannot be kept"):
                    await running.wait(["total"], 1500, 5)
            assert (await store.checkpoints())["total"].position == 777
            await rows(store, TOTAL)

    run(main)


@both
def test_a_store_that_is_busy_is_waited_for(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            spy = Spy(store)
            async with runtime(store, TOTAL, views=spy, retry=Retry(attempts=2, first=0.001)) as running:
                spy.busy = 7
                position = await append(store, events(10))
                await running.wait(["total"], position, 5)
                assert spy.busy == 0
            await rows(store, TOTAL, position)

    run(main)


@both
def test_events_of_other_types_cost_few_commits_and_still_move_the_checkpoint(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            spy = Spy(store)
            async with runtime(store, TOTAL, views=spy) as running:
                await running.wait(None, 0, 1)
                spy.transactions = 0
                for _ in range(100):
                    position = await append(store, [Foreign()])
                    await running.wait(["total"], position, 1)
                assert spy.transactions < 60
                # Another process sees it, too, and soon.
                found = await store.wait_checkpoint("total", position, 2)
                assert found is not None
                assert found.position >= position

    run(main)


@both
def test_waiting_is_bounded_and_names_are_checked(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            position = await append(store, events(10))
            idle = runtime(store, TOTAL)
            with pytest.raises(ViewBehind, match="'total' is at position 0 and did not reach"):
                await idle.wait(None, position, 0.01)
            async with runtime(store, TOTAL) as running:
                await idle.wait(["total"], position, 5)
                await running.wait(["total"], position, 0)
                with pytest.raises(ViewBehind, match=f"did not reach {position + 1} within 0.01 s"):
                    await running.wait(["total"], position + 1, 0.01)
                with pytest.raises(UnknownName):
                    await running.wait(["nobody"], position, 0)
                with pytest.raises(UnknownName):
                    await running.rebuild("nobody")

    run(main)


@both
def test_rebuilding_at_work_tells_its_progress(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store, runtime(store, TOTAL, TWIN, catch_up=100) as running:
            position = await append(store, events(1000))
            await running.wait(None, position, 5)
            told: list[Progress] = []
            async with asyncio.TaskGroup() as tasks:
                building = tasks.create_task(running.rebuild("total", told.append))
                for seed in range(5):
                    last = await append(store, events(10, seed))
                    await running.wait(["twin"], last, 5)
                await building
            assert [one.position for one in told] == sorted(one.position for one in told)
            assert len(told) >= 5
            assert told[-1].done or any(one.done for one in told)
            await running.wait(None, last, 5)
            assert {one.state for one in running.status()} == {"live"}
            await rows(store, TOTAL, last)
            await rows(store, TWIN, last)
            assert (await store.checkpoints())["total"].generation > (await store.checkpoints())["twin"].generation

    run(main)


@both
def test_a_rebuild_can_be_interrupted_anywhere_and_gone_on_with(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            position = await append(store, events(1500, keys=300))
            async with runtime(store, TOTAL, TWIN) as running:
                await running.wait(None, position, 5)
            for stop in range(1, 16, 3):
                turns = 0

                def count(progress: Progress) -> None:
                    nonlocal turns
                    turns += 1
                    if turns == stop:  # noqa: B023
                        task.cancel()  # noqa: B023

                task = asyncio.create_task(rebuild(store, store, CODEC, [TOTAL, TWIN], progress=count, batch=150))
                with pytest.raises(asyncio.CancelledError):
                    await task
                await rows(store, TOTAL)
                await rows(store, TWIN)
            assert (await read_status(store, store, [TOTAL]))[0].lag > 0
            async with runtime(store, TOTAL, TWIN, catch_up=100) as running:
                await running.wait(None, position, 5)
            await rows(store, TOTAL, position)
            await rows(store, TWIN, position)

    run(main)


@both
def test_rebuilding_beside_a_process_that_serves_is_safe(kind: str) -> None:
    async def main() -> None:
        async with (
            open_store(kind) as store,
            runtime(
                store,
                TOTAL,
                TWIN,
                catch_up=50,
                batch=20,
                poll=0.01,
                sleep=lambda seconds: asyncio.sleep(0.001),
            ) as running,
        ):
            position = await append(store, events(2000))
            for _ in range(3):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(rebuild(store, store, CODEC, [TOTAL], batch=70))
                    for seed in range(20):
                        position = await append(store, events(5, seed))
                        await running.wait(["twin"], position, 5)
                await running.wait(None, position, 10)
            await rows(store, TOTAL, position)
            await rows(store, TWIN, position)

    run(main)


@both
def test_a_rebuild_that_fails_says_where_and_builds_the_others(kind: str) -> None:
    async def main() -> None:
        Fussy.refuses = lambda event: event.amount == 13
        async with open_store(kind) as store:
            bad = await append(store, [*[Counted("k-1", at + 100) for at in range(300)], Counted("k-1", 13)])
            last = await append(store, [Counted("k-2", 1)])
            with pytest.raises(ProjectionHalted, match="no 13, please") as halted:
                await rebuild(store, store, CODEC, [FUSSY, TOTAL], batch=100, retry=QUICK)
            assert halted.value.position == bad
            assert (await store.checkpoints())["fussy"].position == bad - 1
            await rows(store, TOTAL, last)

    run(main)


@both
def test_another_version_of_the_code_takes_over(kind: str) -> None:
    class Newer(View, key="key", name="total", version=2):
        key: str
        total: int = 0

        @projects
        def counted(self, event: Counted) -> None:
            self.total += event.amount

    async def main() -> None:
        async with open_store(kind) as store, runtime(store, TOTAL, poll=0.01) as old:
            position = await append(store, [Counted("k-1", 5)])
            await old.wait(None, position, 5)
            async with runtime(store, projection_type(Newer)) as new:
                last = await append(store, [Counted("k-1", 6)])
                await new.wait(None, last, 5)
                with pytest.raises(ProjectionHalted, match="another version of the code"):
                    await old.wait(None, last, 5)
                assert await store.load(view_type(Newer).table, ["k-1"]) == [("k-1", 11)]
            status = await read_status(store, store, [TOTAL])
            assert "another version" in (status[0].error or "")

    run(main)


@both
def test_stopping_leaves_nothing_behind_and_tells_those_who_wait(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store:
            before = asyncio.all_tasks()
            position = await append(store, events(2000))
            async with runtime(store, TOTAL, catch_up=100) as running:
                await running.wait(None, 1, 5)
                waiting = asyncio.create_task(running.wait(None, position + 10**6, 60))
                await asyncio.sleep(0)
            with pytest.raises(ProjectionHalted, match="is stopping"):
                await waiting
            assert asyncio.all_tasks() == before
            assert [one.state for one in running.status()] == ["stopped"]
            await rows(store, TOTAL)
            async with runtime(store, TOTAL) as running:
                await running.wait(None, position, 5)
            await rows(store, TOTAL, position)

    run(main)


@both
def test_a_store_closed_underneath_ends_it_quietly(kind: str) -> None:
    async def main() -> None:
        async with open_store(kind) as store, runtime(store, TOTAL) as running:
            await running.wait(None, 0, 1)
            waiting = asyncio.create_task(running.wait(None, 5, 30))
            await asyncio.sleep(0)
            await store.close()
            with pytest.raises(ProjectionHalted):
                await waiting

    run(main)


@asynccontextmanager
async def ledger(*others: ProjectionType) -> AsyncIterator[tuple[Store, ProjectionRuntime]]:
    async with open_store("sqlite") as store, runtime(store, projection_type(Ledger), *others) as running:
        yield store, running


def test_a_projection_in_sql_commits_with_its_checkpoint() -> None:
    async def main() -> None:
        async with ledger(TOTAL) as (store, running):
            position = await append(store, events(300))
            await running.wait(None, position, 5)
            await running.rebuild("ledger")
            _, found = await store.sql("SELECT key, count(*), sum(amount) FROM ledger GROUP BY key ORDER BY key")
            totals = await store.load(TOTAL.table, [row[0] for row in found])
            assert sorted(totals) == found

    run(main)


def test_a_projection_in_sql_that_fails_keeps_nothing_of_the_event_and_stops_alone() -> None:
    async def main() -> None:
        async with ledger(TOTAL) as (store, running):
            bad = await append(store, [Counted("k-1", 5), Counted("k-1", 13)])
            last = await append(store, [Counted("k-1", 6)])
            await running.wait(["total"], last, 5)
            with pytest.raises(ProjectionHalted, match=f"position {bad}"):
                await running.wait(["ledger"], last, 5)
            assert (await store.sql("SELECT amount FROM ledger"))[1] == [(5,)]
            assert (await store.checkpoints())["ledger"].position == bad - 1

    run(main)


def test_status_is_known_where_nothing_runs() -> None:
    async def main() -> None:
        async with open_store("memory") as store:
            await append(store, events(5))
            assert await read_status(store, store, [TOTAL]) == [
                ProjectionStatus("total", "view", 0, 5, 5, "stopped", "it was never built", 0.0)
            ]

    run(main)
