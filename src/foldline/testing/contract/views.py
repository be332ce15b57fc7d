"""Read models: rows and checkpoint commit together or not at all, and each effect once (G6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest

from foldline.errors import CodecError, DefinitionError
from foldline.store.spi import (
    Checkpoint,
    Column,
    Kind,
    ProjectionSpec,
    Row,
    Select,
    Store,
    Table,
    Transaction,
)
from foldline.testing.contract.harness import StoreCase, event, kept, on_store, to, whole_log

ACCOUNTS = Table("account", (Column("id", Kind.TEXT), Column("amount", Kind.INTEGER)), "id")
SPEC = ProjectionSpec("account", "one", (ACCOUNTS,))

Do = Callable[[Transaction], Awaitable[Any]]


class TransactionContract(StoreCase):
    """A read model's transaction."""

    @on_store
    async def test_rows_and_checkpoint_are_committed_together(self, store: Store) -> None:
        """And the work's result is handed back."""
        checkpoint = await store.prepare(SPEC)

        async def work(transaction: Transaction) -> str:
            await transaction.upsert(ACCOUNTS, [("a", 1), ("b", 2)])
            assert await transaction.advance(checkpoint, 7)
            return "done"

        assert await store.transact(work) == "done"
        assert await account_rows(store) == [("a", 1), ("b", 2)]
        assert await store.checkpoints() == {"account": checkpoint._replace(position=7)}
        assert await store.prepare(SPEC) == checkpoint._replace(position=7)

    @pytest.mark.parametrize("error", (ValueError, CodecError, OSError, TimeoutError, asyncio.CancelledError))
    @on_store
    async def test_work_that_raises_leaves_nothing(self, store: Store, error: type[BaseException]) -> None:
        """No row, no removal, no checkpoint; the caller gets its own error and the store goes on."""
        checkpoint = await filled(store, ("a", 1), ("b", 2))

        async def work(transaction: Transaction) -> None:
            await transaction.upsert(ACCOUNTS, [("a", 100), ("c", 3), ("c", 4)])
            await transaction.delete(ACCOUNTS, ["b", "c"])
            await transaction.upsert(ACCOUNTS, [("c", 5)])
            assert await transaction.advance(checkpoint, 99)
            raise error

        with pytest.raises(error):
            await store.transact(work)
        assert await account_rows(store) == [("a", 1), ("b", 2)]
        assert (await store.checkpoints())["account"] == checkpoint
        await do(store, lambda transaction: transaction.upsert(ACCOUNTS, [("d", 4)]))
        assert await account_rows(store) == [("a", 1), ("b", 2), ("d", 4)]

    @on_store
    async def test_a_transaction_sees_its_own_changes(self, store: Store) -> None:
        """And the rows that were committed before."""
        await filled(store, ("a", 1), ("b", 2))

        async def work(transaction: Transaction) -> None:
            assert sorted(await transaction.load(ACCOUNTS, ["a", "b", "z"])) == [("a", 1), ("b", 2)]
            await transaction.upsert(ACCOUNTS, [("a", 10), ("c", 3)])
            await transaction.delete(ACCOUNTS, ["b", "z"])
            assert sorted(await transaction.load(ACCOUNTS, ["a", "b", "c"])) == [("a", 10), ("c", 3)]
            await transaction.upsert(ACCOUNTS, [("b", 20)])
            assert await transaction.load(ACCOUNTS, ["b"]) == [("b", 20)]

        await store.transact(work)
        assert await account_rows(store) == [("a", 10), ("b", 20), ("c", 3)]

    @on_store
    async def test_keys_are_loaded_once_and_missing_ones_left_out(self, store: Store) -> None:
        """Also none at all, and many."""
        await filled(store, *((f"k{number}", number) for number in range(3000)))
        assert await store.load(ACCOUNTS, ["k1", "k1", "nobody", "k1"]) == [("k1", 1)]
        assert await store.load(ACCOUNTS, []) == []
        assert await store.load(ACCOUNTS, {"nobody"}) == []
        assert len(await store.load(ACCOUNTS, [f"k{number}" for number in range(4000)])) == 3000
        await do(store, lambda transaction: transaction.delete(ACCOUNTS, []))
        await do(store, lambda transaction: transaction.upsert(ACCOUNTS, []))
        await do(store, lambda transaction: transaction.delete(ACCOUNTS, [f"k{number}" for number in range(1, 4000)]))
        assert await account_rows(store) == [("k0", 0)]

    @on_store
    async def test_of_rows_of_one_key_the_last_is_kept(self, store: Store) -> None:
        """A key is one row."""
        await filled(store, ("a", 1), ("a", 2), ("b", 1), ("a", 3))
        assert await account_rows(store) == [("a", 3), ("b", 1)]

    @on_store
    async def test_a_checkpoint_moves_only_from_where_it_is(self, store: Store) -> None:
        """A straggler is told so, and changes nothing."""
        first = await store.prepare(SPEC)
        assert await advance(store, first, 5) is True
        at_five = first._replace(position=5)
        for stale in (
            first,
            at_five._replace(position=4),
            at_five._replace(generation=first.generation + 1),
            at_five._replace(fingerprint="other"),
            at_five._replace(projection="nobody"),
        ):
            assert await advance(store, stale, 9) is False
        assert await store.checkpoints() == {"account": at_five}
        assert await advance(store, at_five, 6) is True

    @on_store
    async def test_of_many_who_move_a_checkpoint_one_does(self, store: Store) -> None:
        """So that each event's effect is there once, though two workers had it."""
        checkpoint = await filled(store, ("a", 0))

        async def work(transaction: Transaction) -> bool:
            [(_, amount)] = await transaction.load(ACCOUNTS, ["a"])
            if not await transaction.advance(checkpoint, checkpoint.position + 1):
                return False
            await transaction.upsert(ACCOUNTS, [("a", amount + 1)])
            return True

        moved = await asyncio.gather(*(store.transact(work) for _ in range(32)))
        assert moved.count(True) == 1
        assert await account_rows(store) == [("a", 1)]

    @on_store
    async def test_transactions_do_not_mix(self, store: Store) -> None:
        """Many that read and write the same row one after the other, beside appends."""
        await filled(store, ("a", 0))

        async def work(transaction: Transaction) -> None:
            [(_, amount)] = await transaction.load(ACCOUNTS, ["a"])
            await transaction.upsert(ACCOUNTS, [("a", amount + 1)])

        await asyncio.gather(
            *(store.transact(work) for _ in range(64)), *(kept(store, to("a-1", event())) for _ in range(64))
        )
        assert await account_rows(store) == [("a", 64)]
        assert len(await whole_log(store)) == 64

    @on_store
    async def test_work_may_await_only_the_transaction(self, store: Store) -> None:
        """Whatever would really wait is refused, for all others would wait with it; nothing is kept."""
        checkpoint = await filled(store, ("a", 1))

        async def refuse(wait: Callable[[], Awaitable[object]]) -> None:
            async def work(transaction: Transaction) -> None:
                await transaction.upsert(ACCOUNTS, [("a", 2)])
                await transaction.advance(checkpoint, 50)
                await wait()

            with pytest.raises(DefinitionError):
                await store.transact(work)

        loop = asyncio.get_running_loop()
        await refuse(lambda: asyncio.sleep(0))
        await refuse(loop.create_future)
        assert await account_rows(store) == [("a", 1)]
        assert (await store.checkpoints())["account"] == checkpoint

    @on_store
    async def test_a_transaction_ends_with_its_work(self, store: Store) -> None:
        """Who has kept it can do nothing with it any more."""
        await store.prepare(SPEC)
        leaked: list[Transaction] = []

        async def work(transaction: Transaction) -> None:
            leaked.append(transaction)

        await store.transact(work)
        with pytest.raises(DefinitionError):
            await leaked[0].upsert(ACCOUNTS, [("a", 1)])
        with pytest.raises(DefinitionError):
            await leaked[0].load(ACCOUNTS, ["a"])
        assert await account_rows(store) == []

    @on_store
    async def test_several_projections_commit_together(self, store: Store) -> None:
        """As one follower that feeds many does it."""
        other = Table("sums", (Column("day", Kind.DATE), Column("sum", Kind.DECIMAL, nullable=True)), "day")
        one, two = await store.prepare(SPEC), await store.prepare(ProjectionSpec("sums", "x", (other,)))

        async def work(transaction: Transaction) -> None:
            await transaction.upsert(ACCOUNTS, [("a", 1)])
            await transaction.upsert(other, [(date(2026, 1, 1), None)])
            assert await transaction.advance(one, 3)
            assert await transaction.advance(two, 4)

        await store.transact(work)
        assert {name: point.position for name, point in (await store.checkpoints()).items()} == {
            "account": 3,
            "sums": 4,
        }
        assert await store.select(Select(other)) == [(date(2026, 1, 1), None)]


async def filled(store: Store, *rows: Row) -> Checkpoint:
    """The accounts with these rows, at position 5."""
    checkpoint = await store.prepare(SPEC)

    async def work(transaction: Transaction) -> None:
        await transaction.upsert(ACCOUNTS, rows)
        assert await transaction.advance(checkpoint, 5)

    await store.transact(work)
    return checkpoint._replace(position=5)


async def account_rows(store: Store) -> list[Row]:
    """The accounts as they are."""
    return await store.select(Select(ACCOUNTS))


async def do(store: Store, what: Do) -> None:
    """Do one thing in a transaction."""

    async def work(transaction: Transaction) -> None:
        await what(transaction)

    await store.transact(work)


async def advance(store: Store, checkpoint: Checkpoint, position: int) -> bool:
    """Move a checkpoint on in a transaction of its own."""

    async def work(transaction: Transaction) -> bool:
        return await transaction.advance(checkpoint, position)

    return await store.transact(work)
