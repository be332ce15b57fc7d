"""Application-level handlers: several aggregates in one append, services, retries, and what they must not do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from foldline import Command, Conflict, Context, Event, Query, Rejected, ValidationFailed, handles
from foldline.command.bus import MAX_ATTEMPTS
from foldline.command.handler import handler_type
from foldline.errors import DefinitionError, StoreFull, UnknownName
from foldline.store.spi import Append, Store
from tests.unit.bank import Account, Deposit, Deposited, Settle, Withdraw, Wrapped, bank, elsewhere, run
from tests.unit.stores import STORES, open_store

stores = pytest.mark.parametrize("kind", STORES)


class Transfer(Command):
    source: str
    target: str
    amount: int = 1


class Work(Command):
    """What a test wants done."""

    id: str = "a"


class Rates:
    """A service."""

    def __init__(self) -> None:
        self.asked = 0

    async def rate(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        return 2


@handles
async def transfer(command: Transfer, ctx: Context) -> None:
    await ctx.decide(Deposit(command.target, command.amount))
    await ctx.decide(Withdraw(command.source, command.amount))


def work(function: Callable[[Context], Any]) -> Callable[..., Any]:
    """A handler of `Work` that does what a function says."""

    @handles
    async def handler(command: Work, ctx: Context) -> None:
        await function(ctx)

    return handler


@stores
@run
async def test_several_aggregates_are_one_append(kind: str) -> None:
    async with open_store(kind) as inner:
        store = Wrapped(inner)
        async with bank(cast(Store, store), transfer) as it:
            await it.bus.execute(Deposit("a", 5))
            store.appends.clear()
            receipt = await it.bus.execute(Transfer("a", "b", 3), actor="ann")
            assert len(store.appends) == 1 and len(store.appends[0].streams) == 2
            assert (receipt.stream, receipt.version, len(receipt.event_ids)) == ("account-b", 1, 2)
            assert (await it.balance("a"), await it.balance("b")) == (2, 3)
            last = (await it.events("b"))[-1]
            assert (last.correlation_id, last.actor) == (receipt.command_id, "ann")
            with pytest.raises(Rejected):
                await it.bus.execute(Transfer("a", "b", 3))
            assert (await it.balance("a"), await it.balance("b")) == (2, 3)
            # What it decided went into the memory of aggregates.
            store.reads.clear()
            await it.bus.execute(Transfer("b", "a", 3))
            assert store.reads == []


@stores
@run
async def test_transfers_across_each_other_neither_deadlock_nor_lose(kind: str) -> None:
    async with open_store(kind) as store, bank(store, transfer) as it, bank(store, transfer) as other:
        names = "abcd"
        for name in names:
            await it.bus.execute(Deposit(name, 100))
        pairs = [(x, y) for x in names for y in names if x != y] * 2
        await asyncio.gather(
            *((it if n % 3 else other).bus.execute(Transfer(x, y, 1)) for n, (x, y) in enumerate(pairs))
        )
        assert [await it.balance(name) for name in names] == [100] * 4
        assert not it.bus._gates._queues and not other.bus._gates._queues


@run
async def test_a_handler_sees_its_own_decisions() -> None:
    seen: list[Any] = []

    async def steps(ctx: Context) -> None:
        seen.append(await ctx.decide(Deposit("a", 5)))
        account = await ctx.load(Account, "a")
        seen.append(account.balance)
        account.balance = 1_000_000
        with pytest.raises(Rejected):
            await ctx.decide(Withdraw("a", 6))
        await ctx.decide(Withdraw("a", 5))
        seen.append((await ctx.load(Account, "a")).balance)
        seen.append(await ctx.ask(Asked()))
        seen.append((ctx.command_id, ctx.correlation_id, ctx.actor))

    async with open_store("memory") as store, bank(store, work(steps)) as it:
        await it.bus.execute(Work(), command_id="c-1", correlation_id="k", actor="ann")
        assert seen == [[Deposited("a", 5)], 5, 0, "answer to Asked()", ("c-1", "k", "ann")]
        assert [event.type for event in await it.events("a")] == ["Deposited", "Withdrawn"]


class Asked(Query[str]):
    pass


@run
async def test_services_are_given_by_type() -> None:
    @handles
    async def rated(command: Work, ctx: Context, rates: Rates) -> None:
        await ctx.decide(Deposit(command.id, await rates.rate()))

    rates = Rates()
    async with open_store("memory") as store, bank(store, rated, services=[rates]) as it:
        await it.bus.execute(Work("a"))
        assert await it.balance("a") == 2 and rates.asked == 1
    async with open_store("memory") as store, bank(store, rated) as it:
        with pytest.raises(DefinitionError, match="rated asks for a Rates"):
            await it.bus.execute(Work("a"))


@stores
@run
async def test_a_conflict_runs_the_handler_again(kind: str) -> None:
    async with open_store(kind) as inner:
        store = Wrapped(inner)
        async with bank(cast(Store, store), transfer) as it:
            await it.bus.execute(Deposit("a", 5))

            async def somebody_else(append: Append) -> None:
                store.before_append = None
                await elsewhere(inner, Deposited("a", 1))

            store.before_append = somebody_else
            receipt = await it.bus.execute(Transfer("a", "b", 5))
            assert receipt.version == 1 and (await it.balance("a"), await it.balance("b")) == (1, 5)
            assert len([one for one in store.appends if len(one.streams) == 2]) == 2


@run
async def test_a_rejection_by_a_state_that_was_behind_is_none() -> None:
    async with open_store("memory") as store, bank(store, transfer) as it:
        await it.bus.execute(Deposit("a", 1))
        await elsewhere(store, Deposited("a", 9))
        await it.bus.execute(Transfer("a", "b", 10))
        assert (await it.balance("a"), await it.balance("b")) == (0, 10)


@run
async def test_what_was_only_looked_at_is_checked_too() -> None:
    async with open_store("memory") as inner:
        store = Wrapped(inner)
        loads: list[int] = []

        async def look(ctx: Context) -> None:
            loads.append((await ctx.load(Account, "a")).balance)
            await ctx.decide(Deposit("b", loads[-1] + 1))

        async with bank(cast(Store, store), work(look)) as it:

            async def somebody_else(append: Append) -> None:
                store.before_append = None
                await elsewhere(inner, Deposited("a", 7))

            store.before_append = somebody_else
            await it.bus.execute(Work())
            assert loads == [0, 7] and await it.balance("b") == 8


@run
async def test_lost_races_are_bounded() -> None:
    async with open_store("memory") as inner:
        store = Wrapped(inner)
        async with bank(cast(Store, store), transfer) as it:

            async def somebody_else(append: Append) -> None:
                await elsewhere(inner, Deposited("b", 1), id_="b")

            await it.bus.execute(Deposit("a", 5))
            store.appends.clear()
            store.before_append = somebody_else
            with pytest.raises(Conflict):
                await it.bus.execute(Transfer("a", "b", 1))
            assert len(store.appends) == MAX_ATTEMPTS and await it.balance("a") == 5


@stores
@run
async def test_an_expected_version_is_that_of_the_first_aggregate(kind: str) -> None:
    async with open_store(kind) as store, bank(store, transfer) as it:
        await it.bus.execute(Deposit("a", 5))
        await it.bus.execute(Transfer("a", "b", 1), expected_version=0)
        with pytest.raises(Conflict, match="'account-b' is at version 1, not at version 0"):
            await it.bus.execute(Transfer("a", "b", 1), expected_version=0)
        await it.bus.execute(Transfer("a", "b", 1), expected_version=1)
        assert await it.balance("a") == 3


@stores
@run
async def test_a_handler_may_decide_nothing(kind: str) -> None:
    async def nothing(ctx: Context) -> None:
        return None

    async with open_store(kind) as store, bank(store, work(nothing)) as it:
        await it.bus.execute(Deposit("a", 5))
        receipt = await it.bus.execute(Work())
        assert (receipt.stream, receipt.version, receipt.event_ids, receipt.position) == ("", 0, (), await store.head())
        assert not (await it.bus.execute(Work(), command_id="c")).replayed
        assert (await it.bus.execute(Work(), command_id="c")).replayed


@run
async def test_what_a_handler_raises_comes_through_and_nothing_is_kept() -> None:
    async def breaks(ctx: Context) -> None:
        await ctx.decide(Deposit("a", 5))
        raise ZeroDivisionError

    async with open_store("memory") as store, bank(store, work(breaks)) as it:
        with pytest.raises(ZeroDivisionError):
            await it.bus.execute(Work())
        assert await it.events("a") == [] and not it.bus._gates._queues
        known = it.loader.recall("account-a")
        assert known is None or known.state == Account()


@run
async def test_bad_and_unknown_commands_inside() -> None:
    failures: list[BaseException] = []

    async def bad(ctx: Context) -> None:
        for command in (Deposit("a", 0), Deposit("\ud800", 1), Transfer("a", "b"), Work()):
            try:
                await ctx.decide(command)
            except (ValidationFailed, UnknownName) as error:
                failures.append(error)
        try:
            await ctx.load(Rates, "a")
        except DefinitionError as error:
            failures.append(error)

    async with open_store("memory") as store, bank(store, work(bad)) as it:
        await it.bus.execute(Work())
        assert [type(error).__name__ for error in failures] == [
            "ValidationFailed", "ValidationFailed", "UnknownName", "UnknownName", "DefinitionError",
        ]  # fmt: skip
        assert "no command of an aggregate named 'Transfer'. Known are: Deposit, Settle" in str(failures[2])

    async def bad_id(ctx: Context) -> None:
        await ctx.decide(Deposit("x" * 1000, 1))

    async with open_store("memory") as store, bank(store, work(bad_id)) as it:
        with pytest.raises(ValidationFailed, match="1008 bytes long"):
            await it.bus.execute(Work())


# --- Handlers with tasks of their own -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
@run
async def test_decisions_of_several_tasks_are_all_kept(kind: str) -> None:
    async def at_once(ctx: Context) -> None:
        await asyncio.gather(*(ctx.decide(Deposit("a" if n % 2 else "b", 1)) for n in range(10)))

    async with open_store(kind) as store, bank(store, work(at_once), size=0) as it:
        receipts = await asyncio.gather(*(it.bus.execute(Work()) for _ in range(4)))
        assert (await it.balance("a"), await it.balance("b")) == (20, 20)
        assert all(len(receipt.event_ids) == 10 for receipt in receipts)
        assert not it.bus._gates._queues


@run
async def test_tasks_of_handlers_across_each_other_do_not_deadlock() -> None:
    def grouped(*names: str) -> Callable[[Context], Any]:
        async def tasks(ctx: Context) -> None:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(ctx.decide(Deposit(name, 1)))

        return tasks

    class Other(Command):
        id: str = "a"

    forth, back = grouped("a", "b", "c"), grouped("c", "b", "a")

    @handles
    async def handler(command: Work, ctx: Context) -> None:
        await (forth if command.id == "a" else back)(ctx)

    async with open_store("memory") as store, bank(store, handler, size=0) as it:
        async with asyncio.timeout(10):
            await asyncio.gather(*(it.bus.execute(Work("a" if n % 2 else "b")) for n in range(20)))
        assert [await it.balance(name) for name in "abc"] == [20, 20, 20]
        assert not it.bus._gates._queues


@run
async def test_a_handler_that_catches_everything_loses_nothing() -> None:
    busy, go_on = asyncio.Event(), asyncio.Event()

    async def holds(ctx: Context) -> None:
        await ctx.decide(Deposit("a", 1))
        busy.set()
        await go_on.wait()

    async def stubborn(ctx: Context) -> None:
        await ctx.decide(Deposit("b", 1))
        try:
            await ctx.decide(Deposit("a", 1))
        except BaseException:
            pass
        results = await asyncio.gather(ctx.decide(Deposit("a", 1)), return_exceptions=True)
        del results

    @handles
    async def handler(command: Work, ctx: Context) -> None:
        await (holds if command.id == "a" else stubborn)(ctx)

    async with open_store("memory") as store, bank(store, handler) as it:
        first = asyncio.create_task(it.bus.execute(Work("a")))
        await busy.wait()
        second = asyncio.create_task(it.bus.execute(Work("b")))
        await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(first, second)
        assert (await it.balance("a"), await it.balance("b")) == (3, 1)


@run
async def test_a_task_that_outlives_its_handler_can_do_no_harm() -> None:
    strays: list[asyncio.Task[list[Event]]] = []

    async def forgets(ctx: Context) -> None:
        async def later() -> list[Event]:
            await asyncio.sleep(0.01)
            return await ctx.decide(Deposit("b", 1))

        await ctx.decide(Deposit("a", 1))
        strays.append(asyncio.create_task(later()))

    async with open_store("memory") as store, bank(store, work(forgets)) as it:
        await it.bus.execute(Work())
        with pytest.raises(RuntimeError, match="The handler is over"):
            await strays[0]
        assert not it.bus._gates._queues and await it.balance("b") == 0
        await it.bus.execute(Deposit("b", 1))


@run
async def test_a_handler_that_waits_for_another_command_on_what_it_holds_is_told() -> None:
    async def knots(ctx: Context) -> None:
        await ctx.decide(Deposit("a", 1))
        await banks[0].bus.execute(Deposit("a", 1))

    banks: list[Any] = []
    async with open_store("memory") as store, bank(store, work(knots)) as it:
        banks.append(it)
        it.bus._gates._patience = 0.05
        from foldline.errors import StoreBusy

        with pytest.raises(StoreBusy, match="does it execute another command on the same aggregate"):
            await it.bus.execute(Work())
        assert not it.bus._gates._queues
        await it.bus.execute(Settle("a"))


@run
async def test_a_cancelled_handler_frees_what_it_held() -> None:
    entered = asyncio.Event()

    async def waits(ctx: Context) -> None:
        await ctx.decide(Deposit("a", 1))
        entered.set()
        await asyncio.Event().wait()

    async with open_store("memory") as store, bank(store, work(waits)) as it:
        task = asyncio.create_task(it.bus.execute(Work()))
        await entered.wait()
        waiting = asyncio.create_task(it.bus.execute(Deposit("a", 5)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await waiting
        assert task.cancelled() and await it.balance("a") == 5 and not it.bus._gates._queues


@run
async def test_a_store_s_trouble_frees_what_was_held() -> None:
    async with open_store("memory") as inner:
        store = Wrapped(inner)

        async def full(append: Append) -> None:
            raise StoreFull

        async with bank(cast(Store, store), transfer) as it:
            await it.bus.execute(Deposit("a", 5))
            store.before_append = full
            with pytest.raises(StoreFull):
                await it.bus.execute(Transfer("a", "b"))
            store.before_append = None
            await it.bus.execute(Transfer("a", "b"))
            assert (await it.balance("a"), await it.balance("b")) == (4, 1)


# --- Definitions that cannot be -----------------------------------------------------------------------------------


def test_what_is_no_handler_is_told() -> None:
    def plain(command: Work, ctx: Context) -> None: ...
    async def no_context(command: Work) -> None: ...
    async def other_context(command: Work, ctx: int) -> None: ...
    async def no_command(event: Deposited, ctx: Context) -> None: ...
    async def nothing() -> None: ...
    async def no_service(command: Work, ctx: Context, rates) -> None: ...  # type: ignore[no-untyped-def]
    async def union_service(command: Work, ctx: Context, rates: Rates | None) -> None: ...

    for function, said in (
        (plain, r"plain \(.*test_handler\.py:\d+\) is no async function"),
        (no_context, "takes no context: its second parameter is ctx: Context"),
        (other_context, "the second parameter, 'ctx', is to be annotated Context"),
        (no_command, "annotate it with the Command type"),
        (nothing, "takes no message"),
        (no_service, "parameter 'rates' needs the class of a service"),
        (union_service, "parameter 'rates' needs the class of a service"),
    ):
        with pytest.raises(DefinitionError, match=said):
            handler_type(function)
    compiled = handler_type(transfer)
    assert compiled.commands == (Transfer,) and compiled.services == {} and compiled.name == "transfer"
