"""A view's rows after some events, through the real projector, as a store would keep and return them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Generic, TypeVar

from foldline.projection.projector import FoldFailed, ViewShare, decode
from foldline.projection.view import View, ViewType, view_type
from foldline.store.spi import Kind, RecordedEvent, Row, from_micros, to_micros
from foldline.testing.history import Past, recorded
from foldline.testing.show import LEGEND, differences, listed

V = TypeVar("V")

_AGAIN: dict[Kind, Callable[[Any], Any]] = {
    Kind.TIMESTAMP: lambda value: from_micros(to_micros(value)),
    Kind.DECIMAL: lambda value: Decimal(str(value)),
    Kind.REAL: lambda value: float(repr(value)),
}
"""What becomes of a value that is written to a database and read again, where it is not simply the same."""


def project(view: type[V], history: Iterable[Past]) -> Projected[V]:
    """The rows that a view has after a history. What a handler raises comes through, with the event in its notes."""
    __tracebackhide__ = True
    compiled = compiled_view(view)
    codec, events = recorded(history, compiled.events)
    try:
        share = ViewShare(compiled, decode(codec, events, compiled.names), events[-1].position if events else 0)
        changes = share.fold((), {})
    except FoldFailed as failed:
        raise with_event(failed, compiled, events) from None
    stored = stored_rows(compiled)
    return Projected(compiled, [compiled.struct(stored(row)) for row in changes.upserts])


class Projected(Generic[V]):
    """A view's rows; made by `given`. Each ``then…`` raises AssertionError where they are otherwise."""

    def __init__(self, view: ViewType[Any], rows: list[V]) -> None:
        self._view = view
        self.rows = rows
        """All rows, in the order in which their keys appeared."""

    def __repr__(self) -> str:
        return f"<{self._view.cls.__name__}, {len(self.rows)} rows>"

    def row(self, key: object) -> V:
        """The row of a key; raises AssertionError where there is none."""
        __tracebackhide__ = True
        for row in self.rows:
            if getattr(row, self._view.key.name) == key:
                return row
        known = [getattr(row, self._view.key.name) for row in self.rows]
        raise AssertionError(f"{self._view.cls.__name__} has no row {key!r}; its rows are\n{listed(known)}")

    def then(self, *expected: V) -> Projected[V]:
        """Exactly these are the rows, in whatever order; without any, there are none."""
        __tracebackhide__ = True
        name = self._view.key.name
        for row in expected:
            if not isinstance(row, self._view.cls):
                raise TypeError(f"{self._view.cls.__name__} has rows of its own type, not {row!r}.")
        wanted = sorted(expected, key=lambda row: repr(getattr(row, name)))
        found = sorted(self.rows, key=lambda row: repr(getattr(row, name)))
        if wanted != found:
            raise AssertionError(
                f"{self._view.cls.__name__} has other rows than expected {LEGEND}:\n{differences(wanted, found)}"
            )
        return self


def compiled_view(view: type[Any]) -> ViewType[Any]:
    """What a view class was compiled to; raises TypeError for what is none."""
    if not issubclass(view, View):
        raise TypeError(f"{view!r} is no View class; a Projection in SQL is tested on an open app (sqlite:).")
    return view_type(view)


def stored_rows(view: ViewType[Any]) -> Callable[[Row], Row]:
    """What becomes of a row in a database: times lose their offsets, and nothing is the same object any more."""
    changes = [(at, _AGAIN[column.kind]) for at, column in enumerate(view.columns) if column.kind in _AGAIN]

    def stored(row: Row) -> Row:
        values = list(row)
        for at, again in changes:
            if values[at] is not None:
                values[at] = again(values[at])
        return tuple(values)

    return stored


def with_event(failed: FoldFailed, view: ViewType[Any], events: list[RecordedEvent]) -> BaseException:
    """The error that a handler raised, with a note that tells on which event."""
    error = failed.error
    for number, one in enumerate(events, 1):
        if one.position == failed.position:
            error.add_note(f"{view.cls.__name__} failed on event {number}, {one.type} {one.data.decode()}")
    return error
