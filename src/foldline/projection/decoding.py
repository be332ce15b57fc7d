"""Rows of SQL queries, whose values are as the database has them, as the types asked for."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from foldline.errors import CodecError
from foldline.projection.columns import column_type, strip
from foldline.store.spi import Kind, Row

T = TypeVar("T")


_any = msgspec.json.Decoder().decode


def _same(value: Any) -> Any:
    return value


def rows_as(type_: type[T], columns: Sequence[str], rows: Sequence[Row]) -> list[T]:
    """Rows with these columns as values of a type; raises CodecError where they do not fit it."""
    base, _ = strip(type_)
    try:
        if base is dict or typing.get_origin(base) is dict or base is Any:
            return [typing.cast(T, dict(zip(columns, row, strict=True))) for row in rows]
        if base is tuple or typing.get_origin(base) is tuple:
            return _tuples(type_, base, columns, rows)
        fields = _fields(base)
        if fields is None:
            return _single(type_, columns, rows)
        return _records(type_, fields, columns, rows)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise CodecError(f"A row of the query is no {getattr(type_, '__name__', type_)}: {error}") from None


def _single(type_: Any, columns: Sequence[str], rows: Sequence[Row]) -> list[Any]:
    if len(columns) != 1:
        raise CodecError(
            f"The query has {len(columns)} columns, too many for one {getattr(type_, '__name__', type_)}: "
            "select one, or ask for a struct with their names."
        )
    read = _reader(type_)
    return [msgspec.convert(read(row[0]), type_) for row in rows]


def _tuples(type_: Any, base: Any, columns: Sequence[str], rows: Sequence[Row]) -> list[Any]:
    types = typing.get_args(base)
    if not types:
        return list(rows)
    if len(types) == 2 and types[1] is Ellipsis:
        types = (types[0],) * len(columns)
    readers = [_reader(one) for one in types]
    if len(readers) != len(columns):
        raise ValueError(f"the query has {len(columns)} columns")
    return [msgspec.convert([read(value) for read, value in zip(readers, row, strict=True)], type_) for row in rows]


def _records(type_: Any, fields: dict[str, Any], columns: Sequence[str], rows: Sequence[Row]) -> list[Any]:
    unknown = [column for column in columns if column not in fields]
    if unknown:
        raise ValueError(f"it has no field {unknown[0]!r}; its fields are {', '.join(fields)}")
    readers = [_reader(fields[column]) for column in columns]
    found = [{column: read(value) for column, read, value in zip(columns, readers, row, strict=True)} for row in rows]
    if not hasattr(type_, "_fields"):
        return [msgspec.convert(one, type_) for one in found]
    # A named tuple is read by position, so its own defaults are put where a column is missing.
    missing = {name: value for name, value in type_._field_defaults.items() if name not in columns}
    return [msgspec.convert([{**missing, **one}.get(name) for name in fields], type_) for one in found]


@lru_cache(maxsize=512)
def _fields(base: Any) -> dict[str, Any] | None:
    """The fields of a struct, dataclass, typed dict or named tuple; None for other types."""
    origin = typing.get_origin(base) or base
    if not isinstance(origin, type):
        return None
    if issubclass(origin, msgspec.Struct):
        return {field.encode_name: field.type for field in msgspec.structs.fields(base)}
    if dataclasses.is_dataclass(origin) or typing.is_typeddict(origin) or hasattr(origin, "_fields"):
        return typing.get_type_hints(origin, include_extras=True)
    return None


@lru_cache(maxsize=1024)
def _reader(annotation: Any) -> Callable[[Any], Any]:
    """Turns a database's value into one that msgspec converts to the type."""
    column = column_type("A field of the query's type", "value", annotation)
    if column.kind is Kind.BOOLEAN:
        return lambda value: bool(value) if value in (0, 1) else value
    if column.kind is Kind.INTEGER:
        # A sum of integers is a decimal number where the database has integers of a fixed size.
        return lambda value: int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value
    if column.kind is Kind.JSON:
        return lambda value: _any(value.encode()) if isinstance(value, str) else value
    return _same
