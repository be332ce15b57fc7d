"""Query handlers: functions marked with `@answers`, and what they take."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from foldline.domain.message import Query
from foldline.domain.routing import first_parameter, mark, message_types, place, role_of
from foldline.errors import DefinitionError
from foldline.projection.query import Views

F = TypeVar("F", bound=Callable[..., Any])


def answers(function: F) -> F:
    """Mark what answers a query: ``async def f(query: OrdersOf, views: Views, shop: Shop) -> Page[…]``.

    Its first parameter is the query; the others are given by their types: `Views`, or services of the App.
    """
    mark(function, "answers")
    return function


@dataclass(frozen=True, slots=True, eq=False)
class QueryType:
    """A query handler as it was compiled.

    ``returns`` is what the query's class says its answer is. ``views`` names the parameters that take
    `Views`; ``services`` those that take services, with their types.
    """

    query: type[Query[Any]]
    function: Callable[..., Any]
    returns: Any
    views: tuple[str, ...]
    services: Mapping[str, Any]
    where: str

    async def answer(self, query: Query[Any], views: Views, services: Mapping[Any, object]) -> Any:
        """Ask it; ``services`` holds an object for each of the types in `services`."""
        given: dict[str, object] = dict.fromkeys(self.views, views)
        for name, type_ in self.services.items():
            given[name] = services[type_]
        return await self.function(query, **given)


def query_type(function: Callable[..., Any]) -> QueryType:
    """What a function marked with `@answers` was compiled to; raises DefinitionError for what is wrong."""
    role = role_of(function)
    where = place(function)
    if role is None or role.name != "answers":
        raise DefinitionError(f"{where} is no query handler: decorate it with @answers.")
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(f"{where} is not async: write `async def`, for it awaits its views.")
    name, annotation, others = first_parameter(function)
    query, *more = message_types(function, name, annotation, Query)
    if more:
        raise DefinitionError(
            f"{where} answers several queries: give each its own function, for each has its own answer."
        )
    for parameter, wanted in others.items():
        if wanted is inspect.Parameter.empty:
            raise DefinitionError(
                f"{where}: parameter {parameter!r} has no annotation; say what it is given: Views, or a service's type."
            )
        kind = inspect.signature(function).parameters[parameter].kind
        if kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise DefinitionError(f"{where}: parameter {parameter!r} cannot be given by name: make it a plain one.")
    return QueryType(
        query,
        function,
        answer_of(query),
        tuple(parameter for parameter, wanted in others.items() if wanted is Views),
        {parameter: wanted for parameter, wanted in others.items() if wanted is not Views},
        where,
    )


def answer_of(query: type[Query[Any]]) -> Any:
    """The type of a query's answer: ``T`` of the ``Query[T]`` it derives from, Any where it does not say."""
    for cls in query.__mro__:
        for base in vars(cls).get("__orig_bases__", ()):
            if typing.get_origin(base) is Query:
                return typing.get_args(base)[0]
    return Any
