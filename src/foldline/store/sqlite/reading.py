"""Reading connections: what the lanes of readers do with the jobs they take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import apsw

from foldline.errors import CodecError, StoreError
from foldline.store.spi import Condition, Row, Select, Table
from foldline.store.sqlite.columns import bind, form
from foldline.store.sqlite.connect import open_reader
from foldline.store.sqlite.errors import translate
from foldline.store.sqlite.filters import count_sql, select_sql
from foldline.store.sqlite.gate import MARK, Gate
from foldline.store.sqlite.lane import Job, post, settle

Read: TypeAlias = "Callable[[Reader], Any]"
"""A reader's job."""


class Reader:
    """A connection that only reads, and its gate."""

    def __init__(self, path: str, busy_timeout: float) -> None:
        self.path = path
        self.connection = open_reader(path, busy_timeout=busy_timeout)
        self.gate = Gate(self.connection, reading=True)
        self.connection.convert_binding = bind

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def serve_reads(loop: asyncio.AbstractEventLoop) -> Callable[[Reader, list[Job]], None]:
    """What a lane of readers does with a list of jobs."""

    def serve(reader: Reader, jobs: list[Job]) -> None:
        done: list[tuple[asyncio.Future[Any], Any]] = []
        failed: list[tuple[asyncio.Future[Any], BaseException]] = []
        for future, read in jobs:
            if future.cancelled():
                continue
            try:
                done.append((future, read(reader)))
            except apsw.Error as error:
                failed.append((future, translate(error, reader.connection, reader.path)))
            except BaseException as error:  # of any kind: it is the caller's, and the thread lives on
                failed.append((future, error))
        post(loop, settle, done, failed)

    return serve


def select(reader: Reader, query: Select) -> list[Row]:
    """A page of rows."""
    text, parameters = select_sql(query)
    return form(query.table).load(reader.connection.execute(MARK + text, parameters).fetchall())


def count(reader: Reader, table: Table, where: tuple[Condition, ...]) -> int:
    """How many rows fit."""
    number: int = reader.connection.execute(*count_sql(table, where)).get
    return number


@contextmanager
def _current_schema(connection: apsw.Connection) -> Iterator[None]:
    """A read transaction in which statements are prepared for the tables as they are now.

    Elsewhere SQLite finds out only while it runs a statement that the schema has changed since, and prepares it
    again; by then it has told its columns as they were, as has one that is kept prepared.
    """
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM foldline_migrations LIMIT 1").fetchall()
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def query(reader: Reader, text: str, parameters: Sequence[Any] | dict[str, Any]) -> tuple[list[str], list[Row]]:
    """The columns and rows of somebody's own query; raises StoreError saying what is wrong with it."""
    columns: list[str] = []

    def note(cursor: apsw.Cursor, _: str, __: Any) -> bool:
        # Asked here, because a query without rows is over before it could be asked.
        columns[:] = [column[0] for column in cursor.get_description()]
        return True

    cursor = reader.connection.cursor()
    cursor.exec_trace = note
    bindings = parameters if isinstance(parameters, dict) else tuple(parameters)
    try:
        with _current_schema(reader.connection), reader.gate.narrowed():
            rows = cursor.execute(MARK + text, bindings, can_cache=False).fetchall()
    except apsw.AuthError as error:
        raise StoreError(f"sql() only reads, and this is refused: {reader.gate.refused or error}.") from error
    except apsw.ReadOnlyError as error:
        raise StoreError(f"sql() only reads, and this would write: {error}.") from error
    except (apsw.SQLError, apsw.BindingsError, apsw.MismatchError) as error:
        raise StoreError(f"The query cannot be run: {error}.") from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise CodecError(f"A parameter of the query cannot be kept by SQLite: {error}.") from error
    return columns, rows
