"""`App`: the parts of one application, checked and put together once, before any store is opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import MappingProxyType
from typing import Any

from foldline.app.running import Running, opened
from foldline.app.services import Services
from foldline.app.stores import utc_now
from foldline.app.sync import SyncRunning, opened_sync
from foldline.command.bus import Authorize
from foldline.command.handler import HandlerType, handler_type
from foldline.domain.aggregate import Aggregate, AggregateType, aggregate_type
from foldline.domain.codec import Codec
from foldline.domain.message import Command, Event, Query
from foldline.domain.routing import place, role_of
from foldline.domain.schema import Registry
from foldline.errors import DefinitionError
from foldline.observe import Observer
from foldline.projection import ProjectionType, projection_type
from foldline.projection.answers import QueryType, query_type
from foldline.projection.sql import Projection
from foldline.projection.view import View, ViewType
from foldline.store.spi import Clock


class App:
    """An application: what it is made of, under one name.

    ``parts`` are aggregate classes (or `AggregateType`), views, SQL projections, ``@handles`` and ``@answers``
    functions, and event types that none of these mentions. ``services`` are what handlers ask for by type: objects,
    or a mapping from the type asked for. ``authorize(actor, message)`` raises Forbidden for what an actor may not do.
    ``cache`` is how many folded aggregates are remembered.

    Raises DefinitionError for parts that do not fit together, such as two handlers of one command.
    """

    def __init__(
        self,
        name: str,
        *parts: Any,
        services: Mapping[type, Any] | Iterable[Any] = (),
        authorize: Authorize | None = None,
        observer: Observer | None = None,
        cache: int = 10_000,
    ) -> None:
        self.name = name
        self.authorize = authorize
        self.observer = observer
        self.cache = cache
        self.services = Services(services)
        self._aggregates: dict[str, AggregateType[Any]] = {}
        self._handlers: list[HandlerType] = []
        self._queries: dict[str, QueryType] = {}
        self._projections: dict[str, ProjectionType] = {}
        self._events = Registry("event")
        self._commands = Registry("command")
        self._deciders: dict[type[Command], str] = {}
        for part in parts:
            self._add(part)
        self.codec = Codec(self._events)
        for handler in self._handlers:
            for kind in handler.services.values():
                self.services.of(kind, place(handler.function))
        for query in self._queries.values():
            for kind in query.services.values():
                self.services.of(kind, place(query.function))

    def __repr__(self) -> str:
        return f"App({self.name!r})"

    @property
    def aggregates(self) -> Mapping[str, AggregateType[Any]]:
        """The aggregates, by name."""
        return MappingProxyType(self._aggregates)

    @property
    def handlers(self) -> tuple[HandlerType, ...]:
        """The application-level handlers."""
        return tuple(self._handlers)

    @property
    def commands(self) -> Mapping[str, type[Command]]:
        """Every command that may come from outside, by its declared name; internal ones are left out."""
        return MappingProxyType(
            {command.__message_name__: command for command in self._deciders if not command.__message_internal__}
        )

    @property
    def events(self) -> Mapping[str, type[Event]]:
        """Every event type, by its declared name."""
        return self._events.types  # type: ignore[return-value]

    @property
    def queries(self) -> Mapping[str, QueryType]:
        """What answers queries, by the query's declared name."""
        return MappingProxyType(self._queries)

    @property
    def projections(self) -> Mapping[str, ProjectionType]:
        """All projections, views and SQL alike, by name."""
        return MappingProxyType(self._projections)

    @property
    def views(self) -> Mapping[str, ViewType[Any]]:
        """The views, by name."""
        return {name: one for name, one in self._projections.items() if isinstance(one, ViewType)}

    def open(
        self,
        url: str,
        *,
        create: bool = True,
        run_projections: bool = True,
        clock: Clock = utc_now,
        observer: Observer | None = None,
    ) -> AbstractAsyncContextManager[Running]:
        """Open the store at a URL and run the application on it: ``async with app.open("sqlite:shop.db") as running``.

        With ``create=False`` the store must be there already. With ``run_projections=False`` the views are kept up to
        date by some other process, and only read here. Raises CannotOpen for the store, DefinitionError for views that
        do not fit what is stored.
        """
        observer = observer or self.observer
        return opened(self, url, create=create, run_projections=run_projections, clock=clock, observer=observer)

    def open_sync(
        self,
        url: str,
        *,
        create: bool = True,
        run_projections: bool = True,
        clock: Clock = utc_now,
        observer: Observer | None = None,
    ) -> AbstractContextManager[SyncRunning]:
        """The same for code without asyncio: ``with app.open_sync("sqlite:shop.db") as running``. Thread-safe."""
        return opened_sync(
            lambda: self.open(url, create=create, run_projections=run_projections, clock=clock, observer=observer)
        )

    # --- Putting the parts together ----------------------------------------------------------------------------------

    def _add(self, part: Any) -> None:
        if isinstance(part, AggregateType):
            self._add_aggregate(part)
        elif inspect.isclass(part) and issubclass(part, Aggregate):
            self._add_aggregate(aggregate_type(part))
        elif inspect.isclass(part) and issubclass(part, (View, Projection)):
            self._add_projection(projection_type(part))
        elif inspect.isclass(part) and issubclass(part, Event):
            self._events.add(part)
        elif inspect.isclass(part) and issubclass(part, (Command, Query)):
            raise DefinitionError(f"App {self.name!r} was given {part.__name__} itself: give it what handles it.")
        elif (role := role_of(part)) is not None and role.name == "handles":
            self._add_handler(part)
        elif role is not None and role.name == "answers":
            self._add_query(part)
        else:
            shown = place(part) if callable(part) else repr(part)
            raise DefinitionError(
                f"App {self.name!r} cannot use {shown}: parts are Aggregate, View, Projection and Event classes, "
                "and functions decorated with @handles or @answers."
            )

    def _add_aggregate(self, aggregate: AggregateType[Any]) -> None:
        for known in self._aggregates.values():
            if aggregate.category == known.category or aggregate.name == known.name:
                raise DefinitionError(
                    f"Aggregates {known.name} and {aggregate.name} share the name or the category "
                    f'{aggregate.category!r}: give one of them another, as in category="…".'
                )
        self._aggregates[aggregate.name] = aggregate
        self._take(aggregate.commands, aggregate.name)
        for event in aggregate.events:
            self._events.add(event)

    def _add_handler(self, function: Callable[..., Any]) -> None:
        handler = handler_type(function)
        self._handlers.append(handler)
        self._take(handler.commands, handler.name)

    def _take(self, commands: Iterable[type[Command]], by: str) -> None:
        for command in commands:
            if command in self._deciders:
                raise DefinitionError(
                    f"{command.__name__} is handled by {self._deciders[command]} and by {by}: keep one of them."
                )
            self._deciders[command] = by
            self._commands.add(command)

    def _add_projection(self, projection: ProjectionType) -> None:
        if projection.name in self._projections:
            raise DefinitionError(
                f'Two projections are named {projection.name!r}: give one of them another name, as in name="…".'
            )
        self._projections[projection.name] = projection
        for event in projection.events:
            self._events.add(event)

    def _add_query(self, function: Callable[..., Any]) -> None:
        answer = query_type(function)
        name = answer.query.__message_name__
        if name in self._queries:
            other = place(self._queries[name].function)
            raise DefinitionError(f"{name} is answered by {other} and by {place(function)}: keep one of them.")
        self._queries[name] = answer
