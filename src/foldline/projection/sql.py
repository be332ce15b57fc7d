"""Projections that are better said in SQL: own tables, and async handlers that are given the transaction."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from foldline.domain.message import Envelope, Event, snake_case
from foldline.domain.routing import first_parameter, message_types, routed
from foldline.errors import DefinitionError
from foldline.projection.spec import Compiled, check_name, check_version, digest
from foldline.store.spi import ProjectionSpec, Transaction


class Projection:
    """A read model written in SQL, kept in tables of its own.

    ``class Sales(Projection, tables=("sales",), version=1)`` has ``setup``, the SQL that makes these tables,
    and methods ``@projects async def paid(self, event: OrderPaid, tx: Transaction)`` that change them by
    ``await tx.execute("… ? …", value)``. A handler awaits nothing but the transaction, and may run twice,
    for what it does commits together with the checkpoint or not at all. ``self`` keeps no state.
    """

    setup: ClassVar[str | Sequence[str]] = ""

    def __init_subclass__(
        cls, *, tables: Sequence[str] = (), name: str | None = None, version: int = 1, **kwargs: Any
    ) -> None:
        """Compile the class; raises DefinitionError naming what is wrong with it and what to do."""
        super().__init_subclass__(**kwargs)
        if tables:
            compiled = _compile(cls, tables, snake_case(cls.__name__) if name is None else name, version)
            cls.__sql_type__ = compiled  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, eq=False)
class SqlRoute:
    """One handler of a SQL projection, and in which order it takes the envelope and the transaction."""

    handler: Callable[..., Awaitable[None]]
    takes: tuple[type, ...]
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class SqlType(Compiled):
    """What a `Projection` class was compiled to; two are equal only if they are the same."""

    name: str
    cls: type[Projection]
    version: int
    spec: ProjectionSpec
    routes: Mapping[type[Event], SqlRoute]
    instance: Projection

    @property
    def kind(self) -> str:
        """What sort of projection it is."""
        return "sql"


def sql_type(cls: type[Projection]) -> SqlType:
    """What a `Projection` class was compiled to; raises DefinitionError for a class that is none."""
    found = vars(cls).get("__sql_type__")
    if not isinstance(found, SqlType):
        raise DefinitionError(
            f'{cls.__name__} is no projection: write class {cls.__name__}(Projection, tables=("…",)) '
            "with the names of the tables that its setup makes."
        )
    return found


def _compile(cls: type[Projection], tables: Sequence[str], name: str, version: int) -> SqlType:
    if isinstance(tables, str):
        raise DefinitionError(f'{cls.__name__} declares tables={tables!r}: give a tuple, as in tables=("{tables}",).')
    for one in (name, *tables):
        check_name(cls.__name__, one)
    check_version(cls.__name__, version)
    said = (cls.setup,) if isinstance(cls.setup, str) else tuple(cls.setup)
    setup = tuple(statement for text in said for statement in statements(text))
    if not setup:
        raise DefinitionError(f"{cls.__name__} has no setup: give it `setup`, the SQL that makes {', '.join(tables)}.")
    routes: dict[type[Event], SqlRoute] = {}
    for found in routed(cls, "projects"):
        if not inspect.iscoroutinefunction(found.function):
            raise DefinitionError(f"{found.where} is not async: write `async def`, for it awaits its transaction.")
        if found.options["keys"] is not None:
            raise DefinitionError(f"{found.where} has keys=, which only a View's handler can use: leave it out.")
        parameter, annotation, others = first_parameter(found.function)
        takes = tuple(others.values())
        if Transaction not in takes or len(set(takes)) < len(takes) or not set(takes) <= {Transaction, Envelope}:
            raise DefinitionError(
                f"{found.where} takes {', '.join(others) or 'nothing'} besides its event: it must take "
                "`tx: Transaction`, and may take `envelope: Envelope`."
            )
        for event in message_types(found.function, parameter, annotation, Event):
            if event in routes:
                raise DefinitionError(
                    f"{cls.__name__} projects {event.__name__} twice, in {routes[event].where} "
                    f"and {found.where}: keep one of them."
                )
            routes[event] = SqlRoute(found.function, takes, found.where)
    if not routes:
        raise DefinitionError(f"{cls.__name__} projects no event: give it a method decorated with @projects.")
    spec = ProjectionSpec(name, digest("sql", name, version, tables, setup), (), setup, tuple(tables))
    try:
        instance = cls()
    except TypeError as error:
        raise DefinitionError(f"{cls.__name__} cannot be made without arguments: {error}. Give it none.") from None
    return SqlType(name, cls, version, spec, routes, instance)


_TOKEN = re.compile(
    r"""
      --[^\n]*                              # a comment to the line's end
    | /\*.*?(?:\*/|\Z)                      # a comment of any length
    | '(?:[^']|'')*(?:'|\Z)                 # text
    | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z)  # names
    | \$(?P<tag>[A-Za-z_]*)\$.*?(?:\$(?P=tag)\$|\Z)               # PostgreSQL's quoted bodies
    | [A-Za-z_][A-Za-z0-9_$]*               # words
    | ;
    | \s+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_BODIED = re.compile(
    r"\bCREATE\b(?:\s+OR\s+REPLACE)?(?:\s+TEMP(?:ORARY)?)?\s+(?:TRIGGER|FUNCTION|PROCEDURE)\b", re.IGNORECASE
)


def statements(text: str) -> Iterator[str]:
    """SQL text cut at its semicolons; those in text, names, comments and bodies of triggers do not count."""
    parts: list[str] = []
    words: list[str] = []
    depth = 0
    for token in _TOKEN.finditer(text):
        found = token[0]
        word = found.upper()
        if found == ";" and depth == 0:
            if words:
                yield "".join(parts).strip()
            parts, words = [], []
            continue
        parts.append(found)
        if found.isspace() or found.startswith(("--", "/*")):
            continue
        words.append(word)
        # Only bodies nest; elsewhere BEGIN and END are names, or a CASE that holds no semicolon anyway.
        if len(words) > 2 and _BODIED.match(" ".join(words[:5])):
            depth += 1 if word in ("BEGIN", "CASE") else -1 if word == "END" and depth else 0
    if words:
        yield "".join(parts).strip()
