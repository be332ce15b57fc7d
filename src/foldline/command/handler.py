"""Application-level handlers: async functions that fetch what a decision needs, then decide inside aggregates."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from foldline.command.gates import Gates
from foldline.command.loader import Loaded, Loader
from foldline.domain.aggregate import AggregateType, aggregate_type
from foldline.domain.codec import check
from foldline.domain.decider import run
from foldline.domain.message import Command, Event, Query
from foldline.domain.routing import first_parameter, message_types, place
from foldline.domain.state import copier
from foldline.errors import DefinitionError, UnknownName

S = TypeVar("S")
T = TypeVar("T")


class Origin(NamedTuple):
    """Where a command comes from: written on every event it leads to."""

    command_id: str
    correlation_id: str
    causation_id: str
    actor: str | None
    metadata: bytes


class Ask(Protocol):
    """Answers queries; given to handlers by the application."""

    async def __call__(self, query: Query[T], /) -> T:
        """The answer."""
        ...


class GatesNeeded(BaseException):
    """A handler came upon a stream it must not wait for while it holds others: begin again with all of them.

    Never leaves the bus. Not an Exception, so that a handler's ``except Exception`` does not keep it.
    """

    def __init__(self, streams: frozenset[str]) -> None:
        self.streams = streams
        super().__init__(f"needs {sorted(streams)}")


class Change(NamedTuple):
    """What a handler decided in one aggregate so far."""

    aggregate: AggregateType[Any]
    before: Loaded
    state: Any
    events: list[Event]


class Context:
    """What an application-level handler works with. It lives for one attempt at one command.

    Everything decided through it is recorded in one atomic append when the handler returns; where that conflicts with
    somebody else's, the handler runs again from its start, so it must not change the outside world.
    """

    def __init__(
        self,
        origin: Origin,
        aggregates: Mapping[type[Command], AggregateType[Any]],
        loader: Loader,
        gates: Gates,
        held: set[str],
        ask: Ask,
    ) -> None:
        self._origin = origin
        self._aggregates = aggregates
        self._loader = loader
        self._gates = gates
        self._held = held
        self._ask = ask
        # A handler may use tasks; what these do through the context happens one after the other all the same.
        self._turn = asyncio.Lock()
        self._ended = False
        self.changes: dict[str, Change] = {}
        self.needed: frozenset[str] | None = None
        """Set once a `GatesNeeded` was raised, whatever became of it on its way out of the handler."""

    @property
    def command_id(self) -> str:
        """The id of the command being handled."""
        return self._origin.command_id

    @property
    def correlation_id(self) -> str:
        """The id that everything of this business conversation shares."""
        return self._origin.correlation_id

    @property
    def actor(self) -> str | None:
        """On whose behalf the command is handled."""
        return self._origin.actor

    async def decide(self, command: Command) -> list[Event]:
        """Have the command's aggregate decide; the events it led to, which are recorded when the handler ends.

        Raises `Rejected` from the aggregate, and UnknownName where no aggregate handles such a command.
        """
        command, _ = check(command)
        aggregate = self._aggregates.get(type(command))
        if aggregate is None:
            known = [one.__message_name__ for one in self._aggregates]
            raise UnknownName("command of an aggregate", type(command).__message_name__, known)
        stream_id = aggregate.stream_for(command)
        async with self._turn:
            change = await self._change(aggregate, stream_id)
            # Decided on a copy, so that a handler which catches a rejection keeps what was decided before.
            events, state = run(aggregate.decider, command, copier(aggregate.state_type)(change.state))
            self.changes[stream_id] = change._replace(state=state, events=change.events + events)
        return events

    async def load(self, aggregate: type[S], id: object) -> S:
        """The state of an aggregate as this handler sees it, its own decisions included; a copy, for looking only.

        The append will also check that nobody changed it meanwhile.
        """
        compiled = aggregate_type(aggregate)
        async with self._turn:
            change = await self._change(compiled, compiled.stream_of(id))
        state: S = copier(compiled.state_type)(change.state)
        return state

    async def ask(self, query: Query[T]) -> T:
        """The answer of a query; it may be a moment old."""
        return await self._ask(query)

    def end(self) -> None:
        """The attempt is over: whatever still runs of the handler can decide nothing any more."""
        self._ended = True

    async def _change(self, aggregate: AggregateType[Any], stream_id: str) -> Change:
        self._check_alive()
        change = self.changes.get(stream_id)
        if change is None:
            await self._enter(stream_id)
            loaded = self._loader.recall(stream_id) or await self._loader.load(aggregate, stream_id)
            self._check_alive()
            change = self.changes[stream_id] = Change(aggregate, loaded, loaded.state, [])
        return change

    async def _enter(self, stream_id: str) -> None:
        if stream_id in self._held:
            return
        # Waiting only in sorted order cannot deadlock; out of order, only a free gate is taken.
        if not self._gates.is_free(stream_id) and any(held > stream_id for held in self._held):
            self.needed = frozenset(self._held) | {stream_id}
            raise GatesNeeded(self.needed)
        await self._gates.enter(stream_id)
        if self._ended:
            self._gates.leave(stream_id)
            self._check_alive()
        self._held.add(stream_id)

    def _check_alive(self) -> None:
        if self._ended:
            raise RuntimeError(
                "The handler is over, but a task that it started still uses its context: await it there."
            )


class HandlerType(NamedTuple):
    """A compiled application-level handler: the commands it takes, and the parameters that services fill, by type."""

    function: Callable[..., Awaitable[None]]
    commands: tuple[type[Command], ...]
    services: Mapping[str, type]

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", repr(self.function))


def handler_type(function: Callable[..., Any]) -> HandlerType:
    """Compile ``async def f(command: C, ctx: Context, service: S, …)``; raises DefinitionError for another shape."""
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{place(function)} is no async function: an application-level handler is async def f(command, ctx, …); "
            "a method that decides belongs in an Aggregate class."
        )
    name, annotation, others = first_parameter(function)
    commands = message_types(function, name, annotation, Command)
    if not others:
        raise DefinitionError(f"{place(function)} takes no context: its second parameter is ctx: Context.")
    context, context_annotation = next(iter(others.items()))
    if context_annotation not in (Context, inspect.Parameter.empty):
        raise DefinitionError(f"{place(function)}: the second parameter, {context!r}, is to be annotated Context.")
    services = {name: annotation for name, annotation in others.items() if name != context}
    for parameter, service in services.items():
        if service is inspect.Parameter.empty or not isinstance(service, type):
            raise DefinitionError(f"{place(function)}: parameter {parameter!r} needs the class of a service.")
    return HandlerType(function, commands, services)
