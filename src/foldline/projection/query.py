"""Asks the views: by key, by filters, page by page, or in SQL."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from foldline.errors import DefinitionError
from foldline.projection.decoding import rows_as
from foldline.projection.filters import (
    check_limit,
    conditions,
    cursor_after,
    key_value,
    ordering,
    read_cursor,
)
from foldline.projection.view import View, ViewType
from foldline.store.spi import Select, ViewStore

T = TypeVar("T")
V = TypeVar("V", bound=View)

Waiter: TypeAlias = Callable[[Collection[str] | None, int, float], Awaitable[None]]
"""Waits until projections (None: all) have reached a position, at most so many seconds; raises ViewBehind."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows, and where the next begin: ``next`` is a cursor to pass as ``after``, None at the end."""

    items: list[T]
    next: str | None = None


class Views:
    """The views of one application, to be read.

    Filters are keyword arguments: a field's name for equality, or with an operator: ``total__gte=100``,
    ``status__in=[…]``, ``email__contains="@example"``; further ``ne``, ``lt``, ``lte``, ``gt``,
    ``startswith`` and ``null``. ``order_by`` is a field, ``"-field"`` for descending, or a tuple of them;
    the key always comes last, so that every order is total. Raises ValidationFailed for filters, orders and
    cursors that do not fit the view.

    One that `at` gave reads no view before it has reached a position, and raises ViewBehind where that takes
    longer than it may, or ProjectionHalted.
    """

    def __init__(
        self,
        store: ViewStore,
        types: Mapping[type[View], ViewType[Any]],
        *,
        after: int = 0,
        deadline: float | None = None,
        wait: Waiter | None = None,
    ) -> None:
        self._store = store
        self._types = types
        self._after = after
        self._deadline = deadline
        self._wait = wait
        self._reached: set[str | None] = set()

    def at(self, position: int, timeout: float) -> Views:
        """The same views once they have reached a position; reads wait ``timeout`` seconds for it in all."""
        return Views(self._store, self._types, after=position, deadline=time.monotonic() + timeout, wait=self._wait)

    async def get(self, view: type[V], key: object, *, strict: bool = True) -> V | None:
        """The row of a key, if there is one."""
        found = self._type(view)
        wanted = key_value(found, key, strict=strict)
        await self._until_reached(found.name)
        rows = await self._store.load(found.table, [wanted])
        return found.struct(rows[0]) if rows else None

    async def find(
        self,
        view: type[V],
        *,
        order_by: str | Iterable[str] | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> list[V]:
        """The rows that fit all filters, in order; all of them unless there is a limit."""
        found = self._type(view)
        where, order = conditions(found, filters), ordering(found, order_by)
        if limit is not None:
            check_limit(found, limit)
        await self._until_reached(found.name)
        return [*map(found.struct, await self._store.select(Select(found.table, where, order, None, limit)))]

    async def page(
        self,
        view: type[V],
        *,
        order_by: str | Iterable[str] | None = None,
        after: str | None = None,
        limit: int = 50,
        **filters: Any,
    ) -> Page[V]:
        """The next rows that fit all filters, after those that a cursor was given with; 1 to 1000 of them."""
        return await self.browse(view, filters, order_by=order_by, after=after, limit=limit, strict=True)

    async def browse(
        self,
        view: type[V],
        filters: Mapping[str, object],
        *,
        order_by: str | Iterable[str] | None = None,
        after: str | None = None,
        limit: int = 50,
        strict: bool = False,
    ) -> Page[V]:
        """Like `page`, for filters from elsewhere: unless ``strict``, values and lists are read from text."""
        found = self._type(view)
        where, order = conditions(found, filters, strict=strict), ordering(found, order_by)
        check_limit(found, limit)
        start = read_cursor(found, order, where, after) if after else None
        await self._until_reached(found.name)
        # One row more than asked for tells whether there is another page.
        rows = await self._store.select(Select(found.table, where, order, start, limit + 1))
        more = len(rows) > limit
        rows = rows[:limit]
        return Page([*map(found.struct, rows)], cursor_after(found, order, where, rows[-1]) if more else None)

    async def count(self, view: type[View], **filters: Any) -> int:
        """How many rows fit all filters."""
        found = self._type(view)
        where = conditions(found, filters)
        await self._until_reached(found.name)
        return await self._store.count(found.table, where)

    async def sql(
        self, type_: type[T], text: str, *parameters: Any, reads: Iterable[type[View]] | None = None
    ) -> list[T]:
        """The rows of a query with ``?`` parameters, as structs, dataclasses, dicts, tuples or plain values.

        Columns go to the fields of their names. ``reads`` names the views that must have reached the
        position asked for, if not all. Raises CodecError for rows that do not fit the type, and Unsupported
        where the store has no SQL.
        """
        if reads is None:
            await self._until_reached(None)
        else:
            for view in reads:
                await self._until_reached(self._type(view).name)
        columns, rows = await self._store.sql(text, parameters)
        return rows_as(type_, columns, rows)

    def _type(self, view: type[V]) -> ViewType[V]:
        found = self._types.get(view)
        if found is None:
            raise DefinitionError(
                f"This app has no view {view.__name__}: give the class to the App, besides "
                f"{', '.join(sorted(one.__name__ for one in self._types)) or 'its other parts'}."
            )
        return found

    async def _until_reached(self, name: str | None) -> None:
        if self._after <= 0 or self._wait is None or self._reached & {name, None}:
            return
        left = 0.0 if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        await self._wait(None if name is None else [name], self._after, left)
        self._reached.add(name)
