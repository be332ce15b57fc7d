"""Pages and counts of a view's table as SQL, in which no value ever stands in the text."""

from __future__ import annotations

from typing import Any

from foldline.errors import CodecError
from foldline.store.spi import Column, Condition, Kind, Op, Ordering, Select, Table
from foldline.store.sqlite.columns import TableForm, carray, form, quote

_SIGNS = {Op.EQ: "=", Op.NE: "<>", Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}
_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.UUID})


def select_sql(query: Select) -> tuple[str, list[Any]]:
    """The statement for a page, and its parameters. Pages go on after values, never after a count of rows."""
    table = form(query.table)
    where, parameters = _where(table, query.where)
    order = query.order or (Ordering(query.table.key),)
    if query.after is not None:
        if len(query.after) != len(order):
            raise CodecError(
                f"A page of {query.table.name!r} goes on after {len(order)} values, not {len(query.after)}."
            )
        beyond, values = _beyond(table, order, query.after)
        where.append(beyond)
        parameters += values
    terms = [table.expression(table.column(column)) + (" DESC" if descending else "") for column, descending in order]
    text = f"{table.select}{_joined(where)} ORDER BY {', '.join(terms)}"
    if query.limit is not None:
        text += " LIMIT ?"
        parameters.append(max(min(query.limit, 2**63 - 1), 0))
    return text, parameters


def count_sql(table: Table, where: tuple[Condition, ...]) -> tuple[str, list[Any]]:
    """The statement that counts the rows that fit, and its parameters."""
    conditions, parameters = _where(form(table), where)
    return f"SELECT count(*) FROM {quote(table.name)}{_joined(conditions)}", parameters  # nosec B608


def _joined(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _where(table: TableForm, where: tuple[Condition, ...]) -> tuple[list[str], list[Any]]:
    conditions = []
    parameters: list[Any] = []
    for condition in where:
        text, values = _condition(table, condition)
        conditions.append(text)
        parameters += values
    return conditions, parameters


def _condition(table: TableForm, condition: Condition) -> tuple[str, list[Any]]:
    column = table.column(condition.column)
    op, value = condition.op, condition.value
    left = table.expression(column)
    if op is Op.NULL:
        return f"{left} IS {'NULL' if value else 'NOT NULL'}", []
    if op is Op.IN:
        return _one_of(table, column, list(value))
    if value is None:
        return "0", []  # null is neither equal nor unequal to anything
    if op is Op.CONTAINS or op is Op.STARTSWITH:
        if column.kind not in _TEXTS or not isinstance(value, str):
            raise CodecError(f"Column {column.name!r} of table {table.table.name!r} is not compared as text.")
        text = table.value(column._replace(kind=Kind.TEXT), value)
        if op is Op.CONTAINS:
            # lower() is ASCII only, as LIKE is, but there is no pattern to escape and no longest one.
            return f"instr(lower({left}), lower(?)) > 0", [text]
        return _starting(left, text)
    right = _mark(column)
    kept = table.value(column, value)
    return f"{left} {_SIGNS[op]} {right}", [kept]


def _one_of(table: TableForm, column: Column, values: list[Any]) -> tuple[str, list[Any]]:
    left = table.expression(column)
    kept = [table.value(column, value) for value in values if value is not None]
    if not kept:
        return "0", []
    value = "CAST(value AS TEXT)" if isinstance(kept[0], str) else "value"
    if column.kind is Kind.DECIMAL:
        value = "CAST(value AS REAL)"
    return f"{left} IN (SELECT {value} FROM carray(?))", [carray(kept)]  # nosec B608


def _starting(left: str, prefix: str) -> tuple[str, list[Any]]:
    if not prefix:
        return f"{left} IS NOT NULL", []
    # All that starts so lies below the next text of that length: a range, which an index can serve.
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return f"{left} >= ?", [prefix]
    code = ord(head[-1]) + 1
    above = head[:-1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)
    return f"({left} >= ? AND {left} < ?)", [prefix, above]


def _mark(column: Column) -> str:
    return "CAST(? AS REAL)" if column.kind is Kind.DECIMAL else "?"


def _beyond(table: TableForm, order: tuple[Ordering, ...], after: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The condition for rows that sort after these values."""
    columns = [table.column(ordering.column) for ordering in order]
    # The key has no nulls, whatever its declaration says.
    nullable = [column.nullable and column.name != table.table.key for column in columns]
    lefts = [table.expression(column) for column in columns]
    marks = [_mark(column) for column in columns]
    values = [
        None if value is None else table.value(column, value) for column, value in zip(columns, after, strict=True)
    ]
    if len({ordering.descending for ordering in order}) == 1 and not any(nullable):
        sign = "<" if order[0].descending else ">"
        return f"({', '.join(lefts)}) {sign} ({', '.join(marks)})", values
    text = "0"
    parameters: list[Any] = []
    for place in reversed(range(len(order))):
        left, mark, value = lefts[place], marks[place], values[place]
        if order[place].descending:
            # Nulls are the least, so in descending order they come after every value, and nothing after them.
            beyond = (
                "0"
                if value is None
                else f"{left} < {mark} OR {left} IS NULL"
                if nullable[place]
                else f"{left} < {mark}"
            )
        else:
            beyond = f"{left} IS NOT NULL" if value is None else f"{left} > {mark}"
        used = [value] if mark in beyond else []
        if place == len(order) - 1:
            text, parameters = f"({beyond})", used
        else:
            text = f"({beyond} OR ({left} IS {mark} AND {text}))"
            parameters = [*used, value, *parameters]
    # The first column alone bounds the rows that an index on it need look at.
    first, mark, value = lefts[0], marks[0], values[0]
    if value is not None and not order[0].descending:
        return f"({first} >= {mark} AND {text})", [value, *parameters]
    if value is not None and not nullable[0]:
        return f"({first} <= {mark} AND {text})", [value, *parameters]
    return text, parameters
