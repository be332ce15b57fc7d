"""What a column keeps, and how its values are compared, filtered and sorted."""

from __future__ import annotations

import math
import operator
import string
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from foldline.errors import CodecError, DefinitionError
from foldline.store.spi import Column, Condition, Kind, Op, Ordering, Row, Table

_COMPARE: dict[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def place(table: Table, name: str) -> int:
    """Where a column stands in a row; raises DefinitionError where the table has none of that name."""
    for index, column in enumerate(table.columns):
        if column.name == name:
            return index
    names = ", ".join(column.name for column in table.columns)
    raise DefinitionError(f"Table {table.name!r} has no column {name!r}: it has {names}.")


def keep_row(table: Table, row: Row) -> Row:
    """A row as it will be read; raises CodecError naming the column that cannot keep its value."""
    if len(row) != len(table.columns):
        raise CodecError(f"A row of table {table.name!r} has {len(row)} values, not {len(table.columns)}.")
    for column, value in zip(table.columns, row, strict=True):
        if value is None and (column.name == table.key or not column.nullable):
            raise CodecError(f"Column {column.name!r} of table {table.name!r} may not be null.")
    return tuple(
        value if value is None else keep(table, column, value) for column, value in zip(table.columns, row, strict=True)
    )


def keep(table: Table, column: Column, value: Any) -> Any:
    """A value as it will be read; raises CodecError where no store could keep it in such a column."""
    kept = _kept(column.kind, value)
    if kept is None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise CodecError(f"Column {column.name!r} of table {table.name!r} holds {column.kind.value}, and not {shown}.")
    return kept


def _kept(kind: Kind, value: Any) -> Any:
    match kind, value:
        case ((Kind.TEXT | Kind.JSON), str()) if not any("\ud800" <= char <= "\udfff" for char in value):
            return str.__str__(value)
        case Kind.INTEGER, int() if -(2**63) <= value < 2**63:
            return int(value)
        case Kind.REAL, int() | float() if not math.isnan(value):  # which would equal nothing, not even itself
            return float(value)
        case Kind.BOOLEAN, bool():
            return value
        case Kind.DECIMAL, Decimal() if value.is_finite():
            return value
        case Kind.DECIMAL, int():
            return Decimal(value)
        case Kind.TIMESTAMP, datetime() if value.tzinfo is not None:
            try:
                return value.astimezone(UTC)
            except OverflowError:
                return None
        case Kind.DATE, date() if not isinstance(value, datetime):
            return value
        case Kind.UUID, UUID():
            return value
        case Kind.BYTES, bytes() | bytearray() | memoryview():
            return bytes(value)
    return None


def fits(table: Table, row: Row, condition: Condition) -> bool:
    """Whether a row meets a condition. As in SQL, null is neither equal nor unequal to anything."""
    index = place(table, condition.column)
    column, value = table.columns[index], row[index]
    op, wanted = condition.op, condition.value
    if op is Op.NULL:
        return (value is None) is bool(wanted)
    if op is Op.IN:
        return value in [keep(table, column, one) for one in wanted if one is not None]
    if wanted is None:
        return False
    wanted = keep(table, column, wanted)
    if value is None:
        return False
    if op in _COMPARE:
        return _COMPARE[op](value, wanted)
    if not isinstance(value, str):
        raise CodecError(f"Column {column.name!r} of table {table.name!r} is not compared as text.")
    if op is Op.STARTSWITH:
        return value.startswith(wanted)
    return wanted.translate(_LOWER) in value.translate(_LOWER)


def sort(table: Table, rows: list[Row], order: tuple[Ordering, ...]) -> None:
    """Put rows in order. By the last column first, and stably, so that the first column counts most."""
    for ordering in reversed(order):
        index = place(table, ordering.column)
        rows.sort(key=lambda row, index=index: _rank(row[index]), reverse=ordering.descending)  # type: ignore[misc]


def comes_after(table: Table, row: Row, order: tuple[Ordering, ...], values: tuple[Any, ...]) -> bool:
    """Whether a row sorts after these values."""
    if len(values) != len(order):
        raise CodecError(f"A page of {table.name!r} goes on after {len(order)} values, not {len(values)}.")
    for ordering, value in zip(order, values, strict=True):
        index = place(table, ordering.column)
        start = _rank(None if value is None else keep(table, table.columns[index], value))
        mine = _rank(row[index])
        if mine != start:
            return (mine > start) is not ordering.descending
    return False


def _rank(value: Any) -> tuple[bool, Any]:
    """A value as it sorts: null is the least."""
    return (value is not None, value)
