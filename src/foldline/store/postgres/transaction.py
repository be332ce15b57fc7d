"""A read model's transaction: a projection's coroutine, driven by hand so that it waits for the database alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import asyncpg
from asyncpg import exceptions as pg

from foldline.errors import CodecError, DefinitionError, FoldlineError, StoreError
from foldline.store.postgres import tables
from foldline.store.postgres.columns import form, plain_rows
from foldline.store.postgres.connect import Connection
from foldline.store.postgres.errors import ERRORS, reason
from foldline.store.postgres.gate import given_badly, own_fault, refused_in_work
from foldline.store.postgres.reading import bound, fault, load_rows, said
from foldline.store.spi import Checkpoint, Row, Table, Transaction, Work

__all__ = ["PostgresTransaction", "WorkFailed", "load_rows", "run_work"]

R = TypeVar("R")
T = TypeVar("T")


class WorkFailed(Exception):
    """The work itself raised an error of a kind that else only a database does, such as an OSError.

    Carried past those who would take it for a lost connection and try again; ``error`` is what the caller gets.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class PostgresTransaction:
    """What the work is given. Only the task that does the work can use it, and only until the work is done.

    Hand-written SQL may read everything and write the tables of views. What that comes to is said in `gate`: the words
    of a statement are looked at, and PostgreSQL guards the events; a function is not looked into. Unlike in SQLite, a
    statement that fails ends the transaction, so work that goes on from there fails with that error.
    """

    __slots__ = ("_connection", "_open", "_task", "asking", "broken", "failed", "moved")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open = True
        self._task = asyncio.current_task()
        self.asking = False
        """Whether one of its methods is what is being awaited."""
        self.broken: BaseException | None = None
        """What the database met that is no fault of the work's, and not for the work to handle."""
        self.failed: FoldlineError | None = None
        """The statement that failed, after which PostgreSQL does nothing more in this transaction."""
        self.moved: list[Checkpoint] = []

    async def advance(self, checkpoint: Checkpoint, position: int, /) -> bool:
        """Move a checkpoint on; False, and nothing is changed, where it is no longer as it is given."""

        def explain(error: asyncpg.PostgresError) -> FoldlineError:
            if isinstance(error, pg.InsufficientPrivilegeError):
                return StoreError(
                    "The role that the store was opened with lacks a right: SELECT and UPDATE on table "
                    f"foldline_checkpoints ({reason(error)})."
                )
            return StoreError(f"A checkpoint cannot be moved on: {reason(error)}.")

        if not await self._do(partial(tables.advance, self._connection, checkpoint, position), explain):
            return False
        self.moved.append(checkpoint._replace(position=position))
        return True

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The rows of these keys; missing ones are left out."""
        return await self._do(partial(load_rows, self._connection, table, keys), None)

    async def upsert(self, table: Table, rows: Sequence[Row], /) -> None:
        """Write whole rows, replacing those of the same key."""
        self._check()
        if not rows:
            return
        shape = form(table)

        def explain(error: asyncpg.PostgresError) -> FoldlineError | None:
            if (error.sqlstate or "").startswith("22"):
                return shape.explain(rows, reason(error))
            return fault(error, table, "SELECT, INSERT and UPDATE")

        for part in shape.store(rows):
            await self._do(partial(self._connection.execute, shape.upsert, *part), explain)

    async def delete(self, table: Table, keys: Collection[Any], /) -> None:
        """Remove the rows of these keys."""
        self._check()
        if not keys:
            return
        shape = form(table)
        ask = partial(self._connection.execute, shape.delete_some, shape.keys(keys))
        await self._do(ask, lambda error: fault(error, table, "SELECT and DELETE"))

    async def execute(self, sql: str, *parameters: Any) -> None:
        """Run one statement with ``?`` parameters."""
        await self._run(sql, parameters)

    async def fetch(self, sql: str, *parameters: Any) -> list[Row]:
        """The rows of one query with ``?`` parameters, as asyncpg has them."""
        return plain_rows(await self._run(sql, parameters))

    def close(self) -> None:
        """Let go of the connection: whoever kept the transaction can do nothing with it any more."""
        self._open = False

    async def _run(self, sql: str, parameters: tuple[Any, ...]) -> list[asyncpg.Record]:
        refused = refused_in_work(sql)
        if refused is not None:
            raise DefinitionError(
                f"SQL in a transaction may read, and write the tables of views, but not this: {refused}."
            )
        translated, given = bound(sql, parameters)
        # Not execute(): without parameters it would take several statements at once.
        return await self._do(partial(self._connection.fetch, translated.sql, *given), _explain)

    def _check(self) -> None:
        if not self._open:
            raise DefinitionError("A transaction was used after its work had returned: await it within the work.")
        if asyncio.current_task() is not self._task:
            raise DefinitionError(
                "A transaction was used by another task than its work's: await it in the work itself."
            )
        if self.failed is not None:
            raise StoreError(
                f"Nothing more can be done in this transaction, because an earlier statement failed: {self.failed}"
            ) from self.failed

    async def _do(
        self,
        ask: Callable[[], Awaitable[T]],
        explain: Callable[[asyncpg.PostgresError], FoldlineError | None] | None,
    ) -> T:
        self._check()
        self.asking = True
        try:
            return await ask()
        except asyncpg.PostgresError as error:
            found = explain(error) if explain is not None and (own_fault(error) or given_badly(error)) else None
            if found is None:
                self.broken = error
                raise
            if not given_badly(error):
                self.failed = found
            raise found from error
        except FoldlineError as found:
            # Told by load_rows(); it has a cause where it was the server that refused.
            if isinstance(found.__cause__, asyncpg.PostgresError) and not given_badly(found.__cause__):
                self.failed = found
            raise
        except ERRORS as error:
            self.broken = error
            raise
        finally:
            self.asking = False


class _Driven(Generic[R]):
    """The work, step by step: what it awaits is handed on as long as it is the transaction that awaits it."""

    def __init__(self, work: Work[R], transaction: PostgresTransaction) -> None:
        self._work = work
        self._transaction = transaction

    def __await__(self) -> Generator[Any, None, R]:
        given: Transaction = self._transaction
        steps: Any = self._work(given).__await__()
        thrown: BaseException | None = None
        while True:
            try:
                awaited = next(steps) if thrown is None else steps.throw(thrown)
            except StopIteration as stop:
                result: R = stop.value
                return result
            if not self._transaction.asking:
                self._transaction.close()
                _abandon(steps, awaited)
                raise DefinitionError(
                    "A transaction's work may await only the transaction: fetch what it needs beforehand."
                )
            thrown = None
            try:
                yield awaited
            except BaseException as error:  # of any kind: it is meant for what is being awaited
                thrown = error


async def run_work(work: Work[R], connection: Connection) -> tuple[R, list[Checkpoint]]:
    """Do the work to its end in the connection's transaction; what it returned, and the checkpoints that it moved.

    Raises DefinitionError where it waits for anything but the transaction. Where the database was in the way, what it
    said is raised as it is, whatever the work made of that: whether to try again is for the caller to say.
    """
    transaction = PostgresTransaction(connection)
    try:
        result = await _Driven(work, transaction)
    except Exception as error:
        if transaction.broken is not None:
            raise transaction.broken from error
        if isinstance(error, ERRORS):
            raise WorkFailed(error) from error
        raise
    finally:
        transaction.close()
    if transaction.broken is not None:
        raise transaction.broken
    if transaction.failed is not None:
        raise transaction.failed
    return result, transaction.moved


def _explain(error: asyncpg.PostgresError) -> FoldlineError:
    if given_badly(error):
        return CodecError(f"A parameter does not fit where it stands: {reason(error)}.")
    if isinstance(error, pg.InsufficientPrivilegeError):
        return StoreError(f"The role that the store was opened with lacks a right: {reason(error)}.")
    return StoreError(f"The statement cannot be run: {said(error)}.")


def _abandon(steps: Any, awaited: Any) -> None:
    """End the work where it stands, as a cancelled task ends, so that what it had begun elsewhere is cleaned up."""
    if asyncio.isfuture(awaited):
        awaited.cancel()
    try:
        steps.throw(asyncio.CancelledError())
        steps.close()
    except (StopIteration, asyncio.CancelledError, AttributeError):
        return  # ended, or something that is no coroutine and needs no ending
    except RuntimeError as error:
        raise StoreError("A transaction's work awaited something else, and again while it was ended.") from error
