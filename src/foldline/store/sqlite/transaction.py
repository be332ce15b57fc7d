"""A read model's transaction: a projection's coroutine, driven on the writer's thread within its group commit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from foldline.errors import DefinitionError, StoreError
from foldline.store.spi import Checkpoint, Row, Table, Work
from foldline.store.sqlite import tables
from foldline.store.sqlite.columns import TableForm, carray, form
from foldline.store.sqlite.errors import translate
from foldline.store.sqlite.gate import MARK, Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

R = TypeVar("R")


class SqliteTransaction:
    """What the work is given. Its methods never suspend, since the connection is this thread's own."""

    __slots__ = ("_connection", "_gate", "_moved", "_open", "_path")

    def __init__(self, connection: apsw.Connection, gate: Gate, path: str, moved: list[Checkpoint]) -> None:
        self._connection = connection
        self._gate = gate
        self._path = path
        self._moved = moved
        self._open = True

    async def advance(self, checkpoint: Checkpoint, position: int, /) -> bool:
        """Move a checkpoint on; False, and nothing is changed, where it is no longer as it is given."""
        with self._sql(), self._gate.narrowed(False):
            if not tables.advance(self._connection, checkpoint, position):
                return False
        self._moved.append(checkpoint._replace(position=position))
        return True

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The rows of these keys; missing ones are left out."""
        with self._sql():
            return load_rows(self._connection, table, keys)

    async def upsert(self, table: Table, rows: Sequence[Row], /) -> None:
        """Write whole rows, replacing those of the same key."""
        if rows:
            shape = form(table)
            kept = shape.store(rows)
            self._many(shape, shape.upsert, kept)

    async def delete(self, table: Table, keys: Collection[Any], /) -> None:
        """Remove the rows of these keys."""
        shape = form(table)
        with self._sql():
            self._connection.executemany(MARK + shape.delete_one, [(key,) for key in shape.keys(keys)])

    async def execute(self, sql: str, *parameters: Any) -> None:
        """Run one statement with ``?`` parameters."""
        with self._sql():
            self._connection.execute(MARK + sql, parameters).fetchall()

    async def fetch(self, sql: str, *parameters: Any) -> list[Row]:
        """The rows of one query with ``?`` parameters."""
        with self._sql():
            return self._connection.execute(MARK + sql, parameters).fetchall()

    def close(self) -> None:
        """Let go of the connection: whoever kept the transaction can do nothing with it any more."""
        self._open = False

    def _many(self, shape: TableForm, sql: str, rows: Sequence[Row]) -> None:
        with self._sql():
            try:
                self._connection.executemany(MARK + sql, rows)
            except (OverflowError, UnicodeEncodeError) as error:
                raise shape.explain(rows, error) from error

    @contextmanager
    def _sql(self) -> Iterator[None]:
        if not self._open:
            raise DefinitionError("A transaction was used after its work had returned: await it within the work.")
        try:
            yield
        except apsw.AuthError as error:
            raise DefinitionError(
                "SQL in a transaction may read, and write the tables of views, but not this: "
                f"{self._gate.refused or error}."
            ) from error
        except apsw.Error as error:
            if not self._connection.in_transaction:
                raise  # it took the whole group with it, which is not for the work to handle
            raise translate(error, self._connection, self._path) from error


def run_work(work: Work[R], connection: apsw.Connection, gate: Gate, path: str, moved: list[Checkpoint]) -> R:
    """Do the work to its end, here and now; raises DefinitionError where it waits for anything else."""
    transaction = SqliteTransaction(connection, gate, path, moved)
    try:
        with gate.narrowed():
            steps = work(transaction).__await__()
            try:
                next(steps)
            except StopIteration as stop:
                result: R = stop.value
                return result
            _abandon(steps)
    finally:
        transaction.close()
    raise DefinitionError("A transaction's work may await only the transaction: fetch what it needs beforehand.")


def load_rows(connection: apsw.Connection, table: Table, keys: Collection[Any]) -> list[Row]:
    """The rows of these keys; missing ones are left out."""
    shape = form(table)
    kept = shape.keys(keys)
    if not kept:
        return []
    if len(kept) == 1:
        rows = connection.execute(MARK + shape.load_one, kept).fetchall()
    else:
        rows = connection.execute(MARK + shape.load_some, (carray(kept),)).fetchall()
    return shape.load(rows)


def _abandon(steps: Any) -> None:
    close = getattr(steps, "close", None)
    if close is not None:
        try:
            close()
        except RuntimeError as error:  # it went on awaiting instead of ending
            raise StoreError("A transaction's work awaited something else, and again while it was ended.") from error
