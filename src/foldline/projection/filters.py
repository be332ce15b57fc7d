"""Filters, orders and cursors of queries: checked against the view's fields, never part of SQL text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import msgspec

from foldline.errors import Fault, ValidationFailed
from foldline.projection.columns import GREATEST_INTEGER, LEAST_INTEGER, ColumnType
from foldline.projection.spec import digest
from foldline.projection.view import ViewType
from foldline.store.spi import Condition, Kind, Op, Ordering, Row

MOST_ROWS = 1000
"""The most rows of one page."""

MOST_VALUES = 1000
"""The most values of one ``__in`` filter."""

_CURSOR_BYTES = 4096
_ORDERED = frozenset({Kind.TEXT, Kind.INTEGER, Kind.REAL, Kind.DECIMAL, Kind.TIMESTAMP, Kind.DATE, Kind.UUID})
_SORTED = _ORDERED | {Kind.BOOLEAN}
_COMPARISONS = (Op.LT, Op.LE, Op.GT, Op.GE)
_INTEGER = Annotated[int, msgspec.Meta(ge=LEAST_INTEGER, le=GREATEST_INTEGER)]


def operators(column: ColumnType) -> tuple[Op, ...]:
    """How a column can be compared."""
    if column.kind is Kind.JSON:
        return (Op.NULL,)
    found = [Op.EQ, Op.NE, Op.IN, Op.NULL]
    if column.kind in _ORDERED:
        found += _COMPARISONS
    if column.kind is Kind.TEXT:
        found += [Op.CONTAINS, Op.STARTSWITH]
    return tuple(found)


def conditions(view: ViewType[Any], filters: Mapping[str, object], *, strict: bool = True) -> tuple[Condition, ...]:
    """Filters such as ``status="PAID"`` or ``total__gte=100`` as conditions.

    Values are converted to the column's type; with ``strict=False`` from text too, and ``__in`` takes text
    with commas. Raises ValidationFailed with every fault: an unknown field or operator, or a value that does
    not fit.
    """
    faults: list[Fault] = []
    found: list[Condition] = []
    columns = {column.name: column for column in view.columns}
    for name, value in filters.items():
        path = f"$.{name}"
        field, _, operator = name.partition("__") if name not in columns else (name, "", "")
        column = columns.get(field)
        if column is None:
            faults.append(Fault(path, f"There is no such field; known are {', '.join(columns)}"))
            continue
        allowed = operators(column)
        op = next((one for one in allowed if one.value == (operator or "eq")), None)
        if op is None:
            said = ", ".join(f"{field}__{one.value}" for one in allowed)
            faults.append(Fault(path, f"It cannot be filtered so; known are {said}"))
            continue
        try:
            found.append(_condition(column, op, value, strict))
        except (ValueError, msgspec.ValidationError) as error:
            faults.append(Fault(path, str(error)))
    if faults:
        raise ValidationFailed(f"A filter of {view.name}", faults)
    return tuple(found)


def ordering(view: ViewType[Any], order_by: str | Iterable[str] | None) -> tuple[Ordering, ...]:
    """An order such as ``"-total"`` or ``("status", "-total")``, made total by the key.

    Raises ValidationFailed for a field that is unknown, named twice, or not to be sorted by.
    """
    columns = {column.name: column for column in view.columns}
    key = view.key.name
    names = [] if order_by is None else order_by.split(",") if isinstance(order_by, str) else list(order_by)
    found: dict[str, Ordering] = {}
    for name in names:
        field = name.strip().removeprefix("-")
        column = columns.get(field)
        if column is None or column.kind not in _SORTED:
            known = ", ".join(one.name for one in view.columns if one.kind in _SORTED)
            _refuse(view, "order_by", f"{field!r} is no field to sort by; known are {known}")
        if field in found:
            _refuse(view, "order_by", f"it names {field!r} twice")
        found[field] = Ordering(field, name.strip().startswith("-"))
        if field == key:
            return tuple(found.values())
    return (*found.values(), Ordering(key))


def check_limit(view: ViewType[Any], limit: int) -> int:
    """The limit of a page; raises ValidationFailed for one out of bounds."""
    if not 1 <= limit <= MOST_ROWS:
        _refuse(view, "limit", f"it is {limit!r}; 1 to {MOST_ROWS} rows can be asked for")
    return limit


def key_value(view: ViewType[Any], key: object, *, strict: bool = True) -> Any:
    """A key as the table has it; raises ValidationFailed for one of another type."""
    try:
        return _value(view.key, key, strict)
    except (ValueError, msgspec.ValidationError) as error:
        _refuse(view, view.key.name, str(error))


def cursor_after(view: ViewType[Any], order: Sequence[Ordering], where: Sequence[Condition], row: Row) -> str:
    """An opaque, URL-safe text that stands for the place right after a row."""
    at = {column.name: index for index, column in enumerate(view.columns)}
    values = msgspec.json.encode([row[at[one.column]] for one in order])
    seal = _seal(view, order, where, values)
    return base64.urlsafe_b64encode(seal + values).decode().rstrip("=")


def read_cursor(
    view: ViewType[Any], order: Sequence[Ordering], where: Sequence[Condition], cursor: str
) -> tuple[Any, ...]:
    """The sort values that a cursor stands for.

    Raises ValidationFailed for text that is no cursor, or one of another view, order or filter.
    """
    try:
        if len(cursor) > _CURSOR_BYTES:
            raise ValueError("too long")
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        seal, values = raw[:12], raw[12:]
        if seal != _seal(view, order, where, values):
            raise ValueError("of another query")
        columns = {column.name: column for column in view.columns}
        types = tuple(_plain_type(columns[one.column]) | None for one in order)
        decoded: tuple[Any, ...] = msgspec.json.decode(values, type=tuple[types])  # type: ignore[valid-type]
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        _refuse(
            view,
            "after",
            "it is no cursor of this query: pass on `next` as it was given, with the same filters and order",
        )
    return decoded


def _seal(view: ViewType[Any], order: Sequence[Ordering], where: Sequence[Condition], values: bytes) -> bytes:
    said = digest(view.name, view.fingerprint, list(order), sorted(map(repr, where)), values)
    return bytes.fromhex(said)


def _condition(column: ColumnType, op: Op, value: object, strict: bool) -> Condition:
    if op is Op.NULL:
        return Condition(column.name, op, msgspec.convert(value, bool, strict=strict))
    if value is None and op in (Op.EQ, Op.NE):
        return Condition(column.name, Op.NULL, op is Op.EQ)
    if op in (Op.CONTAINS, Op.STARTSWITH):
        return Condition(column.name, op, _text(msgspec.convert(value, str)))
    if op is Op.IN:
        if isinstance(value, str) and not strict:
            value = value.split(",")
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise ValueError("Expected a list of values")
        values = tuple(_value(column, one, strict) for one in value)
        if len(values) > MOST_VALUES:
            raise ValueError(f"It lists {len(values)} values; {MOST_VALUES} are the most")
        return Condition(column.name, op, values)
    if op in _COMPARISONS and column.kind is Kind.TEXT and not column.is_open:
        # An enum's values are compared as text, so any text will do.
        return Condition(column.name, op, _text(msgspec.convert(column.plain(value), str)))
    return Condition(column.name, op, _value(column, value, strict))


def _value(column: ColumnType, value: object, strict: bool) -> Any:
    """A value to compare with, as the column has its values."""
    if column.is_open:
        return _fitting(column, msgspec.convert(value, _plain_type(column), strict=strict))
    return column.stored(msgspec.convert(column.plain(value), column.base, strict=strict))


def _fitting(column: ColumnType, value: Any) -> Any:
    return _text(value) if column.kind is Kind.TEXT else column.stored(value)


def _plain_type(column: ColumnType) -> Any:
    return _INTEGER if column.kind is Kind.INTEGER else column.value_type


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("It holds half of a surrogate pair, which is no text") from None
    return str.__str__(value)


def _refuse(view: ViewType[Any], what: str, why: str) -> NoReturn:
    raise ValidationFailed(f"A query of {view.name}", [Fault(f"$.{what}", why)])
