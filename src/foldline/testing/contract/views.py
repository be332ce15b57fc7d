"""Read models: rows and checkpoint commit together or not at all, and each effect once (G6)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from foldline.errors import CodecError, DefinitionError, StoreError
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
from foldline.testing.contract.follow import PROMPT
from foldline.testing.contract.harness import StoreCase, event, kept, on_store, to, whole_log

ACCOUNTS = Table("account", (Column("id", Kind.TEXT), Column("amount", Kind.INTEGER)), "id")
SPEC = ProjectionSpec("account", "one", (ACCOUNTS,))

VALUES: dict[Kind, tuple[Any, ...]] = {
    Kind.TEXT: ("", "a", "it's", "Ärger \N{GRINNING FACE}", "a\x00b\n", "  ", "null", "0012", "e\u0301", "x" * 100_000),
    Kind.INTEGER: (0, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    Kind.REAL: (0.0, 0.1, -1.5, 1e300, 5e-324, 2.0**63, float("inf"), float("-inf"), 3.0),
    Kind.BOOLEAN: (True, False),
    Kind.DECIMAL: tuple(
        map(Decimal, ("0", "0.10", "0.1", "-0.00", "1E+3", "1000", "123456789012345678901234567890.123456789", "1E-30"))
    ),
    Kind.TIMESTAMP: (
        datetime(2026, 3, 29, 2, 30, 0, 123456, UTC),
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ),
    Kind.DATE: (date(2026, 2, 28), date.min, date.max),
    Kind.UUID: (UUID(int=0), UUID("01890a5d-ac96-774b-bcce-b302099a8057"), UUID(int=2**128 - 1)),
    Kind.BYTES: (b"", bytes(range(256)), b"\x00" * 100_000),
    Kind.JSON: ("{}", '{"b" : 1.0,\n"a":[1e2, "\\u00e9", "é"]}', "null"),
}
"""What a column of each kind must keep as it is."""

REFUSED: dict[Kind, tuple[Any, ...]] = {
    Kind.TEXT: (1, b"a", "half \ud800"),
    Kind.INTEGER: (2**63, -(2**63) - 1, "1", 1.0),
    Kind.REAL: (float("nan"), "1.0", Decimal(1)),
    Kind.BOOLEAN: (1, "true"),
    Kind.DECIMAL: (Decimal("NaN"), Decimal("Infinity"), 1.5, "1.5"),
    Kind.TIMESTAMP: (datetime(2026, 1, 1), date(2026, 1, 1), "2026-01-01T00:00:00Z"),  # noqa: DTZ001
    Kind.DATE: (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01"),
    Kind.UUID: ("01890a5d-ac96-774b-bcce-b302099a8057", 1),
    Kind.BYTES: ("a", 1),
    Kind.JSON: ({}, 1),
}
"""What a column of each kind refuses."""

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
        assert await _rows(store) == [("a", 1), ("b", 2)]
        assert await store.checkpoints() == {"account": checkpoint._replace(position=7)}
        assert await store.prepare(SPEC) == checkpoint._replace(position=7)

    @pytest.mark.parametrize("error", (ValueError, CodecError, asyncio.CancelledError))
    @on_store
    async def test_work_that_raises_leaves_nothing(self, store: Store, error: type[BaseException]) -> None:
        """No row, no removal, no checkpoint; the caller gets its own error and the store goes on."""
        checkpoint = await _filled(store, ("a", 1), ("b", 2))

        async def work(transaction: Transaction) -> None:
            await transaction.upsert(ACCOUNTS, [("a", 100), ("c", 3), ("c", 4)])
            await transaction.delete(ACCOUNTS, ["b", "c"])
            await transaction.upsert(ACCOUNTS, [("c", 5)])
            assert await transaction.advance(checkpoint, 99)
            raise error

        with pytest.raises(error):
            await store.transact(work)
        assert await _rows(store) == [("a", 1), ("b", 2)]
        assert (await store.checkpoints())["account"] == checkpoint
        await _do(store, lambda transaction: transaction.upsert(ACCOUNTS, [("d", 4)]))
        assert await _rows(store) == [("a", 1), ("b", 2), ("d", 4)]

    @on_store
    async def test_a_transaction_sees_its_own_changes(self, store: Store) -> None:
        """And the rows that were committed before."""
        await _filled(store, ("a", 1), ("b", 2))

        async def work(transaction: Transaction) -> None:
            assert sorted(await transaction.load(ACCOUNTS, ["a", "b", "z"])) == [("a", 1), ("b", 2)]
            await transaction.upsert(ACCOUNTS, [("a", 10), ("c", 3)])
            await transaction.delete(ACCOUNTS, ["b", "z"])
            assert sorted(await transaction.load(ACCOUNTS, ["a", "b", "c"])) == [("a", 10), ("c", 3)]
            await transaction.upsert(ACCOUNTS, [("b", 20)])
            assert await transaction.load(ACCOUNTS, ["b"]) == [("b", 20)]

        await store.transact(work)
        assert await _rows(store) == [("a", 10), ("b", 20), ("c", 3)]

    @on_store
    async def test_keys_are_loaded_once_and_missing_ones_left_out(self, store: Store) -> None:
        """Also none at all, and many."""
        await _filled(store, *((f"k{number}", number) for number in range(3000)))
        assert await store.load(ACCOUNTS, ["k1", "k1", "nobody", "k1"]) == [("k1", 1)]
        assert await store.load(ACCOUNTS, []) == []
        assert await store.load(ACCOUNTS, {"nobody"}) == []
        assert len(await store.load(ACCOUNTS, [f"k{number}" for number in range(4000)])) == 3000
        await _do(store, lambda transaction: transaction.delete(ACCOUNTS, []))
        await _do(store, lambda transaction: transaction.upsert(ACCOUNTS, []))
        await _do(store, lambda transaction: transaction.delete(ACCOUNTS, [f"k{number}" for number in range(1, 4000)]))
        assert await _rows(store) == [("k0", 0)]

    @on_store
    async def test_of_rows_of_one_key_the_last_is_kept(self, store: Store) -> None:
        """A key is one row."""
        await _filled(store, ("a", 1), ("a", 2), ("b", 1), ("a", 3))
        assert await _rows(store) == [("a", 3), ("b", 1)]

    @on_store
    async def test_a_checkpoint_moves_only_from_where_it_is(self, store: Store) -> None:
        """A straggler is told so, and changes nothing."""
        first = await store.prepare(SPEC)
        assert await _advance(store, first, 5) is True
        at_five = first._replace(position=5)
        for stale in (
            first,
            at_five._replace(position=4),
            at_five._replace(generation=first.generation + 1),
            at_five._replace(fingerprint="other"),
            at_five._replace(projection="nobody"),
        ):
            assert await _advance(store, stale, 9) is False
        assert await store.checkpoints() == {"account": at_five}
        assert await _advance(store, at_five, 6) is True

    @on_store
    async def test_of_many_who_move_a_checkpoint_one_does(self, store: Store) -> None:
        """So that each event's effect is there once, though two workers had it."""
        checkpoint = await _filled(store, ("a", 0))

        async def work(transaction: Transaction) -> bool:
            [(_, amount)] = await transaction.load(ACCOUNTS, ["a"])
            if not await transaction.advance(checkpoint, checkpoint.position + 1):
                return False
            await transaction.upsert(ACCOUNTS, [("a", amount + 1)])
            return True

        moved = await asyncio.gather(*(store.transact(work) for _ in range(32)))
        assert moved.count(True) == 1
        assert await _rows(store) == [("a", 1)]

    @on_store
    async def test_transactions_do_not_mix(self, store: Store) -> None:
        """Many that read and write the same row one after the other, beside appends."""
        await _filled(store, ("a", 0))

        async def work(transaction: Transaction) -> None:
            [(_, amount)] = await transaction.load(ACCOUNTS, ["a"])
            await transaction.upsert(ACCOUNTS, [("a", amount + 1)])

        await asyncio.gather(
            *(store.transact(work) for _ in range(64)), *(kept(store, to("a-1", event())) for _ in range(64))
        )
        assert await _rows(store) == [("a", 64)]
        assert len(await whole_log(store)) == 64

    @on_store
    async def test_work_may_await_only_the_transaction(self, store: Store) -> None:
        """Whatever would really wait is refused, for all others would wait with it; nothing is kept."""
        checkpoint = await _filled(store, ("a", 1))

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
        assert await _rows(store) == [("a", 1)]
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
        assert await _rows(store) == []

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


class ProjectionContract(StoreCase):
    """A projection's tables, from their making to their making anew."""

    @on_store
    async def test_a_new_projection_begins_at_the_start(self, store: Store) -> None:
        """With its tables made and empty."""
        assert await store.checkpoints() == {}
        checkpoint = await store.prepare(SPEC)
        assert (checkpoint.projection, checkpoint.position, checkpoint.fingerprint) == ("account", 0, "one")
        assert await store.checkpoints() == {"account": checkpoint}
        assert await store.prepare(SPEC) == checkpoint
        assert await _rows(store) == []

    @on_store
    async def test_a_projection_that_is_as_it_was_is_left_alone(self, store: Store) -> None:
        """Preparing it again changes nothing."""
        checkpoint = await _filled(store, ("a", 1))
        assert await store.prepare(SPEC) == checkpoint
        assert await _rows(store) == [("a", 1)]

    @on_store
    async def test_a_reset_empties_and_fences(self, store: Store) -> None:
        """Its generation grows, so that one who had it before can commit nothing."""
        before = await _filled(store, ("a", 1))
        fresh = await store.reset(SPEC)
        assert (fresh.position, fresh.fingerprint) == (0, "one")
        assert fresh.generation > before.generation
        assert await _rows(store) == []
        assert await _advance(store, before, 9) is False
        assert await _advance(store, before._replace(position=0), 9) is False
        assert await _advance(store, fresh, 1) is True

    @on_store
    async def test_a_changed_projection_is_made_anew(self, store: Store) -> None:
        """Under its new shape, from the start."""
        before = await _filled(store, ("a", 1))
        changed = Table(
            "account", (Column("id", Kind.INTEGER), Column("name", Kind.TEXT, nullable=True)), "id", (("name",),)
        )
        more = Table("account_more", (Column("id", Kind.UUID),), "id")
        fresh = await store.prepare(ProjectionSpec("account", "two", (changed, more)))
        assert (fresh.position, fresh.fingerprint) == (0, "two")
        assert fresh.generation > before.generation
        assert await store.select(Select(changed)) == await store.select(Select(more)) == []
        await _do(store, lambda transaction: transaction.upsert(changed, [(1, None)]))
        again = await store.prepare(SPEC)
        assert again.generation > fresh.generation
        assert await _rows(store) == []
        # What it does not have any more is free for others.
        await store.prepare(ProjectionSpec("other", "x", (more,)))

    @on_store
    async def test_a_table_belongs_to_one_projection(self, store: Store) -> None:
        """Another that wants it is refused, and changes nothing."""
        checkpoint = await _filled(store, ("a", 1))
        thief = ProjectionSpec("thief", "x", (Table("mine", (Column("id", Kind.TEXT),), "id"), ACCOUNTS))
        for take in (store.prepare, store.reset):
            with pytest.raises(DefinitionError):
                await take(thief)
        assert await store.checkpoints() == {"account": checkpoint}
        assert await _rows(store) == [("a", 1)]
        await store.prepare(thief._replace(tables=thief.tables[:1]))

    @on_store
    async def test_a_refused_reset_changes_nothing(self, store: Store) -> None:
        """A projection that would take another's table keeps its own."""
        await _filled(store, ("a", 1))
        own = Table("own", (Column("id", Kind.TEXT),), "id")
        spec = ProjectionSpec("second", "x", (own,))
        before = await store.prepare(spec)
        await _do(store, lambda transaction: transaction.upsert(own, [("kept",)]))
        with pytest.raises(DefinitionError):
            await store.prepare(ProjectionSpec("second", "y", (own, ACCOUNTS)))
        assert await store.select(Select(own)) == [("kept",)]
        assert await store.prepare(spec) == before

    @on_store
    async def test_what_is_not_there_is_said(self, store: Store) -> None:
        """A table that nothing prepared, and a column that a table does not have."""
        with pytest.raises(StoreError):
            await store.load(ACCOUNTS, ["a"])
        with pytest.raises(StoreError):
            await store.select(Select(ACCOUNTS))
        with pytest.raises(StoreError):
            await _do(store, lambda transaction: transaction.upsert(ACCOUNTS, [("a", 1)]))

    @pytest.mark.parametrize("kind", Kind)
    @on_store
    async def test_every_kind_of_value_comes_back(self, store: Store, kind: Kind) -> None:
        """Exactly, of its own type, and None where that is allowed."""
        columns = (Column("id", Kind.INTEGER), Column("value", kind), Column("maybe", kind, nullable=True))
        table = Table("kinds", columns, "id", (("value",), ("maybe", "value")))
        await store.prepare(ProjectionSpec("kinds", kind, (table,)))
        rows = [(number, value, None if number % 2 else value) for number, value in enumerate(VALUES[kind])]
        await _do(store, lambda transaction: transaction.upsert(table, rows))
        read = await store.select(Select(table))
        loaded: list[Row] = []

        async def work(transaction: Transaction) -> None:
            loaded.extend(await transaction.load(table, [row[0] for row in rows]))

        await store.transact(work)
        for found in (read, sorted(loaded), sorted(await store.load(table, [row[0] for row in rows]))):
            assert len(found) == len(rows)
            for got, wanted in zip(found, rows, strict=True):
                for mine, other in zip(got, wanted, strict=True):
                    assert type(mine) is type(other)
                    assert mine == other
                    if kind is Kind.DECIMAL:
                        assert str(mine) == str(other), "a decimal keeps its zeros and its exponent"
                    if isinstance(mine, datetime):
                        assert mine.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("kind", Kind)
    @on_store
    async def test_a_value_that_does_not_fit_is_refused(self, store: Store, kind: Kind) -> None:
        """With CodecError, and with nothing kept; so is None where it is not allowed."""
        table = Table("kinds", (Column("id", Kind.INTEGER), Column("value", kind)), "id")
        await store.prepare(ProjectionSpec("kinds", kind, (table,)))
        good = VALUES[kind][0]
        for number, bad in enumerate((*REFUSED[kind], None)):

            async def work(transaction: Transaction, bad: Any = bad) -> None:
                await transaction.upsert(table, [(1, good)])
                await transaction.upsert(table, [(2, good), (3, bad)])

            with pytest.raises(CodecError):
                await store.transact(work)
                pytest.fail(f"value {number} was kept: {bad!r}")
        for row in ((None, good), (1,), (1, good, good)):
            with pytest.raises(CodecError):
                await _do(store, lambda transaction, row=row: transaction.upsert(table, [row]))  # type: ignore[misc]
        assert await store.select(Select(table)) == []

    @pytest.mark.parametrize("kind", (Kind.TEXT, Kind.INTEGER, Kind.TIMESTAMP, Kind.DATE, Kind.UUID, Kind.BYTES))
    @on_store
    async def test_a_key_of_any_kind(self, store: Store, kind: Kind) -> None:
        """Rows are found, replaced and removed by it; a table may be nothing but its key."""
        table = Table("keys", (Column("number", Kind.INTEGER), Column("id", kind)), "id")
        bare = Table("bare", (Column("id", kind),), "id")
        await store.prepare(ProjectionSpec("keys", "x", (table, bare)))
        keys = list(VALUES[kind])

        async def work(transaction: Transaction) -> None:
            for turn in range(2):
                await transaction.upsert(table, [(turn + number, key) for number, key in enumerate(keys)])
                await transaction.upsert(bare, [(key,) for key in keys])
            await transaction.delete(table, keys[:1])
            await transaction.delete(bare, keys[:1])

        await store.transact(work)
        assert sorted(await store.load(table, keys)) == [(number + 1, key) for number, key in enumerate(keys)][1:]
        assert len(await store.load(bare, keys)) == len(keys) - 1
        assert await store.load(table, keys[1:2]) == [(2, keys[1])]


class WaitContract(StoreCase):
    """Waiting for a read model to catch up."""

    @on_store
    async def test_a_wait_for_a_view_ends_at_once_where_it_is_reached(self, store: Store) -> None:
        """With the checkpoint; with None where there is no such projection."""
        checkpoint = await _filled(store)
        for position in (0, checkpoint.position - 1, checkpoint.position):
            assert await store.wait_checkpoint("account", position, 30) == checkpoint
            assert await store.wait_checkpoint("account", position, 0) == checkpoint
        assert await store.wait_checkpoint("nobody", 0, 30) is None

    @on_store
    async def test_a_wait_for_a_view_ends_when_its_time_is_over(self, store: Store) -> None:
        """With None, and not before."""
        checkpoint = await _filled(store)
        assert await store.wait_checkpoint("account", checkpoint.position + 1, 0) is None
        began = time.monotonic()
        assert await store.wait_checkpoint("account", checkpoint.position + 1, 0.15) is None
        assert 0.1 < time.monotonic() - began < PROMPT

    @on_store
    async def test_a_wait_for_a_view_is_woken_when_it_is_reached(self, store: Store) -> None:
        """By its own projection, not by another's, and not before; then its rows are there."""
        checkpoint = await _filled(store)
        at = checkpoint.position
        other = await store.prepare(ProjectionSpec("other", "x", (Table("other", (Column("id", Kind.TEXT),), "id"),)))
        began = time.monotonic()
        waits = [asyncio.create_task(store.wait_checkpoint("account", at + 2, 50)) for _ in range(10)]
        await asyncio.sleep(0)
        assert await _advance(store, other, 1000)
        assert await _advance(store, checkpoint, at + 1)
        assert await store.wait_checkpoint("account", at + 1, 0) == checkpoint._replace(position=at + 1)
        assert not any(wait.done() for wait in waits)

        async def work(transaction: Transaction) -> None:
            await transaction.upsert(ACCOUNTS, [("new", 1)])
            assert await transaction.advance(checkpoint._replace(position=at + 1), at + 3)

        await store.transact(work)
        assert await asyncio.gather(*waits) == [checkpoint._replace(position=at + 3)] * 10
        assert await store.load(ACCOUNTS, ["new"]) == [("new", 1)]
        assert time.monotonic() - began < PROMPT

    @on_store
    async def test_work_that_fails_wakes_nobody(self, store: Store) -> None:
        """For what it had advanced to was not committed."""
        checkpoint = await _filled(store)

        async def work(transaction: Transaction) -> None:
            assert await transaction.advance(checkpoint, checkpoint.position + 1)
            raise LookupError

        wait = asyncio.create_task(store.wait_checkpoint("account", checkpoint.position + 1, 0.2))
        await asyncio.sleep(0)
        with pytest.raises(LookupError):
            await store.transact(work)
        assert await wait is None


async def _filled(store: Store, *rows: Row) -> Checkpoint:
    """The accounts with these rows, at position 5."""
    checkpoint = await store.prepare(SPEC)

    async def work(transaction: Transaction) -> None:
        await transaction.upsert(ACCOUNTS, rows)
        assert await transaction.advance(checkpoint, 5)

    await store.transact(work)
    return checkpoint._replace(position=5)


async def _rows(store: Store) -> list[Row]:
    return await store.select(Select(ACCOUNTS))


async def _do(store: Store, do: Do) -> None:
    async def work(transaction: Transaction) -> None:
        await do(transaction)

    await store.transact(work)


async def _advance(store: Store, checkpoint: Checkpoint, position: int) -> bool:
    async def work(transaction: Transaction) -> bool:
        return await transaction.advance(checkpoint, position)

    return await store.transact(work)
