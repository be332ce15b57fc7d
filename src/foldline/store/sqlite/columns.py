"""A view's columns in SQLite: how each kind is kept, and rows on their way in and out.

TEXT, INTEGER, REAL, BYTES and JSON are kept as they are, BOOLEAN as 0 or 1, and the rest as text that any SQL tool can
read: DECIMAL exactly as it is written, TIMESTAMP in UTC and of fixed width (so that it sorts), DATE in ISO form, UUID
in its usual one. Decimals compare and sort as the nearest binary number, which is exact to 15 significant digits.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias
from uuid import UUID

import apsw

from foldline.errors import CodecError, DefinitionError
from foldline.store.spi import Column, Kind, Row, Table
from foldline.store.sqlite.gate import ours

Convert: TypeAlias = Callable[[Any], Any]

STORAGE = {
    Kind.TEXT: "TEXT",
    Kind.INTEGER: "INTEGER",
    Kind.REAL: "REAL",
    Kind.BOOLEAN: "INTEGER",
    Kind.DECIMAL: "TEXT",
    Kind.TIMESTAMP: "TEXT",
    Kind.DATE: "TEXT",
    Kind.UUID: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.JSON: "TEXT",
}


def quote(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def timestamp_text(moment: datetime) -> str:
    """A moment in UTC, as text of fixed width; naive ones are refused with ValueError."""
    if moment.tzinfo is None:
        raise ValueError("it has no UTC offset")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def _real(value: float) -> float:
    if math.isnan(value):
        raise ValueError("NaN is no number that can be compared")
    return float(value)


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError("only finite numbers can be kept")
    return str(value)


def _text(value: str) -> str:
    return str.__str__(value)


def _converter(kind: Kind, cls: type) -> Convert | str | None:
    """How a value of this class is kept in a column of that kind: None as it is; a text says why it cannot be."""
    match kind:
        case Kind.TEXT | Kind.JSON if issubclass(cls, str):
            return None if cls is str else _text
        case Kind.INTEGER if issubclass(cls, int):
            return None if cls is int else int
        case Kind.REAL if issubclass(cls, (float, int)):
            return _real
        case Kind.BOOLEAN if cls is bool:
            return int
        case Kind.DECIMAL if issubclass(cls, Decimal):
            return _decimal
        case Kind.DECIMAL if issubclass(cls, int):
            return lambda value: str(int(value))
        case Kind.TIMESTAMP if issubclass(cls, datetime):
            return timestamp_text
        case Kind.DATE if issubclass(cls, date) and not issubclass(cls, datetime):
            return date.isoformat
        case Kind.UUID if issubclass(cls, UUID):
            return str
        case Kind.BYTES if issubclass(cls, (bytes, bytearray, memoryview)):
            return None if cls is bytes else bytes
    return f"a {kind.value} column does not take {cls.__name__}"


_LOADERS: dict[Kind, Convert] = {
    Kind.BOOLEAN: bool,
    Kind.DECIMAL: Decimal,
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.DATE: date.fromisoformat,
    Kind.UUID: UUID,
}


class TableForm:
    """All that is worked out once for a table: its statements and its converters."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = {column.name: column for column in table.columns}
        _check_names(table)
        name, key = quote(table.name), quote(table.key)
        names = [quote(column.name) for column in table.columns]
        self.select = f"SELECT {', '.join(names)} FROM {name}"  # nosec B608
        is_text = STORAGE[self.columns[table.key].kind] == "TEXT"
        some = "(SELECT CAST(value AS TEXT) FROM carray(?))" if is_text else "carray(?)"
        self.load_some = f"{self.select} WHERE {key} IN {some}"
        self.load_one = f"{self.select} WHERE {key} = ?"
        self.delete_one = f"DELETE FROM {name} WHERE {key} = ?"  # nosec B608
        others = [column for column in names if column != key]
        then = f"UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in others)}" if others else "NOTHING"  # nosec B608
        marks = ", ".join("?" * len(names))
        self.upsert = f"INSERT INTO {name} VALUES ({marks}) ON CONFLICT ({key}) DO {then}"  # nosec B608
        self._plans: dict[tuple[type, ...], tuple[tuple[int, Convert], ...]] = {}
        self._loaders = [
            (index, _LOADERS[column.kind]) for index, column in enumerate(table.columns) if column.kind in _LOADERS
        ]

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
        # Rows stand in their key's own tree, unless they may be so long that few would fit on a page of it.
        long = any(column.kind in (Kind.JSON, Kind.BYTES) for column in table.columns)
        options = "STRICT" if long or self.columns[table.key].kind is Kind.INTEGER else "STRICT, WITHOUT ROWID"
        made = [f"CREATE TABLE {name} ({', '.join(lines)}) {options}"]
        for index in table.indexes:
            # With the key at its end the index gives pages in their order without sorting.
            columns = [*index, *([] if table.key in index else [table.key])]
            expressions = ", ".join(self.expression(self.column(column)) for column in columns)
            index_name = quote(f"{table.name}__{'_'.join(index)}")
            made.append(f"CREATE INDEX {index_name} ON {name} ({expressions})")
        return made

    def column(self, name: str) -> Column:
        """A column of the table; raises DefinitionError where it has none of that name."""
        column = self.columns.get(name)
        if column is None:
            raise DefinitionError(
                f"Table {self.table.name!r} has no column {name!r}: it has {', '.join(self.columns)}."
            )
        return column

    def expression(self, column: Column) -> str:
        """What stands for a column where it is compared, sorted by or indexed."""
        name = quote(column.name)
        return f"CAST({name} AS REAL)" if column.kind is Kind.DECIMAL else name

    def value(self, column: Column, value: Any) -> Any:
        """A value as the column keeps it; raises CodecError naming the column."""
        convert = _converter(column.kind, type(value))
        if isinstance(convert, str):
            raise self._fault(column, value, convert)
        try:
            kept = value if convert is None else convert(value)
        except (ValueError, OverflowError) as error:
            raise self._fault(column, value, str(error)) from error
        self._check_bindable(column, kept)
        return kept

    def keys(self, keys: Collection[Any]) -> list[Any]:
        """Keys as the key's column keeps them."""
        column = self.columns[self.table.key]
        return [self.value(column, key) for key in keys]

    def store(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows as the table keeps them; the very same where nothing needs converting."""
        plans = self._plans
        shapes = [tuple(map(type, row)) for row in rows]
        for shape in set(shapes):
            if shape not in plans:
                plans[shape] = self._plan(rows[shapes.index(shape)])
        if not any(plans[shape] for shape in set(shapes)):
            return rows
        return [self._convert(row, plans[shape]) for row, shape in zip(rows, shapes, strict=True)]

    def load(self, rows: list[Row]) -> list[Row]:
        """Rows with the Python values that their columns promise."""
        if not rows or not self._loaders:
            return rows
        columns = list(zip(*rows, strict=True))
        for index, convert in self._loaders:
            columns[index] = tuple([None if value is None else convert(value) for value in columns[index]])
        return list(zip(*columns, strict=True))

    def explain(self, rows: Sequence[Row], error: Exception) -> CodecError:
        """The error for rows that SQLite would not bind: which value of which column it was."""
        for row in rows:
            for column, value in zip(self.table.columns, row, strict=True):
                try:
                    self._check_bindable(column, value)
                except CodecError as found:
                    return found
        return CodecError(f"A row of table {self.table.name!r} cannot be kept: {error}.")

    def _plan(self, row: Row) -> tuple[tuple[int, Convert], ...]:
        columns = self.table.columns
        if len(row) != len(columns):
            raise CodecError(f"A row of table {self.table.name!r} has {len(row)} values, not {len(columns)}.")
        plan = []
        for index, (column, value) in enumerate(zip(columns, row, strict=True)):
            if value is None:
                if not column.nullable or column.name == self.table.key:
                    raise self._fault(column, value, "it may not be null")
                continue
            convert = _converter(column.kind, type(value))
            if isinstance(convert, str):
                raise self._fault(column, value, convert)
            if convert is not None:
                plan.append((index, convert))
        return tuple(plan)

    def _convert(self, row: Row, plan: tuple[tuple[int, Convert], ...]) -> Row:
        values = list(row)
        for index, convert in plan:
            try:
                values[index] = convert(values[index])
            except (ValueError, OverflowError) as error:
                raise self._fault(self.table.columns[index], values[index], str(error)) from error
        return tuple(values)

    def _check_bindable(self, column: Column, value: Any) -> None:
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise self._fault(column, value, "integers have at most 64 bits")
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise self._fault(column, value, "half of a surrogate pair is no text") from error

    def _fault(self, column: Column, value: Any, reason: str) -> CodecError:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return CodecError(f"Column {column.name!r} of table {self.table.name!r} cannot keep {shown}: {reason}.")


@lru_cache(maxsize=1024)
def form(table: Table) -> TableForm:
    """The table's form; raises DefinitionError for a table that cannot be."""
    return TableForm(table)


def carray(values: Sequence[Any]) -> Any:
    """Values of one storage class, one or more, as the argument of SQL's carray; texts are cast back by the query."""
    if isinstance(values[0], str):
        # An array of texts ends each at its first NUL, an array of blobs does not.
        return apsw.carray(tuple([value.encode() for value in values]))
    if isinstance(values[0], bytes):
        return apsw.carray(tuple(values))
    return apsw.carray(array("q" if isinstance(values[0], int) else "d", values))


def bind(cursor: apsw.Cursor, number: int, value: Any) -> Any:
    """How values of other types go into SQL that is written by hand: as their columns keep them."""
    for kind in (Kind.DECIMAL, Kind.TIMESTAMP, Kind.DATE, Kind.UUID):
        convert = _converter(kind, type(value))
        if callable(convert):
            try:
                return convert(value)
            except (ValueError, OverflowError) as error:
                raise CodecError(f"Parameter {number} cannot be {value!r}: {error}.") from error
    raise CodecError(f"Parameter {number} is a {type(value).__name__}, which SQLite does not keep.")


def _check_names(table: Table) -> None:
    if ours(table.name) or not table.name or "\0" in table.name:
        raise DefinitionError(
            f"A view cannot be named {table.name!r}: names that start with foldline_ or sqlite_ are taken."
        )
    lowered = [column.name.lower() for column in table.columns]
    if len(set(lowered)) < len(lowered) or not all(lowered) or any("\0" in name for name in lowered):
        raise DefinitionError(f"Table {table.name!r} has two columns of one name, or one without a name.")
    for name in (table.key, *(name for index in table.indexes for name in index)):
        if name not in {column.name for column in table.columns}:
            raise DefinitionError(f"Table {table.name!r} has no column {name!r} to be its key or indexed.")
