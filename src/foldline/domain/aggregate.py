"""Aggregates as classes: typed state with `@handles` and `@applies` methods, compiled to a `Decider`."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, dataclass_transform

import msgspec

from foldline.domain.decider import Decider
from foldline.domain.message import Command, Event, StreamId, snake_case
from foldline.domain.routing import first_parameter, mark, message_types, routed
from foldline.errors import DefinitionError

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")


def handles(function: F) -> F:
    """Mark what decides on a command.

    On an aggregate's method ``(self, command)``: it yields (or returns) events, or raises `Rejected`; it does no I/O.
    On a module's ``async def f(command, ctx, …)``: an application-level handler, which may use services.
    """
    mark(function, "handles")
    return function


def applies(function: F) -> F:
    """Mark an aggregate's method ``(self, event)`` that changes the state by an event: no rules, no I/O, no failing."""
    mark(function, "applies")
    return function


class AggregateType(msgspec.Struct, Generic[S], frozen=True):
    """What Foldline needs to know of an aggregate; made from a class by `aggregate_type`, or by hand from a Decider.

    ``id_field`` is the field of every command that names the aggregate; its stream is ``<category>-<id>``.
    ``snapshot_every`` is a number of events, or None for no snapshots, which need a ``state_type``.
    """

    name: str
    category: str
    id_field: str
    decider: Decider[Any, S, Any]
    commands: tuple[type[Command], ...]
    events: tuple[type[Event], ...]
    state_type: type[S] | None = None
    snapshot_every: int | None = None
    version: int = 1

    def __post_init__(self) -> None:
        """Raise DefinitionError for parts that do not fit together."""
        if not re.fullmatch(r"[A-Za-z0-9_.]{1,100}", self.category):
            raise DefinitionError(
                f"{self.name} has the category {self.category!r}: use 1 to 100 letters, digits, dots and underscores "
                f"(a hyphen ends the category in a stream's name, as in {StreamId('order', '1')})."
            )
        if self.snapshot_every is not None and self.snapshot_every < 1:
            raise DefinitionError(
                f"{self.name} has snapshot_every={self.snapshot_every}: give a number of events, or None."
            )
        for command in self.commands:
            if self.id_field not in command.__struct_fields__:
                raise DefinitionError(
                    f"{self.name} is found by {self.id_field!r}, but {command.__name__}, which it handles, "
                    "has no such field: add it to the command, or name another field in id=."
                )

    def stream_of(self, id: object) -> str:
        """The stream of the aggregate with that id."""
        return f"{self.category}-{id}"

    def stream_for(self, command: Command) -> str:
        """The stream of the aggregate that a command names."""
        return f"{self.category}-{getattr(command, self.id_field)}"

    def fingerprint(self) -> str:
        """A digest of the state's shape and version: a snapshot of another one is of no use."""
        schema = msgspec.json.schema(self.state_type) if self.state_type else {}
        encoded = msgspec.json.encode([self.category, self.version, schema], order="sorted")
        return hashlib.blake2b(encoded, digest_size=12).hexdigest()


@dataclass_transform(field_specifiers=(msgspec.field,))
class AggregateMeta(msgspec.StructMeta):
    """Adds ``id=``, ``category=``, ``snapshot_every=`` and ``version=`` to an aggregate's class line."""

    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        id: str | None = None,
        category: str | None = None,
        snapshot_every: int | None = None,
        version: int = 1,
        **config: Any,
    ) -> AggregateMeta:
        """Create and compile the class; raises DefinitionError naming what is wrong with it and what to do."""
        cls = super().__new__(mcls, cls_name, bases, namespace, **config)
        if id is not None:
            cls.__aggregate_type__ = _compile(  # type: ignore[attr-defined]
                cls, id, snake_case(cls_name) if category is None else category, snapshot_every, version
            )
        return cls


class Aggregate(msgspec.Struct, metaclass=AggregateMeta):
    """A consistency boundary: state that only its own events change, and rules that decide on commands.

    ``class Order(Aggregate, id="order_id")`` handles commands whose field ``order_id`` names it; its stream is
    ``order-<order_id>``. Each field needs a default: a new aggregate is ``Order()``. A class without ``id=`` is a
    base for others.
    """


def aggregate_type(cls: type[S]) -> AggregateType[S]:
    """What an aggregate class was compiled to; raises DefinitionError for a class that is none."""
    found = vars(cls).get("__aggregate_type__")
    if not isinstance(found, AggregateType):
        raise DefinitionError(
            f'{cls.__name__} is no aggregate: write class {cls.__name__}(Aggregate, id="…") with the id field\'s name.'
        )
    return found


def _compile(cls: Any, id_field: str, category: str, snapshot_every: int | None, version: int) -> AggregateType[Any]:
    for field in msgspec.structs.fields(cls):
        if field.required:
            raise DefinitionError(f"{cls.__name__}.{field.name} has no default: a new aggregate starts from defaults.")
    if snapshot_every is not None:
        try:
            msgspec.json.schema(cls)
        except (TypeError, NameError) as error:
            raise DefinitionError(
                f"{cls.__name__} has snapshot_every={snapshot_every}, but its state cannot be written as JSON "
                f"({str(error).splitlines()[-1]}): give its fields types that can, or leave snapshots out."
            ) from None
    handlers = _routes(cls, "handles", Command)
    if not handlers:
        raise DefinitionError(f"{cls.__name__} handles no command: give it a method decorated with @handles.")
    for command, handler in handlers.items():
        if id_field not in command.__struct_fields__:
            raise DefinitionError(
                f"{cls.__name__} is found by {id_field!r}, but {command.__name__}, which {handler.__qualname__} "
                f"handles, has no such field: add it to the command, or name another field in id=."
            )
    appliers = _routes(cls, "applies", Event)

    def decide(command: Command, state: Any) -> Iterable[Event]:
        decided = handlers[type(command)](state, command)
        if decided is None:
            return ()
        return (decided,) if isinstance(decided, Event) else decided

    def evolve(state: Any, event: Event) -> Any:
        # An event that no method applies is recorded for others and leaves the state alone.
        applier = appliers.get(type(event))
        if applier is not None:
            applier(state, event)
        return state

    return AggregateType(
        name=cls.__name__,
        category=category,
        id_field=id_field,
        decider=Decider(cls, decide, evolve),
        commands=tuple(handlers),
        events=tuple(appliers),
        state_type=cls,
        snapshot_every=snapshot_every,
        version=version,
    )


def _routes(cls: type, role: str, base: type) -> dict[Any, Callable[..., Any]]:
    routes: dict[Any, Callable[..., Any]] = {}
    for found in routed(cls, role):
        if inspect.iscoroutinefunction(found.function) or inspect.isasyncgenfunction(found.function):
            raise DefinitionError(
                f"{found.where} is async, but an aggregate does no I/O: fetch in an application-level handler first."
            )
        name, annotation, others = first_parameter(found.function)
        if others:
            raise DefinitionError(f"{found.where} takes more than its message: {', '.join(others)}.")
        for kind in message_types(found.function, name, annotation, base):
            if kind in routes:
                raise DefinitionError(
                    f"{cls.__name__} {role} {kind.__name__} twice, in {routes[kind].__qualname__} and {found.where}: "
                    "keep one of them."
                )
            routes[kind] = found.function
    return routes
