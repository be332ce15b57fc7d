"""What columns keep: every kind of value exactly, and nothing that is none of its kind (G6, G7)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from foldline.errors import CodecError
from foldline.store.spi import (
    Column,
    Condition,
    Kind,
    Op,
    Ordering,
    ProjectionSpec,
    Row,
    Select,
    Store,
    Table,
    Transaction,
)
from foldline.testing.contract.harness import StoreCase, on_store
from foldline.testing.contract.views import do

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

WRITTEN_OTHERWISE = ("-0.00", "1E+3")
"""Decimals that come back as an equal number where a store has no exponents."""

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


class KindContract(StoreCase):
    """Values of every kind, in columns and as keys."""

    @pytest.mark.parametrize("kind", Kind)
    @on_store
    async def test_every_kind_of_value_comes_back(self, store: Store, kind: Kind) -> None:
        """Exactly, of its own type, and None where that is allowed."""
        columns = (Column("id", Kind.INTEGER), Column("value", kind), Column("maybe", kind, nullable=True))
        table = Table("kinds", columns, "id", (("value",), ("maybe", "value")))
        await store.prepare(ProjectionSpec("kinds", kind, (table,)))
        rows = [(number, value, None if number % 2 else value) for number, value in enumerate(VALUES[kind])]
        await do(store, lambda transaction: transaction.upsert(table, rows))
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
                    if kind is Kind.DECIMAL and (self.exponents or str(other) not in WRITTEN_OTHERWISE):
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
                await do(store, lambda transaction, row=row: transaction.upsert(table, [row]))  # type: ignore[misc]
        assert await store.select(Select(table)) == []

    @on_store
    async def test_nul_in_text_is_like_any_other_character(self, store: Store) -> None:
        """In a value, in a key and in every comparison, also where a database has no such text of its own."""
        table = Table("texts", (Column("id", Kind.TEXT), Column("text", Kind.TEXT)), "id", (("text",),))
        await store.prepare(ProjectionSpec("texts", "x", (table,)))
        texts = ("", "\x00", "\x00\x00", "\x00\x01", "\x01", "\x01\x01", "a", "a\x00", "a\x00b", "a\x01", "a\x02", "b")
        rows: list[Row] = [(text, text) for text in texts]
        await do(store, lambda transaction: transaction.upsert(table, [*reversed(rows), *rows]))
        in_order = (Ordering("text"), Ordering("id"))

        async def found(op: Op, value: object) -> list[str]:
            where = (Condition("text", op, value),)
            page = await store.select(Select(table, where, in_order))
            assert await store.count(table, where) == len(page)
            return [text for _, text in page]

        assert await store.select(Select(table, (), in_order)) == rows
        for number, text in enumerate(texts):
            assert await store.load(table, [text]) == [rows[number]]
            assert await store.select(Select(table, (), in_order, (text, text))) == rows[number + 1 :]
            assert await found(Op.EQ, text) == await found(Op.IN, [text]) == [text]
            assert await found(Op.LT, text) == list(texts[:number])
            assert await found(Op.CONTAINS, text) == [one for one in texts if text in one]
            assert await found(Op.STARTSWITH, text) == [one for one in texts if one.startswith(text)]
        await do(store, lambda transaction: transaction.delete(table, ["\x00", "a\x00"]))
        assert len(await store.select(Select(table))) == len(texts) - 2

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
