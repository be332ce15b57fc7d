"""A view's columns in PostgreSQL: how each kind is kept, and rows on their way in and out, column by column.

Every kind has PostgreSQL's own type, so that any SQL can reckon with it. Two things that these types cannot keep are
written otherwise: text has no U+0000, so that and the three characters after it are written as U+0001 and two others,
which keeps order, beginnings and parts of text as they are; and a decimal has no negative zero and no exponent, so
``-0.00`` comes back as ``0.00`` and ``1E+3`` as ``1000``, which are equal.

A batch goes in as one array a column. Numbers with a point go as text, and days and moments as integers: this is
faster than asyncpg's own ways, and those would take the last day of the year 9999 for infinity.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from foldline.errors import CodecError, DefinitionError
from foldline.store.postgres.gate import ours
from foldline.store.spi import Column, Kind, Row, Table

Convert: TypeAlias = Callable[[Any], Any]
Values: TypeAlias = Sequence[Any]

STORAGE = {
    Kind.TEXT: 'text COLLATE "C"',
    Kind.INTEGER: "bigint",
    Kind.REAL: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.DECIMAL: "numeric",
    Kind.TIMESTAMP: "timestamp with time zone",
    Kind.DATE: "date",
    Kind.UUID: "uuid",
    Kind.BYTES: "bytea",
    Kind.JSON: "json",
}
"""The column types. Text by code point, as every store sorts it."""

_SENT = {
    Kind.TEXT: ("text", "{}"),
    Kind.INTEGER: ("bigint", "{}"),
    Kind.REAL: ("double precision", "{}"),
    Kind.BOOLEAN: ("boolean", "{}"),
    Kind.DECIMAL: ("text", "{}::numeric"),
    # Whole seconds and the rest, for an interval is multiplied in floating point.
    Kind.TIMESTAMP: (
        "bigint",
        "(timestamptz '1970-01-01Z' + {0} / 1000000 * interval '1 second' + {0} % 1000000 * interval '1 microsecond')",
    ),
    Kind.DATE: ("integer", "(date '0001-01-01' + ({} - 1))"),
    Kind.UUID: ("uuid", "{}"),
    Kind.BYTES: ("bytea", "{}"),
    Kind.JSON: ("text", "{}::json"),
}
"""The type that values are sent as, and what makes them the column's."""

LONGEST_NAME = 63
"""The most bytes of a name; PostgreSQL would cut off the rest without a word."""

MOST_BYTES = 32 * 1024 * 1024
"""About how many bytes of text and the like go in one statement; a single row may have more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LEAST, _BEYOND = -(2**63), 2**63

_ESCAPES = {0: "\x01\x02\x02", 1: "\x01\x02\x03", 2: "\x01\x03\x02", 3: "\x01\x03\x03"}
_ESCAPED = {written: chr(code) for code, written in _ESCAPES.items()}
_find_escaped = re.compile("\x01[\x02\x03]{2}").sub


def quote(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def parameter(kind: Kind, number: int) -> str:
    """A parameter as a value of this kind."""
    sent, made = _SENT[kind]
    return made.format(f"${number}::{sent}")


def parameters(kind: Kind, number: int) -> str:
    """An array parameter as the values of this kind that something may equal."""
    sent, made = _SENT[kind]
    array = f"${number}::{sent}[]"
    if kind is Kind.DECIMAL:
        return f"{array}::numeric[]"
    return array if made == "{}" else f"ARRAY(SELECT {made.format('value')} FROM unnest({array}) AS sent (value))"  # nosec B608


def escaped(text: str) -> str:
    """Text without the characters that PostgreSQL cannot keep; other text is the same."""
    return text.translate(_ESCAPES) if _unusual(text) else text


def unescaped(text: str) -> str:
    """Text as it was before it was escaped."""
    return _find_escaped(lambda found: _ESCAPED[found[0]], text)


def _unusual(text: str) -> bool:
    return "\0" in text or "\1" in text or "\2" in text or "\3" in text


# --- Values on their way in ------------------------------------------------------------------------------------------


def _text(value: str) -> str:
    return str.__str__(value)


def _real(value: float) -> float:
    if math.isnan(value):
        raise ValueError("NaN is no number that can be compared")
    return float(value)


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError("only finite numbers can be kept")
    text = str(value)
    if ("E" in text or len(text) > 16_000) and not (
        value.adjusted() < 131_072 and int(value.as_tuple().exponent) >= -16_383
    ):
        raise ValueError("a number has at most 131072 digits before its point and 16383 after it")
    return text


def _micros(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("it has no UTC offset")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)  # refuses what in UTC would lie outside the years 1 to 9999
    return (moment - _EPOCH) // _MICROSECOND


def _converter(kind: Kind, cls: type) -> Convert | str | None:
    """How a value of this class is sent to a column of that kind: None as it is; a text says why it cannot be."""
    match kind:
        case Kind.TEXT | Kind.JSON if issubclass(cls, str):
            return None if cls is str else _text
        case Kind.INTEGER if issubclass(cls, int):
            return None if cls is int else int
        case Kind.REAL if issubclass(cls, (float, int)):
            return _real
        case Kind.BOOLEAN if cls is bool:
            return None
        case Kind.DECIMAL if issubclass(cls, Decimal):
            return _decimal
        case Kind.DECIMAL if issubclass(cls, int):
            return lambda value: _decimal(Decimal(int(value)))
        case Kind.TIMESTAMP if issubclass(cls, datetime):
            return _micros
        case Kind.DATE if issubclass(cls, date) and not issubclass(cls, datetime):
            return date.toordinal
        case Kind.UUID if issubclass(cls, UUID):
            return None
        case Kind.BYTES if issubclass(cls, (bytes, bytearray, memoryview)):
            return None if cls is bytes else bytes
    return f"a {kind.value} column does not take {cls.__name__}"


class TableForm:
    """All that is worked out once for a table: its statements, and how its columns are sent and read."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = {column.name: column for column in table.columns}
        _check_names(table)
        name, key = quote(table.name), quote(table.key)
        key_kind = self.columns[table.key].kind
        self.names = ", ".join(quote(column.name) for column in table.columns)
        self.select = f"SELECT {self.names} FROM {name}"  # nosec B608
        self.load_some = f"{self.select} WHERE {key} = ANY({parameters(key_kind, 1)})"
        self.delete_some = f"DELETE FROM {name} WHERE {key} = ANY({parameters(key_kind, 1)})"  # nosec B608
        self.upsert = self._upsert(name, key)
        self._key = table.columns.index(self.columns[table.key])
        self._sized = [
            index for index, column in enumerate(table.columns) if column.kind in (Kind.TEXT, Kind.JSON, Kind.BYTES)
        ]
        self._load: list[tuple[int, Column, Callable[[TableForm, Column, Values], Values]]] = [
            (index, column, _LOADERS[column.kind])
            for index, column in enumerate(table.columns)
            if column.kind in _LOADERS
        ]

    def _upsert(self, name: str, key: str) -> str:
        columns = self.table.columns
        sent = ", ".join(f"${number}::{_SENT[column.kind][0]}[]" for number, column in enumerate(columns, 1))
        made = ", ".join(_SENT[column.kind][1].format(f"c{number}") for number, column in enumerate(columns, 1))
        marks = ", ".join(f"c{number}" for number in range(1, len(columns) + 1))
        others = [quote(column.name) for column in columns if column.name != self.table.key]
        then = f"UPDATE SET {', '.join(f'{other} = excluded.{other}' for other in others)}" if others else "NOTHING"  # nosec B608
        return (
            f"INSERT INTO {name} ({self.names}) SELECT {made} FROM unnest({sent}) AS sent ({marks})"  # nosec B608
            f" ON CONFLICT ({key}) DO {then}"
        )

    def definition(self) -> list[str]:
        """The statements that make the table and its indexes."""
        table = self.table
        name = quote(table.name)
        lines = []
        for column in table.columns:
            is_key = column.name == table.key
            required = "" if column.nullable and not is_key else " NOT NULL"
            primary = " PRIMARY KEY" if is_key else ""
            lines.append(f"{quote(column.name)} {STORAGE[column.kind]}{required}{primary}")
        made = [f"CREATE TABLE {name} ({', '.join(lines)})"]
        names: set[str] = set()
        for index in table.indexes:
            # With the key at its end the index gives pages in their order without sorting.
            columns = [*index, *([] if table.key in index else [table.key])]
            expressions = ", ".join(self.ordered(self.column(column)) for column in columns)
            index_name = _index_name(table.name, index, names)
            names.add(index_name)
            made.append(f"CREATE INDEX {quote(index_name)} ON {name} ({expressions})")
        return made

    def column(self, name: str) -> Column:
        """A column of the table; raises DefinitionError where it has none of that name."""
        column = self.columns.get(name)
        if column is None:
            raise DefinitionError(
                f"Table {self.table.name!r} has no column {name!r}: it has {', '.join(self.columns)}."
            )
        return column

    def nullable(self, column: Column) -> bool:
        """Whether a column may have nulls; the key has none, whatever its declaration says."""
        return column.nullable and column.name != self.table.key

    def expression(self, column: Column) -> str:
        """What stands for a column where it is compared, sorted by or indexed."""
        name = quote(column.name)
        return f'({name}::text COLLATE "C")' if column.kind is Kind.JSON else name

    def ordered(self, column: Column, descending: bool = False) -> str:
        """A column to sort or index by, with nulls as the least of values."""
        direction = " DESC" if descending else ""
        # Only where there may be nulls, so that an index also serves those who write ORDER BY and no more.
        nulls = f" NULLS {'LAST' if descending else 'FIRST'}" if self.nullable(column) else ""
        return f"{self.expression(column)}{direction}{nulls}"

    def value(self, column: Column, value: Any) -> Any:
        """A value as it is sent; raises CodecError naming the column."""
        convert = _converter(column.kind, type(value))
        if isinstance(convert, str):
            raise self._fault(column, value, convert)
        try:
            sent = value if convert is None else convert(value)
            if column.kind is Kind.TEXT:
                sent = escaped(sent)
            if isinstance(sent, str):
                sent.encode()
        except UnicodeEncodeError as error:
            raise self._fault(column, value, "half of a surrogate pair is no text") from error
        except (ValueError, OverflowError) as error:
            raise self._fault(column, value, str(error)) from error
        if isinstance(sent, int) and not _LEAST <= sent < _BEYOND:
            raise self._fault(column, value, "integers have at most 64 bits")
        if column.kind is Kind.JSON and "\0" in sent:
            raise self._fault(column, value, "it is no JSON text")
        return sent

    def several(self, column: Column, values: Iterable[Any]) -> Values:
        """Values, none of them null, that a column may equal, as they are sent."""
        return self._column(column, tuple(values))

    def keys(self, keys: Collection[Any]) -> Values:
        """Keys as they are sent."""
        return self.several(self.columns[self.table.key], keys)

    def store(self, rows: Sequence[Row]) -> list[list[Values]]:
        """Rows as they are sent: of each key the last, as one sequence a column, in one or more parts."""
        width = len(self.table.columns)
        try:
            columns = list(zip(*rows, strict=True))
        except ValueError:
            columns = []
        if len(columns) != width:
            wrong = next(len(row) for row in rows if len(row) != width)
            raise CodecError(f"A row of table {self.table.name!r} has {wrong} values, not {width}.")
        sent = [self._column(column, values) for column, values in zip(self.table.columns, columns, strict=True)]
        # Numbers are the same key however many zeros they end with.
        is_number = self.table.columns[self._key].kind is Kind.DECIMAL
        keys = columns[self._key] if is_number else sent[self._key]
        if len(set(keys)) < len(keys):
            last = sorted({key: place for place, key in enumerate(keys)}.values())
            sent = [[values[place] for place in last] for values in sent]
        return _parts(sent, self._sized)

    def load(self, records: Sequence[Iterable[Any]]) -> list[Row]:
        """Rows with the Python values that their columns promise."""
        if not records:
            return []
        if self._load:
            columns: list[Values] = list(zip(*records, strict=True))
            changed = False
            for index, column, load in self._load:
                values = load(self, column, columns[index])
                if values is not columns[index]:
                    columns[index], changed = values, True
            if changed:
                return list(zip(*columns, strict=True))
        return list(map(tuple, records))

    def explain(self, rows: Sequence[Row], said: str) -> CodecError:
        """The error for rows that asyncpg or PostgreSQL would not take: which value of which column it was."""
        for row in rows:
            for column, value in zip(self.table.columns, row, strict=True):
                if value is not None:
                    try:
                        self.value(column, value)
                    except CodecError as found:
                        return found
        kinds = {column.kind for column in self.table.columns}
        hint = f" One of its {Kind.JSON.value} columns may hold what is no JSON." if Kind.JSON in kinds else ""
        return CodecError(f"A row of table {self.table.name!r} cannot be kept: {said}.{hint}")

    def _column(self, column: Column, values: tuple[Any, ...]) -> Values:
        """A column's values as they are sent; raises CodecError naming it. Does nothing a value where it can."""
        kinds = set(map(type, values))
        if type(None) in kinds:
            if not self.nullable(column):
                raise self._fault(column, None, "it may not be null")
            kinds.discard(type(None))
            full = [value for value in values if value is not None]
        else:
            full = values  # type: ignore[assignment]
        try:
            return self._sent(column, kinds, values, full)
        except CodecError:
            raise
        except (ValueError, OverflowError, TypeError):
            for value in full:
                self.value(column, value)
            raise

    def _sent(self, column: Column, kinds: set[type], values: tuple[Any, ...], full: Values) -> Values:
        kind = column.kind
        if kind is Kind.REAL and kinds == {float}:
            if any(map(math.isnan, full)):
                raise ValueError
            return values
        converters = {cls: _converter(kind, cls) for cls in kinds}
        for cls, convert in converters.items():
            if isinstance(convert, str):
                raise self._fault(column, next(value for value in full if type(value) is cls), convert)
        sent: Values = values
        if any(converters.values()):
            if len(converters) == 1 and full is values:
                sent = list(map(next(iter(converters.values())), values))  # type: ignore[arg-type]
            else:
                sent = [
                    value if value is None or (convert := converters[type(value)]) is None else convert(value)  # type: ignore[operator]
                    for value in values
                ]
        if kind is Kind.INTEGER and full and not _LEAST <= min(full) <= max(full) < _BEYOND:
            raise OverflowError
        if kind is Kind.TEXT or kind is Kind.JSON:
            together = "".join(sent if full is values else filter(None, sent))
            if not together.isascii():
                together.encode()  # raises where half of a surrogate pair is in it
            if _unusual(together):
                if kind is Kind.JSON:
                    raise ValueError
                sent = [None if value is None else escaped(value) for value in sent]
        return sent

    def _fault(self, column: Column, value: Any, reason: str) -> CodecError:
        # Python writes no integer of more than 4300 digits, not even to complain of it.
        is_long = isinstance(value, int) and value.bit_length() > 1000
        shown = f"an integer of {value.bit_length()} bits" if is_long else repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return CodecError(f"Column {column.name!r} of table {self.table.name!r} cannot keep {shown}: {reason}.")


@lru_cache(maxsize=1024)
def form(table: Table) -> TableForm:
    """The table's form; raises DefinitionError for a table that cannot be."""
    return TableForm(table)


# --- Values on their way out -----------------------------------------------------------------------------------------


def _load_texts(form: TableForm, column: Column, values: Values) -> Values:
    if "\1" not in "".join(filter(None, values)):
        return values
    return [None if value is None else unescaped(value) for value in values]


def _load_uuids(form: TableForm, column: Column, values: Values) -> Values:
    return [None if value is None else UUID(bytes=value.bytes) for value in values]


def _load_moments(form: TableForm, column: Column, values: Values) -> Values:
    # asyncpg tells infinity, which no row of ours holds, as a time without an offset.
    if None in map(attrgetter("tzinfo"), filter(None, values)):
        raise CodecError(f"Column {column.name!r} of table {form.table.name!r} holds infinity, which is no time.")
    return values


_LOADERS: dict[Kind, Callable[[TableForm, Column, Values], Values]] = {
    Kind.TEXT: _load_texts,
    Kind.UUID: _load_uuids,
    Kind.TIMESTAMP: _load_moments,
}


def plain_rows(records: Sequence[asyncpg.Record]) -> list[Row]:
    """The rows of a query that somebody wrote by hand, with Python's own UUIDs and the rest as asyncpg has it."""
    if not records or not records[0]:
        return list(map(tuple, records))
    columns: list[Values] = list(zip(*records, strict=True))
    changed = False
    for index, values in enumerate(columns):
        if any(issubclass(cls, UUID) and cls is not UUID for cls in set(map(type, values))):
            columns[index] = [UUID(bytes=value.bytes) if isinstance(value, UUID) else value for value in values]
            changed = True
    return list(zip(*columns, strict=True)) if changed else list(map(tuple, records))


# --- Names and sizes -------------------------------------------------------------------------------------------------


def check_name(what: str, name: str) -> None:
    """Raise DefinitionError for a name that PostgreSQL would not keep as it is."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not name or "\0" in name or not size:
        raise DefinitionError(f"{what} cannot be named {name!r}.")
    if size > LONGEST_NAME:
        raise DefinitionError(
            f"{what} cannot be named {name!r} in PostgreSQL: that is {size} bytes long, and {LONGEST_NAME} is the most."
        )


def _check_names(table: Table) -> None:
    if ours(table.name):
        raise DefinitionError(
            f"A view cannot be named {table.name!r}: names that start with foldline_ or pg_ are taken."
        )
    check_name("A view", table.name)
    for column in table.columns:
        check_name(f"A column of table {table.name!r}", column.name)
    lowered = [column.name.lower() for column in table.columns]
    if len(set(lowered)) < len(lowered):
        raise DefinitionError(f"Table {table.name!r} has two columns of one name.")
    for name in (table.key, *(name for index in table.indexes for name in index)):
        if name not in {column.name for column in table.columns}:
            raise DefinitionError(f"Table {table.name!r} has no column {name!r} to be its key or indexed.")
    if next(column for column in table.columns if column.name == table.key).kind is Kind.JSON:
        raise DefinitionError(f"Table {table.name!r} has JSON as its key, which PostgreSQL cannot tell apart.")


def _index_name(table: str, columns: tuple[str, ...], taken: Collection[str]) -> str:
    name = f"{table}__{'_'.join(columns)}"
    if len(name.encode()) <= LONGEST_NAME and name not in taken:
        return name
    digest = hashlib.blake2b("\0".join((table, *columns)).encode(), digest_size=8).hexdigest()
    head = name.encode()[: LONGEST_NAME - len(digest) - 1].decode(errors="ignore")
    return f"{head}_{digest}"


def _parts(sent: list[Values], sized: Sequence[int]) -> list[list[Values]]:
    """Columns cut into parts that are not too big for one statement; ``sized`` are those that may be."""
    rows = len(sent[0])
    if rows > 1 and sum(sum(map(len, filter(None, sent[place]))) for place in sized) > MOST_BYTES:
        half = rows // 2
        return [
            *_parts([values[:half] for values in sent], sized),
            *_parts([values[half:] for values in sent], sized),
        ]
    return [sent]
