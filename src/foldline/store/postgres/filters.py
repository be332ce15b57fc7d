"""Pages and counts of a view's table as SQL, in which no value ever stands in the text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from foldline.errors import CodecError
from foldline.store.postgres.columns import TableForm, form, parameter, parameters, quote
from foldline.store.spi import Column, Condition, Kind, Op, Ordering, Select, Table

_SIGNS = {Op.EQ: "=", Op.NE: "<>", Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}
_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.UUID})

_RECKONED = frozenset({Kind.TIMESTAMP, Kind.DATE})
_FEW = 64


class _Given:
    """The parameters of a statement, each with its number."""

    def __init__(self, table: TableForm) -> None:
        self.table = table
        self.values: list[Any] = []

    def one(self, column: Column, value: Any) -> str:
        """A value to compare a column with."""
        self.values.append(self.table.value(column, value))
        # JSON is compared as the text that it is.
        return parameter(Kind.TEXT if column.kind is Kind.JSON else column.kind, len(self.values))

    def text(self, value: str) -> str:
        """Text to look for."""
        self.values.append(value)
        return parameter(Kind.TEXT, len(self.values))

    def several(self, column: Column, values: list[Any]) -> str:
        """An array of values that a column may equal."""
        if column.kind in _RECKONED and len(values) <= _FEW:
            # One by one, since the planner does not look into a query for them; of few different numbers, since each
            # number is another statement.
            values += values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values))
            return f"ARRAY[{', '.join(self.one(column, value) for value in values)}]"
        self.values.append(self.table.several(column, values))
        return parameters(Kind.TEXT if column.kind is Kind.JSON else column.kind, len(self.values))

    def limit(self, limit: int) -> str:
        """At most so many rows."""
        self.values.append(max(min(limit, 2**63 - 1), 0))
        return f" LIMIT {parameter(Kind.INTEGER, len(self.values))}"


class _Term(NamedTuple):
    """A column to sort by, as SQL, and the value of it after which the page begins."""

    expression: str
    descending: bool
    nullable: bool
    value: str | None

    @property
    def same(self) -> str:
        """The condition for rows that are alike in this column."""
        return f"{self.expression} IS NULL" if self.value is None else f"{self.expression} = {self.value}"

    def beyond(self) -> list[str]:
        """The conditions, no two of which hold at once, for rows that come later by this column alone."""
        if self.value is None:
            # Nulls are the least: all else follows them in ascending order, and nothing in descending order.
            return [] if self.descending else [f"{self.expression} IS NOT NULL"]
        later = [f"{self.expression} {'<' if self.descending else '>'} {self.value}"]
        return [*later, f"{self.expression} IS NULL"] if self.descending and self.nullable else later


def select_sql(query: Select) -> tuple[str, list[Any]]:
    """The statement for a page, and its parameters. Pages go on after values, never after a count of rows."""
    table = form(query.table)
    given = _Given(table)
    where = [_condition(given, condition) for condition in query.where]
    order = query.order or (Ordering(query.table.key),)
    columns = [table.column(ordering.column) for ordering in order]
    ordered = ", ".join(
        table.ordered(column, ordering.descending) for column, ordering in zip(columns, order, strict=True)
    )
    branches = [where]
    if query.after is not None:
        if len(query.after) != len(order):
            raise CodecError(
                f"A page of {query.table.name!r} goes on after {len(order)} values, not {len(query.after)}."
            )
        terms = [
            _Term(
                table.expression(column),
                ordering.descending,
                table.nullable(column),
                None if value is None else given.one(column, value),
            )
            for column, ordering, value in zip(columns, order, query.after, strict=True)
        ]
        branches = [[*where, *beyond] for beyond in _beyond(terms)] or [[*where, "FALSE"]]
    end = f" ORDER BY {ordered}" + ("" if query.limit is None else given.limit(query.limit))
    if len(branches) == 1:
        return f"{table.select}{_joined(branches[0])}{end}", given.values
    parts = " UNION ALL ".join(f"({table.select}{_joined(branch)}{end})" for branch in branches)
    return f"SELECT {table.names} FROM ({parts}) AS parts{end}", given.values  # nosec B608


def count_sql(table: Table, where: tuple[Condition, ...]) -> tuple[str, list[Any]]:
    """The statement that counts the rows that fit, and its parameters."""
    given = _Given(form(table))
    conditions = [_condition(given, condition) for condition in where]
    return f"SELECT count(*) FROM {quote(table.name)}{_joined(conditions)}", given.values  # nosec B608


def _joined(conditions: Iterable[str]) -> str:
    joined = " AND ".join(conditions)
    return f" WHERE {joined}" if joined else ""


def _condition(given: _Given, condition: Condition) -> str:
    table = given.table
    column = table.column(condition.column)
    op, value = condition.op, condition.value
    left = table.expression(column)
    if op is Op.NULL:
        return f"{left} IS {'NULL' if value else 'NOT NULL'}"
    if op is Op.IN:
        values = [one for one in value if one is not None]
        return f"{left} = ANY({given.several(column, values)})" if values else "FALSE"
    if value is None:
        return "FALSE"  # null is neither equal nor unequal to anything
    if op is Op.CONTAINS or op is Op.STARTSWITH:
        if column.kind not in _TEXTS or not isinstance(value, str):
            raise CodecError(f"Column {column.name!r} of table {table.table.name!r} is not compared as text.")
        if column.kind is not Kind.TEXT:
            left = f'({quote(column.name)}::text COLLATE "C")'
        text = table.value(column._replace(kind=Kind.TEXT), value)
        if op is Op.CONTAINS:
            # By COLLATE "C", lower() knows the cases of ASCII letters and no others.
            return f'strpos(lower({left}), lower({given.text(text)} COLLATE "C")) > 0'
        return _starting(given, left, text)
    return f"{left} {_SIGNS[op]} {given.one(column, value)}"


def _starting(given: _Given, left: str, prefix: str) -> str:
    if not prefix:
        return f"{left} IS NOT NULL"
    # All that starts so lies below the next text of that length: a range, which an index can serve.
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return f"{left} >= {given.text(prefix)}"
    code = ord(head[-1]) + 1
    above = head[:-1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)
    return f"{left} >= {given.text(prefix)} AND {left} < {given.text(above)}"


def _beyond(terms: list[_Term]) -> list[list[str]]:
    """The conditions for rows that sort after the terms' values.

    Where one range of an index has them all, that is one list of conditions. Else it is several, each for a range of
    its own, and no two for the same row: so each can be read in order and left at the page's end, while PostgreSQL
    would look through all rows for one condition that puts them together by OR.
    """
    values = [term.value for term in terms if term.value is not None and not term.nullable]
    if len({term.descending for term in terms}) == 1 and len(values) == len(terms):
        columns = ", ".join(term.expression for term in terms)
        return [[f"({columns}) {'<' if terms[0].descending else '>'} ({', '.join(values)})"]]
    return [
        [*(before.same for before in terms[:place]), beyond]
        for place in reversed(range(len(terms)))
        for beyond in terms[place].beyond()
    ]
