"""A command id makes a command safe to send again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from foldline import Command, Conflict, Context, Rejected, ValidationFailed, handles
from foldline.errors import CommandIdReused
from tests.unit.bank import Deposit, Settle, Withdraw, bank, run
from tests.unit.stores import STORES, open_store

stores = pytest.mark.parametrize("kind", STORES)


class Open(Command):
    id: str
    amount: int = 1


calls: list[str] = []


@handles
async def open_account(command: Open, ctx: Context) -> None:
    calls.append(ctx.command_id)
    await asyncio.sleep(0)
    account: Any = await ctx.load(_account(), command.id)
    if account.balance:
        raise Rejected("open-already")
    await ctx.decide(Deposit(command.id, command.amount))


def _account() -> Any:
    from tests.unit.bank import Account

    return Account


@handles
async def do_nothing(command: Withdraw | Settle, ctx: Context) -> None: ...


@stores
@run
async def test_the_same_again_adds_nothing_and_has_the_first_receipt(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it, bank(store) as other:
        first = await it.bus.execute(Deposit("a", 5), command_id="c-1")
        await it.bus.execute(Withdraw("a", 5))
        for one in (it, other, it):
            again = await one.bus.execute(Deposit("a", 5), command_id="c-1")
            assert again.replayed and not first.replayed
            assert (again.stream, again.version, again.position) == (first.stream, first.version, first.position)
            assert (again.command_id, again.event_ids) == (first.command_id, first.event_ids)
        assert await it.balance("a") == 0
        await it.bus.execute(Deposit("a", 1))
        assert await it.balance("a") == 1


@stores
@run
async def test_a_replay_is_told_though_the_rules_would_refuse_it_now(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 5))
        await it.bus.execute(Withdraw("a", 5), command_id="c-1")
        assert (await it.bus.execute(Withdraw("a", 5), command_id="c-1")).replayed
        assert await it.balance("a") == 0


@stores
@run
async def test_a_replay_is_told_though_the_expected_version_is_gone(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 5), command_id="c-1", expected_version=0)
        await it.bus.execute(Deposit("a", 5))
        assert (await it.bus.execute(Deposit("a", 5), command_id="c-1", expected_version=0)).version == 1
        with pytest.raises(Conflict):
            await it.bus.execute(Deposit("a", 5), command_id="c-2", expected_version=0)


@stores
@run
async def test_another_body_under_the_same_id_is_an_error(kind: str) -> None:
    async with open_store(kind) as store, bank(store, open_account) as it:
        await it.bus.execute(Deposit("a", 5), command_id="c-1")
        for other in (Deposit("a", 6), Deposit("b", 5), Withdraw("a", 5), Withdraw("empty", 1), Settle("a"), Open("z")):
            with pytest.raises(CommandIdReused, match="'c-1' was used before for another command"):
                await it.bus.execute(other, command_id="c-1")
        assert await it.balance("a") == 5


@stores
@run
async def test_a_refused_command_does_not_use_up_its_id(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        with pytest.raises(Rejected):
            await it.bus.execute(Withdraw("a", 5), command_id="c-1")
        await it.bus.execute(Deposit("a", 5))
        assert not (await it.bus.execute(Withdraw("a", 5), command_id="c-1")).replayed


@stores
@run
async def test_nothing_to_do_uses_up_the_id_too(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it:
        first = await it.bus.execute(Settle("a"), command_id="c-1")
        assert (first.stream, first.version, first.event_ids, first.replayed) == ("account-a", 0, (), False)
        await it.bus.execute(Deposit("a", 5))
        again = await it.bus.execute(Settle("a"), command_id="c-1")
        assert again.replayed and again.event_ids == () and await it.balance("a") == 5
        with pytest.raises(CommandIdReused):
            await it.bus.execute(Settle("b"), command_id="c-1")


@stores
@run
async def test_many_at_once_under_one_id_are_one(kind: str) -> None:
    async with open_store(kind) as store, bank(store) as it, bank(store) as other:
        receipts = await asyncio.gather(
            *((it if n % 2 else other).bus.execute(Deposit("a", 5), command_id="c-1") for n in range(20))
        )
        assert sum(not one.replayed for one in receipts) == 1
        assert len({one.event_ids for one in receipts}) == 1 and await it.balance("a") == 5


@stores
@run
async def test_a_handler_s_command_sent_many_times_at_once_is_one(kind: str) -> None:
    async with open_store(kind) as store, bank(store, open_account) as it, bank(store, open_account) as other:
        receipts = await asyncio.gather(
            *((it if n % 2 else other).bus.execute(Open("a"), command_id="c-1") for n in range(12))
        )
        assert sum(not one.replayed for one in receipts) == 1
        assert len({one.event_ids for one in receipts}) == 1 and await it.balance("a") == 1
        calls.clear()
        assert (await it.bus.execute(Open("a"), command_id="c-1")).replayed and calls == []
        with pytest.raises(Rejected, match="open-already"):
            await it.bus.execute(Open("a"), command_id="c-2")
        with pytest.raises(CommandIdReused):
            await it.bus.execute(Open("a", 2), command_id="c-1")


@pytest.mark.parametrize("command_id", ["", "x" * 513, "a\0", "\ud800"])
@run
async def test_an_id_that_cannot_be_kept_is_refused(command_id: str) -> None:
    async with open_store("memory") as store, bank(store) as it:
        with pytest.raises(ValidationFailed, match="command id"):
            await it.bus.execute(Deposit("a", 5), command_id=command_id)


@run
async def test_a_body_that_differs_only_as_written_is_the_same() -> None:
    async with open_store("memory") as store, bank(store) as it:
        await it.bus.execute(Deposit("a", 5, ("x",)), command_id="c-1")
        again = await it.bus.execute(Deposit("a", 5, ["x"]), command_id="c-1")  # type: ignore[arg-type]
        assert again.replayed
