"""Which column a field's type becomes, and how its values go in and out."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NewType, Union
from uuid import UUID

import msgspec

from foldline.domain import codec
from foldline.errors import DefinitionError
from foldline.store.spi import Column, Kind

PLAIN: dict[Any, Kind] = {
    str: Kind.TEXT,
    int: Kind.INTEGER,
    float: Kind.REAL,
    bool: Kind.BOOLEAN,
    Decimal: Kind.DECIMAL,
    datetime: Kind.TIMESTAMP,
    date: Kind.DATE,
    UUID: Kind.UUID,
    bytes: Kind.BYTES,
}
"""The types whose values cross to the store as they are."""

VALUE_TYPES: dict[Kind, type] = {**{kind: type_ for type_, kind in PLAIN.items()}, Kind.JSON: str}
"""The Python type of each kind's values."""

LEAST_INTEGER, GREATEST_INTEGER = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A field as a column.

    ``base`` is the field's type without ``None`` and markers. ``encode`` and ``decode`` turn its values into
    the column's and back; None where they are the same. ``shape`` changes where old values could not be read
    any more.
    """

    name: str
    kind: Kind
    nullable: bool
    base: Any
    shape: Any = None
    encode: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None

    @property
    def column(self) -> Column:
        """How the store knows it."""
        return Column(self.name, self.kind, self.nullable)

    @property
    def value_type(self) -> type:
        """The Python type of its values as they cross to the store."""
        return VALUE_TYPES[self.kind]

    @property
    def is_open(self) -> bool:
        """Whether any value of its kind will do, as opposed to an enum's or a literal's."""
        return self.encode is None

    def plain(self, value: Any) -> Any:
        """An enum's member as its value; anything else as it is."""
        return value.value if isinstance(value, enum.Enum) else value

    def stored(self, value: Any) -> Any:
        """The value as the column keeps it; raises ValueError for one that does not fit."""
        if value is None:
            if self.nullable:
                return None
            raise ValueError(f"holds None, but is no optional field (use {_name(self.base)} | None)")
        if self.encode is not None:
            return self.encode(value)
        return _checked(self, value)


def strip(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without ``Annotated``, ``NewType`` and aliases around it, and the markers it was given."""
    markers: tuple[Any, ...] = ()
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            markers += annotation.__metadata__
            annotation = annotation.__origin__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation, markers


def column_type(where: str, name: str, annotation: Any) -> ColumnType:
    """The column of a field; raises DefinitionError, naming ``where``, for a type no column can hold."""
    base, _ = strip(annotation)
    nullable = base is Any
    if typing.get_origin(base) in (Union, types.UnionType):
        members = [member for member in typing.get_args(base) if member is not types.NoneType]
        nullable = len(members) < len(typing.get_args(base))
        if nullable:
            base = strip(members[0])[0] if len(members) == 1 else Union[tuple(members)]  # noqa: UP007
    if typing.get_origin(base) is Literal:
        values = typing.get_args(base)
        nullable = nullable or None in values
        return _by_value(where, name, nullable, base, {value: value for value in values if value is not None})
    if isinstance(base, type) and issubclass(base, enum.Enum):
        return _by_value(where, name, nullable, base, {member: member.value for member in base})
    kind = PLAIN.get(base) if isinstance(base, type) else None
    if kind is not None:
        return ColumnType(name, kind, nullable, base)
    return _json(where, name, nullable, base)


def _by_value(where: str, name: str, nullable: bool, base: Any, values: dict[Any, Any]) -> ColumnType:
    for plain in (str, int):
        if values and all(isinstance(value, plain) and not isinstance(value, bool) for value in values.values()):
            break
    else:
        raise DefinitionError(
            f"{where} is {_name(base)}, whose values are neither all text nor all whole numbers: "
            "give it values of one kind, so that they fit a column."
        )
    # Members and their bare values are both taken, for an enum's field is often set from a plain value.
    stored = {value: plain(value) for value in values.values()}
    stored.update({member: plain(value) for member, value in values.items()})
    members = {plain(value): member for member, value in values.items()}

    def encode(value: Any) -> Any:
        try:
            return stored[value]
        except (KeyError, TypeError):
            raise ValueError(f"holds {value!r}, which is none of {_name(base)}") from None

    same = all(type(member) is plain for member in values)
    return ColumnType(
        name, PLAIN[plain], nullable, base, sorted(members), encode, None if same else members.__getitem__
    )


def _json(where: str, name: str, nullable: bool, base: Any) -> ColumnType:
    try:
        shape = _without_prose(msgspec.json.schema(base))
    except (TypeError, NameError) as error:
        raise DefinitionError(
            f"{where} has the type {_name(base)}, which no column can hold ({error}): use a plain type, "
            "an enum, or something that can be written as JSON."
        ) from None

    def encode(value: Any) -> str:
        try:
            text = codec.encode(value)
            codec.decode(base, text)
        except Exception as error:
            raise ValueError(f"holds a {type(value).__name__} that does not fit {_name(base)}: {error}") from error
        return text.decode()

    def decode(value: Any) -> Any:
        return codec.decode(base, value.encode())

    return ColumnType(name, Kind.JSON, nullable, base, shape, encode, decode)


def _checked(column: ColumnType, value: Any) -> Any:
    """A value of a plain column as exactly its type, where that loses nothing."""
    expected = VALUE_TYPES[column.kind]
    if type(value) is not expected:
        if expected is str and isinstance(value, str):
            value = str.__str__(value)
        elif expected is bytes and isinstance(value, bytes):
            value = bytes(value)
        elif expected is int and isinstance(value, int) and not isinstance(value, bool):
            value = int(value)
        elif expected in (float, Decimal) and isinstance(value, int) and not isinstance(value, bool):
            value = expected(value)
        else:
            raise ValueError(f"holds a {type(value).__name__}, {value!r:.80}, but is {_name(column.base)}")
    if column.kind is Kind.INTEGER and not LEAST_INTEGER <= value <= GREATEST_INTEGER:
        raise ValueError("holds a whole number beyond 64 bits: use Decimal")
    if column.kind is Kind.REAL and value != value:
        raise ValueError("holds NaN, which no column can tell from null")
    if column.kind is Kind.DECIMAL and not value.is_finite():
        raise ValueError(f"holds {value}, which is no number")
    if column.kind is Kind.TIMESTAMP and value.tzinfo is None:
        raise ValueError("holds a time without a UTC offset")
    return value


FITS: dict[Kind, Callable[[Any], bool]] = {
    Kind.INTEGER: lambda value: LEAST_INTEGER <= value <= GREATEST_INTEGER,
    Kind.REAL: lambda value: bool(value == value),
    Kind.DECIMAL: Decimal.is_finite,
    Kind.TIMESTAMP: lambda value: value.tzinfo is not None,
}
"""For the kinds of which a value of the right type may still not fit: whether one does."""


def _without_prose(schema: Any) -> Any:
    """A JSON schema without titles and descriptions, for a new docstring must not look like a new shape."""
    if isinstance(schema, dict):
        return {
            key: _without_prose(value)
            for key, value in schema.items()
            if not (key in ("title", "description") and isinstance(value, str))
        }
    return [_without_prose(item) for item in schema] if isinstance(schema, list) else schema


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
