"""Foldline: event-sourced, CQRS applications in plain typed Python. State is a fold over a line of events.

These are the public names. Each is loaded when it is first used, so that importing the package costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msgspec import Meta as Meta

    from foldline.app import App as App
    from foldline.app import Running as Running
    from foldline.app import SyncRunning as SyncRunning
    from foldline.app import open_store as open_store
    from foldline.command.handler import Context as Context
    from foldline.command.receipt import Receipt as Receipt
    from foldline.domain.aggregate import Aggregate as Aggregate
    from foldline.domain.aggregate import AggregateType as AggregateType
    from foldline.domain.aggregate import applies as applies
    from foldline.domain.aggregate import handles as handles
    from foldline.domain.decider import Decider as Decider
    from foldline.domain.decider import fold as fold
    from foldline.domain.message import Command as Command
    from foldline.domain.message import Envelope as Envelope
    from foldline.domain.message import Event as Event
    from foldline.domain.message import Query as Query
    from foldline.domain.message import StreamId as StreamId
    from foldline.errors import Conflict as Conflict
    from foldline.errors import FoldlineError as FoldlineError
    from foldline.errors import Forbidden as Forbidden
    from foldline.errors import Rejected as Rejected
    from foldline.errors import ValidationFailed as ValidationFailed
    from foldline.projection.answers import answers as answers
    from foldline.projection.query import Page as Page
    from foldline.projection.query import Views as Views
    from foldline.projection.sql import Projection as Projection
    from foldline.projection.view import DELETE as DELETE
    from foldline.projection.view import Delete as Delete
    from foldline.projection.view import Index as Index
    from foldline.projection.view import View as View
    from foldline.projection.view import projects as projects
    from foldline.store.spi import RecordedEvent as RecordedEvent
    from foldline.store.spi import Transaction as Transaction

__version__ = "0.1.0"

_MODULES = {
    "msgspec": ("Meta",),
    "foldline.app": ("App", "Running", "SyncRunning", "open_store"),
    "foldline.command.handler": ("Context",),
    "foldline.command.receipt": ("Receipt",),
    "foldline.domain.aggregate": ("Aggregate", "AggregateType", "applies", "handles"),
    "foldline.domain.decider": ("Decider", "fold"),
    "foldline.domain.message": ("Command", "Envelope", "Event", "Query", "StreamId"),
    "foldline.errors": ("Conflict", "FoldlineError", "Forbidden", "Rejected", "ValidationFailed"),
    "foldline.projection.answers": ("answers",),
    "foldline.projection.query": ("Page", "Views"),
    "foldline.projection.sql": ("Projection",),
    "foldline.projection.view": ("DELETE", "Delete", "Index", "View", "projects"),
    "foldline.store.spi": ("RecordedEvent", "Transaction"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  (in the order a reader meets them)
    "Event",
    "Command",
    "Query",
    "Meta",
    "Aggregate",
    "handles",
    "applies",
    "Decider",
    "fold",
    "AggregateType",
    "Rejected",
    "View",
    "Index",
    "projects",
    "DELETE",
    "Delete",
    "Projection",
    "Transaction",
    "answers",
    "Views",
    "Page",
    "Context",
    "App",
    "Running",
    "SyncRunning",
    "Receipt",
    "open_store",
    "Envelope",
    "RecordedEvent",
    "StreamId",
    "FoldlineError",
    "ValidationFailed",
    "Forbidden",
    "Conflict",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'foldline' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
