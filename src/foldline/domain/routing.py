"""Finds which message types a decorated function takes, from its annotations, once, when a class is defined."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Union

from foldline.errors import DefinitionError

_MARK = "__foldline_role__"


class Role(NamedTuple):
    """What a decorator noted on a function: its role, such as ``handles``, and the decorator's options."""

    name: str
    options: Mapping[str, Any]


class Routed(NamedTuple):
    """A decorated function of a class, or of a module, with where it stands for error messages."""

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any]
    where: str


def mark(function: Callable[..., Any], role: str, **options: Any) -> None:
    """Note a role on a function; raises DefinitionError for a second one."""
    if role_of(function) is not None:
        raise DefinitionError(f"{place(function)} has two of Foldline's decorators: give each its own function.")
    setattr(function, _MARK, Role(role, options))


def role_of(thing: object) -> Role | None:
    """The role noted on a function, if any."""
    found = getattr(thing, _MARK, None)
    return found if isinstance(found, Role) else None


def place(function: Callable[..., Any]) -> str:
    """A function's name with its file and line, as error messages tell it."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


def routed(cls: type, role: str) -> Iterator[Routed]:
    """The class's functions of a role, inherited ones included, in the order of their definition."""
    seen: set[str] = set()
    found: list[Routed] = []
    for base in cls.__mro__:
        for name, value in vars(base).items():
            noted = role_of(value)
            if name not in seen and noted is not None and noted.name == role:
                found.append(Routed(name, value, noted.options, place(value)))
            seen.add(name)
    return iter(sorted(found, key=lambda one: _line(one.function)))


def _line(function: Callable[..., Any]) -> int:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def signature_types(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotation of each parameter (``inspect.Parameter.empty`` where it has none), ``self`` left out."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError) as error:
        raise DefinitionError(
            f"{place(function)} has an annotation that cannot be resolved ({error}): "
            "define or import that type at module level, above this class."
        ) from None
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return {name: hints.get(name, inspect.Parameter.empty) for name in names}


def message_types(function: Callable[..., Any], parameter: str, annotation: Any, base: type) -> tuple[type, ...]:
    """The message types of an annotation: one class, or a union of them; raises DefinitionError for others."""
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for member in members:
        if not (isinstance(member, type) and issubclass(member, base) and member is not base):
            said = "no annotation" if member is inspect.Parameter.empty else f"the annotation {_name(member)}"
            raise DefinitionError(
                f"{place(function)}: parameter {parameter!r} has {said}; "
                f"annotate it with the {base.__name__} type it takes (or a union of them)."
            )
    return members


def first_parameter(function: Callable[..., Any]) -> tuple[str, Any, dict[str, Any]]:
    """The message parameter's name and annotation, and those of the parameters after it."""
    found = signature_types(function)
    if not found:
        raise DefinitionError(f"{place(function)} takes no message: give it a parameter annotated with its type.")
    name = next(iter(found))
    annotation = found.pop(name)
    return name, annotation, found


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
