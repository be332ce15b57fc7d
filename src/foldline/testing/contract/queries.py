"""Pages and counts of a table: filters, order and keyset, against a list of rows."""

from __future__ import annotations

import functools
import operator
import string
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from foldline.errors import DefinitionError
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
from foldline.testing.contract.harness import StoreCase, on_examples, on_store

_SIGNS: dict[Op, Any] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}
_LETTERS = st.text(
    st.sampled_from("aAbB zé\N{LATIN CAPITAL LETTER E WITH ACUTE}ß%_*?'\"\\\x00\uffff\U0010ffff"), max_size=4
)

DRAWN: dict[Kind, SearchStrategy[Any]] = {
    Kind.TEXT: _LETTERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    Kind.INTEGER: st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
    Kind.REAL: st.sampled_from([-1.5, 0.0, 0.1, 2.0**60]) | st.floats(allow_nan=False),
    Kind.BOOLEAN: st.booleans(),
    # Every adapter compares at least 15 digits exactly.
    Kind.DECIMAL: st.sampled_from(list(map(Decimal, ("0", "0.1", "0.10", "-0", "9", "10", "1E+1", "-0.5"))))
    | st.decimals(-(10**9), 10**9, places=4, allow_nan=False),
    Kind.TIMESTAMP: st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in range(3)])
    | st.datetimes(timezones=st.just(UTC)),
    Kind.DATE: st.sampled_from([date(2026, 1, 1), date(999, 12, 31)]) | st.dates(),
    Kind.UUID: st.uuids(),
    Kind.BYTES: st.binary(max_size=3),
    Kind.JSON: st.sampled_from(["null", "{}", "[1]"]),
}
"""Values of each kind, many of them alike."""

SORTED = tuple(kind for kind in Kind if kind not in (Kind.JSON, Kind.BYTES))
COLUMNS = tuple(Column(kind, kind, nullable=True) for kind in Kind)
TABLE = Table("things", (Column("id", Kind.INTEGER), *COLUMNS), "id", ((Kind.TEXT,), (Kind.DECIMAL, Kind.TEXT)))
SPEC = ProjectionSpec("things", "one", (TABLE,))


@st.composite
def tables(draw: DrawFn) -> list[Row]:
    """Rows with keys 0.. and values of every kind, among them many alike and many nulls."""
    return [
        (number, *(draw(st.none() | DRAWN[column.kind]) for column in COLUMNS))
        for number in range(draw(st.sampled_from([0, 1, 3, 6, 8])))
    ]


@st.composite
def conditions(draw: DrawFn, rows: Sequence[Row]) -> Condition:
    """A filter, more often than not with a value that is in the table."""
    column = draw(st.sampled_from(COLUMNS))
    present = [row[1 + COLUMNS.index(column)] for row in rows]
    present = [one for one in present if one is not None]
    values = st.sampled_from(present) | DRAWN[column.kind] if present else DRAWN[column.kind]
    allowed = [Op.NULL]
    if column.kind is not Kind.JSON:
        allowed += [Op.EQ, Op.NE, Op.IN]
    if column.kind in SORTED and column.kind is not Kind.BOOLEAN:
        allowed += [Op.LT, Op.LE, Op.GT, Op.GE]
    if column.kind is Kind.TEXT:
        allowed += [Op.CONTAINS, Op.STARTSWITH]
    op = draw(st.sampled_from(allowed))
    if op is Op.NULL:
        return Condition(column.name, op, draw(st.booleans()))
    if op is Op.IN:
        return Condition(column.name, op, tuple(draw(st.lists(values, max_size=4))))
    value = draw(values)
    if op in (Op.CONTAINS, Op.STARTSWITH):
        begin = draw(st.integers(0, len(value) if op is Op.CONTAINS else 0))
        value = value[begin : draw(st.integers(begin, len(value)))]
        if draw(st.booleans()):
            value = value.swapcase() if value.isascii() else value
    return Condition(column.name, op, value)


@st.composite
def queries(draw: DrawFn) -> tuple[list[Row], Select]:
    """A table's rows, and a query of it."""
    rows = draw(tables())
    where = tuple(draw(conditions(rows)) for _ in range(draw(st.sampled_from([0, 1, 1, 2]))))
    names = draw(st.lists(st.sampled_from([kind.value for kind in SORTED]), max_size=3, unique=True))
    order = tuple(Ordering(name, draw(st.booleans())) for name in names)
    order += (Ordering("id", draw(st.booleans())),)
    return rows, Select(TABLE, where, order, None, draw(st.sampled_from([None, 0, 1, 1, 2, 3])))


class QueryContract(StoreCase):
    """select() and count()."""

    @on_examples(250, query=queries())
    async def test_a_query_is_answered_as_by_a_list(self, store: Store, query: tuple[list[Row], Select]) -> None:
        """Filters, any order, nulls as the least, limits, and the count of all that fits."""
        rows, select = query
        await _fill(store, rows)
        fitting = [row for row in rows if all(_fits(row, condition) for condition in select.where)]
        wanted = sorted(fitting, key=functools.cmp_to_key(functools.partial(_compare, order=select.order)))
        assert await store.select(select) == wanted[: select.limit]
        assert await store.count(TABLE, select.where) == len(wanted)

    @on_examples(150, query=queries(), size=st.integers(1, 3))
    async def test_pages_put_together_are_the_whole(
        self, store: Store, query: tuple[list[Row], Select], size: int
    ) -> None:
        """Each goes on after the values of the last row before it, whatever is null there or alike."""
        rows, select = query
        await _fill(store, rows)
        wanted = await store.select(select._replace(limit=None))
        at = {column.name: index for index, column in enumerate(TABLE.columns)}
        found: list[Row] = []
        after: tuple[Any, ...] | None = None
        while page := await store.select(select._replace(after=after, limit=size)):
            assert len(page) <= size
            found += page
            assert len(found) <= len(wanted), "a page repeats what was on an earlier one"
            after = tuple(page[-1][at[ordering.column]] for ordering in select.order)
        assert found == wanted

    @on_examples(80, query=queries(), data=st.data())
    async def test_a_page_goes_on_where_no_row_is(
        self, store: Store, query: tuple[list[Row], Select], data: st.DataObject
    ) -> None:
        """For the row that it goes on after may have been changed or removed since."""
        rows, select = query
        await _fill(store, rows)
        kinds = {column.name: column.kind for column in TABLE.columns}
        start = tuple(
            data.draw(st.integers(-1, 9))
            if ordering.column == "id"
            else data.draw(st.none() | DRAWN[kinds[ordering.column]])
            for ordering in select.order
        )
        at = {column.name: index for index, column in enumerate(TABLE.columns)}
        place: list[Any] = [None] * len(TABLE.columns)
        for ordering, value in zip(select.order, start, strict=True):
            place[at[ordering.column]] = value
        wanted = [
            row
            for row in await store.select(select._replace(limit=None))
            if _compare(row, tuple(place), select.order) > 0
        ]
        assert await store.select(select._replace(after=start)) == wanted[: select.limit]

    @on_store
    async def test_text_is_found_in_ascii_letters_of_either_case(self, store: Store) -> None:
        """CONTAINS knows no pattern and no other alphabet's cases; STARTSWITH is exact."""
        texts = ("Straße 100%", "STRASSE 100_", "ÄRGER", "ärger", "a*b?[c]", "", "\N{KELVIN SIGN}elvin")
        table = Table("texts", (Column("id", Kind.INTEGER), Column("text", Kind.TEXT, nullable=True)), "id")
        await store.prepare(ProjectionSpec("texts", "x", (table,)))

        async def work(transaction: Transaction) -> None:
            await transaction.upsert(table, [*enumerate(texts), (99, None)])

        await store.transact(work)

        async def found(op: Op, value: str) -> list[str]:
            where = (Condition("text", op, value),)
            rows = await store.select(Select(table, where))
            assert await store.count(table, where) == len(rows)
            return [row[1] for row in rows]

        assert await found(Op.CONTAINS, "stra") == ["Straße 100%", "STRASSE 100_"]
        assert await found(Op.CONTAINS, "STRA") == ["Straße 100%", "STRASSE 100_"]
        assert await found(Op.CONTAINS, "%") == ["Straße 100%"]
        assert await found(Op.CONTAINS, "_") == ["STRASSE 100_"]
        assert await found(Op.CONTAINS, "*B?[C]") == ["a*b?[c]"]
        assert await found(Op.CONTAINS, "ärger") == ["ärger"]
        assert await found(Op.CONTAINS, "k") == []
        assert await found(Op.CONTAINS, "") == list(texts)
        assert await found(Op.STARTSWITH, "Stra") == ["Straße 100%"]
        assert await found(Op.STARTSWITH, "stra") == []
        assert await found(Op.STARTSWITH, "a*") == ["a*b?[c]"]
        assert await found(Op.STARTSWITH, "") == list(texts)

    @on_store
    async def test_null_is_neither_equal_nor_unequal(self, store: Store) -> None:
        """Only NULL finds it."""
        await store.prepare(SPEC)
        await _fill(store, [(0, *[None] * len(COLUMNS))])
        for kind, values in {Kind.INTEGER: 1, Kind.TEXT: "a", Kind.BOOLEAN: False}.items():
            for op in (Op.EQ, Op.NE):
                assert await store.count(TABLE, (Condition(kind, op, values),)) == 0
                assert await store.count(TABLE, (Condition(kind, op, None),)) == 0
            assert await store.count(TABLE, (Condition(kind, Op.IN, (values, None)),)) == 0
            assert await store.count(TABLE, (Condition(kind, Op.NULL, True),)) == 1
            assert await store.count(TABLE, (Condition(kind, Op.NULL, False),)) == 0

    @on_store
    async def test_many_values_in_one_filter(self, store: Store) -> None:
        """As many as a page of keys may be, and none at all."""
        await _fill(store, [(number, *[None] * len(COLUMNS)) for number in range(50)])
        assert await store.count(TABLE, (Condition("id", Op.IN, tuple(range(40, 3000))),)) == 10
        assert await store.count(TABLE, (Condition("id", Op.IN, ()),)) == 0

    @on_store
    async def test_an_unknown_column_is_said(self, store: Store) -> None:
        """Wherever it is named."""
        await _fill(store, [(0, *[None] * len(COLUMNS))])
        for query in (
            Select(TABLE, (Condition('id"; --', Op.EQ, 1),)),
            Select(TABLE, (), (Ordering("nowhere"), Ordering("id"))),
        ):
            with pytest.raises(DefinitionError):
                await store.select(query)
        with pytest.raises(DefinitionError):
            await store.count(TABLE, (Condition("nowhere", Op.NULL, True),))


async def _fill(store: Store, rows: Sequence[Row]) -> None:
    await store.reset(SPEC)

    async def work(transaction: Transaction) -> None:
        await transaction.upsert(TABLE, rows)

    await store.transact(work)


def _compare(one: Row, other: Row, order: Sequence[Ordering]) -> int:
    for column, descending in order:
        at = [known.name for known in TABLE.columns].index(column)
        mine, theirs = one[at], other[at]
        if mine == theirs:
            continue
        less = mine is None or (theirs is not None and mine < theirs)
        return 1 if less is descending else -1
    return 0


def _fits(row: Row, condition: Condition) -> bool:
    value = row[[known.name for known in TABLE.columns].index(condition.column)]
    wanted = condition.value
    if condition.op is Op.NULL:
        return (value is None) is bool(wanted)
    if value is None:
        return False
    match condition.op:
        case Op.IN:
            return any(value == one for one in wanted)
        case Op.CONTAINS:
            return _lowered(wanted) in _lowered(value)
        case Op.STARTSWITH:
            return bool(value.startswith(wanted))
    return bool(_SIGNS[condition.op](value, wanted))


def _lowered(text: str) -> str:
    for upper, lower in zip(string.ascii_uppercase, string.ascii_lowercase, strict=True):
        text = text.replace(upper, lower)
    return text
