"""Reading: rows by key, pages, counts, and other people's queries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg
from asyncpg import exceptions as pg

from foldline.errors import CodecError, FoldlineError, StoreError
from foldline.store.postgres.columns import form, plain_rows
from foldline.store.postgres.connect import Connection
from foldline.store.postgres.errors import reason
from foldline.store.postgres.filters import count_sql, select_sql
from foldline.store.postgres.gate import given_badly, own_fault, refused_in_reading, untyped
from foldline.store.postgres.placeholders import Translated, named, positional
from foldline.store.spi import Condition, Row, Select, Table

_MOST_BITS = 10_000
"""The most of an integer parameter: asyncpg would write it down to complain of it, and Python does not write more."""


async def load_rows(connection: Connection, table: Table, keys: Collection[Any]) -> list[Row]:
    """The rows of these keys; missing ones are left out."""
    shape = form(table)
    if not keys:
        return []
    return shape.load(await _ask(connection, table, shape.load_some, [shape.keys(keys)]))


async def select(connection: Connection, query: Select) -> list[Row]:
    """A page of rows."""
    text, given = select_sql(query)
    return form(query.table).load(await _ask(connection, query.table, text, given))


async def count(connection: Connection, table: Table, where: tuple[Condition, ...]) -> int:
    """How many rows fit."""
    text, given = count_sql(table, where)
    [(number,)] = await _ask(connection, table, text, given)
    return int(number)


async def query(
    connection: Connection, text: str, parameters: Sequence[Any] | dict[str, Any]
) -> tuple[list[str], list[Row]]:
    """The columns and rows of somebody's own query; raises StoreError saying what is wrong with it.

    To be called first in a transaction, which from then on only reads. Nothing is kept prepared, so that the tables
    may have been made anew since they were last asked for.
    """
    translated, given = bound(text, parameters)
    refused = refused_in_reading(text)
    if refused is not None:
        raise StoreError(f"sql() only reads, by one statement, and this is refused: {refused}.")
    await connection.execute("SET TRANSACTION READ ONLY")
    try:
        prepared = await connection.prepare(translated.sql, name="")
        columns = [attribute.name for attribute in prepared.get_attributes()]
        rows = await prepared.fetch(*given)
    except pg.ReadOnlySQLTransactionError as error:
        raise StoreError(f"sql() only reads, and this would write: {reason(error)}.") from error
    except asyncpg.PostgresError as error:
        if given_badly(error):
            raise CodecError(f"A parameter does not fit where it stands: {reason(error)}.") from error
        if not own_fault(error):
            raise
        raise StoreError(f"The query cannot be run: {said(error)}.") from error
    return columns, plain_rows(rows)


def bound(text: str, parameters: Sequence[Any] | dict[str, Any]) -> tuple[Translated, Sequence[Any]]:
    """Somebody's own SQL with numbered parameters, and their values; raises StoreError where these do not match."""
    try:
        if isinstance(parameters, dict):
            translated = named(text)
            given: Sequence[Any] = [parameters[name] for name in translated.names]
        else:
            translated, given = positional(text), parameters
    except KeyError as error:
        raise StoreError(f"The query cannot be run: there is no parameter for :{error.args[0]}.") from None
    except ValueError as error:
        raise StoreError(f"The query cannot be run: {error}.") from None
    size = translated.size
    if len(given) != size:
        hint = " (a question mark that is an operator is written ??)" if size > len(given) else ""
        raise StoreError(
            f"The query cannot be run: it has {size} placeholders{hint}, and {len(given)} values were given."
        )
    for number, value in enumerate(given, 1):
        if isinstance(value, str) and "\0" in value:
            raise CodecError(f"Parameter {number} holds U+0000, which PostgreSQL does not keep in text.")
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise CodecError(f"Parameter {number} is an integer of {value.bit_length()} bits, which is too many.")
    return translated, given


def said(error: asyncpg.PostgresError) -> str:
    """What PostgreSQL says of somebody's own SQL, and what it means where that is not plain."""
    hint = "; say of which type the parameter is, as in ?::bigint" if untyped(error) else ""
    return reason(error) + hint


def fault(error: asyncpg.PostgresError, table: Table, right: str) -> FoldlineError | None:
    """The typed error where a statement of ours over a view's table failed for its own fault."""
    if isinstance(error, pg.UndefinedTableError):
        return StoreError(f"There is no table {table.name!r}: prepare the projection that has it.")
    if isinstance(error, pg.InsufficientPrivilegeError):
        return StoreError(
            f"The role that the store was opened with lacks a right: {right} on table {table.name!r} ({reason(error)})."
        )
    state = (error.sqlstate or "")[:2]
    if state == "22":
        return CodecError(f"A value does not fit a column of table {table.name!r}: {reason(error)}.")
    if isinstance(error, pg.StatementTooComplexError):
        return CodecError(f"A value is nested too deeply for a column of table {table.name!r}: {reason(error)}.")
    if state == "54":
        columns = ", ".join(dict.fromkeys([table.key, *(name for index in table.indexes for name in index)]))
        return CodecError(
            f"A value is too long for an index of table {table.name!r}, which takes about 2,600 bytes of the columns "
            f"{columns}: {reason(error)}."
        )
    if state == "42":
        return StoreError(f"Table {table.name!r} is not as its projection made it: {reason(error)}. Prepare it again.")
    return StoreError(f"Table {table.name!r}: {reason(error)}.") if own_fault(error) else None


async def _ask(connection: Connection, table: Table, text: str, given: Sequence[Any]) -> list[asyncpg.Record]:
    try:
        return await connection.fetch(text, *given)
    except asyncpg.PostgresError as error:
        found = fault(error, table, "SELECT")
        if found is None:
            raise
        raise found from error
