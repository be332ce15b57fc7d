"""Read models in memory: tables, checkpoints, and the transaction that changes both or neither (G6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from foldline.errors import DefinitionError, StoreError, Unsupported
from foldline.store.memory.life import Life
from foldline.store.memory.values import comes_after, fits, keep, keep_row, place, sort
from foldline.store.spi import Checkpoint, Condition, Ordering, ProjectionSpec, Row, Select, Table, Work

R = TypeVar("R")


class MemoryViews(Life):
    """Tables as dictionaries from key to row, and each projection's checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, dict[Any, Row]] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._specs: dict[str, ProjectionSpec] = {}

    async def prepare(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Make the projection's tables where they are missing or changed, and tell its checkpoint."""
        self._check()
        known = self._checkpoints.get(spec.name)
        if known is None or known.fingerprint != spec.fingerprint:
            return await self.reset(spec)
        return known

    async def reset(self, spec: ProjectionSpec, /) -> Checkpoint:
        """Empty the projection's tables, make them anew and set it back to position 0."""
        self._check()
        if spec.setup or spec.owned:
            raise Unsupported(f"Projection {spec.name!r} is written in SQL, which a store in memory does not have.")
        for other in self._specs.values():
            if other.name == spec.name:
                continue
            for taken in {table.name for table in other.tables} & {table.name for table in spec.tables}:
                raise DefinitionError(
                    f"Projection {spec.name!r} wants a table {taken!r}, which belongs to projection "
                    f"{other.name!r}: give one of them another name."
                )
        # Tables of its earlier shape go, also those that it no longer has.
        for table in self._specs[spec.name].tables if spec.name in self._specs else ():
            del self._tables[table.name]
        self._tables.update({table.name: {} for table in spec.tables})
        self._specs[spec.name] = spec
        known = self._checkpoints.get(spec.name)
        generation = 1 if known is None else known.generation + 1
        fresh = self._checkpoints[spec.name] = Checkpoint(spec.name, 0, generation, spec.fingerprint)
        self._signal()
        return fresh

    async def checkpoints(self) -> dict[str, Checkpoint]:
        """All checkpoints, by projection."""
        self._check()
        return dict(self._checkpoints)

    async def wait_checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        """Wait until a projection has committed up to a position or beyond."""
        self._check()
        if projection not in self._checkpoints:
            return None
        reached = await self._until(lambda: self._checkpoints[projection].position >= position, timeout)
        return self._checkpoints[projection] if reached else None

    async def transact(self, work: Work[R], /) -> R:
        """Do the work, and undo all of it where it raises. Nobody sees what lies between: nothing awaits."""
        self._check()
        transaction = MemoryTransaction(self._tables, self._checkpoints)
        self._working = True
        try:
            result = _run(work, transaction)
        except BaseException:
            transaction.undo()
            raise
        finally:
            transaction.end()
            self._working = False
        self._signal()
        return result

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The committed rows of these keys; missing ones are left out."""
        self._check()
        return _load(self._tables, table, keys)

    async def select(self, query: Select, /) -> list[Row]:
        """A page of rows."""
        self._check()
        order = query.order or (Ordering(query.table.key),)
        rows = self._fitting(query.table, query.where)
        sort(query.table, rows, order)
        if query.after is not None:
            start = query.after
            rows = [row for row in rows if comes_after(query.table, row, order, start)]
        return rows if query.limit is None else rows[: max(query.limit, 0)]

    async def count(self, table: Table, where: tuple[Condition, ...] = (), /) -> int:
        """How many rows fit."""
        self._check()
        return len(self._fitting(table, where))

    def _fitting(self, table: Table, where: tuple[Condition, ...]) -> list[Row]:
        rows = _rows(self._tables, table).values()
        return [row for row in rows if all(fits(table, row, condition) for condition in where)]

    async def sql(self, text: str, parameters: Sequence[Any] | dict[str, Any] = (), /) -> tuple[list[str], list[Row]]:
        """There is no SQL here."""
        self._check()
        raise _no_sql()


class MemoryTransaction:
    """What the work is given. It changes things at once, and knows what to put back should the work fail."""

    def __init__(self, tables: dict[str, dict[Any, Row]], checkpoints: dict[str, Checkpoint]) -> None:
        self._tables = tables
        self._checkpoints = checkpoints
        self._before: list[tuple[dict[Any, Any], Any, Any]] = []
        self._ended = False

    def undo(self) -> None:
        """Put back what was there, the latest change first."""
        for place_, key, value in reversed(self._before):
            _put(place_, key, value)

    def end(self) -> None:
        """From now on whoever has kept the transaction can do nothing with it."""
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise DefinitionError("A transaction was used after its work had returned: await it within the work.")

    def _set(self, place_: dict[Any, Any], key: Any, value: Any) -> None:
        self._before.append((place_, key, place_.get(key)))
        _put(place_, key, value)

    async def advance(self, checkpoint: Checkpoint, position: int, /) -> bool:
        """Move a checkpoint on; False, and nothing is changed, where it is no longer as it is given."""
        self._check()
        if self._checkpoints.get(checkpoint.projection) != checkpoint:
            return False
        self._set(self._checkpoints, checkpoint.projection, checkpoint._replace(position=position))
        return True

    async def load(self, table: Table, keys: Collection[Any], /) -> list[Row]:
        """The rows of these keys; missing ones are left out."""
        self._check()
        return _load(self._tables, table, keys)

    async def upsert(self, table: Table, rows: Sequence[Row], /) -> None:
        """Write whole rows, replacing those of the same key."""
        self._check()
        key = place(table, table.key)
        for kept in [keep_row(table, row) for row in rows]:
            self._set(_rows(self._tables, table), kept[key], kept)

    async def delete(self, table: Table, keys: Collection[Any], /) -> None:
        """Remove the rows of these keys."""
        self._check()
        for key in keys:
            self._set(_rows(self._tables, table), key, None)

    async def execute(self, sql: str, *parameters: Any) -> None:
        """There is no SQL here."""
        raise _no_sql()

    async def fetch(self, sql: str, *parameters: Any) -> list[Row]:
        """There is no SQL here."""
        raise _no_sql()


def _run(work: Work[R], transaction: MemoryTransaction) -> R:
    """Drive the work to its end here and now; raises DefinitionError where it waits for anything at all."""
    steps = work(transaction).__await__()
    try:
        next(steps)
    except StopIteration as stop:
        result: R = stop.value
        return result
    close = getattr(steps, "close", None)
    if close is not None:
        close()
    raise DefinitionError("A transaction's work may await only the transaction: fetch what it needs beforehand.")


def _put(place_: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        place_.pop(key, None)
    else:
        place_[key] = value


def _rows(tables: dict[str, dict[Any, Row]], table: Table) -> dict[Any, Row]:
    try:
        return tables[table.name]
    except KeyError:
        raise StoreError(f"There is no table {table.name!r}: prepare() its projection first.") from None


def _load(tables: dict[str, dict[Any, Row]], table: Table, keys: Collection[Any]) -> list[Row]:
    rows = _rows(tables, table)
    column = table.columns[place(table, table.key)]
    wanted = dict.fromkeys(keep(table, column, key) for key in keys)
    return [rows[key] for key in wanted if key in rows]


def _no_sql() -> Unsupported:
    return Unsupported("A store in memory has no SQL: use a sqlite: or postgresql: store.")
