"""Finds every fault of a message with its path, where the fast decoder stops at the first one."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as shapes

from foldline.errors import Fault

_MOST = 100
_AT = re.compile(r"^(?P<message>.*?)(?: - at `(?P<path>\$.*)`)?$", re.DOTALL)


def faults_of(type_: type, raw: object, error: Exception, *, strict: bool = True) -> list[Fault]:
    """All faults (at most 100) of JSON bytes, or of decoded values, that did not decode as a type.

    ``error`` is what the decoder raised; where looking closer finds nothing more, it is the one fault told.
    """
    first = _first(error)
    if isinstance(raw, bytes):
        body = raw
        try:
            raw = msgspec.json.decode(body)
        except RecursionError:
            return [first]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [_malformed(body, first)]
    found: list[Fault] = []
    try:
        _walk(shapes.type_info(type_), type_, raw, "$", strict, found)
    except RecursionError:
        return [first]
    return found or [first]


def _first(error: Exception) -> Fault:
    if isinstance(error, RecursionError):
        return Fault("$", "It is nested too deeply")
    matched = _AT.match(str(error))
    return Fault(matched["path"] or "$", matched["message"]) if matched else Fault("$", str(error))


def _malformed(raw: bytes, first: Fault) -> Fault:
    """The decoder takes half of a surrogate pair for the end of the text; Python's own reads it."""
    if b"\\u" not in raw:
        return first
    try:
        json.dumps(json.loads(raw), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Fault("$", "It holds half of a surrogate pair, which is no text")
    except (ValueError, RecursionError):
        return first
    return first


def _walk(shape: shapes.Type, type_: Any, value: object, path: str, strict: bool, found: list[Fault]) -> None:
    if len(found) >= _MOST:
        return
    try:
        msgspec.convert(value, type_, strict=strict)
    except msgspec.ValidationError as error:
        before = len(found)
        _descend(shape, type_, value, path, strict, found)
        if len(found) == before:
            fault = _first(error)
            found.append(Fault(path + fault.path.removeprefix("$"), fault.message))


def _descend(shape: shapes.Type, type_: Any, value: object, path: str, strict: bool, found: list[Fault]) -> None:
    type_ = _bare(type_)
    if isinstance(shape, shapes.Metadata):
        _descend(shape.type, type_, value, path, strict, found)
    elif isinstance(shape, shapes.UnionType):
        members = [one for one in typing.get_args(type_) if one is not type(None)]
        meant = [one for one in members if _is_meant(shapes.type_info(one), value)] if len(members) > 1 else members
        if len(meant) == 1:
            _descend(shapes.type_info(meant[0]), meant[0], value, path, strict, found)
    elif isinstance(shape, shapes.StructType) and isinstance(value, dict):
        _fields(shape, value, path, strict, found)
    else:
        for item_type, item, where in _items(shape, type_, value, path):
            _walk(shapes.type_info(item_type), item_type, item, where, strict, found)


def _is_meant(shape: shapes.Type, value: object) -> bool:
    """Whether a value says, by its tag, that it is this struct of a union."""
    while isinstance(shape, shapes.Metadata):
        shape = shape.type
    return isinstance(shape, shapes.StructType) and isinstance(value, dict) and value.get(shape.tag_field) == shape.tag


def _fields(shape: shapes.StructType, value: dict[Any, object], path: str, strict: bool, found: list[Fault]) -> None:
    fields = {field.encode_name: field for field in shape.fields}
    types = {field.encode_name: field.type for field in msgspec.structs.fields(shape.cls)}
    tag = shape.tag_field
    for name, field in fields.items():
        if name in value:
            _walk(field.type, types[name], value[name], f"{path}.{name}", strict, found)
        elif field.required:
            found.append(Fault(f"{path}.{name}", "It is required but missing"))
    if shape.forbid_unknown_fields:
        found.extend(
            Fault(f"{path}.{name}", "There is no such field") for name in value if name not in fields and name != tag
        )


def _items(shape: shapes.Type, type_: Any, value: object, path: str) -> Iterator[tuple[Any, object, str]]:
    """What a container holds, each with the type it should have and its path."""
    arguments = typing.get_args(type_)
    if isinstance(shape, shapes.DictType) and isinstance(value, dict) and len(arguments) == 2:
        for key, item in value.items():
            yield arguments[1], item, f"{path}.{key}"
    elif isinstance(value, (list, tuple)) and arguments:
        if isinstance(shape, shapes.TupleType):
            types: tuple[Any, ...] = arguments if len(arguments) == len(value) else ()
        elif isinstance(shape, shapes.CollectionType):
            types = (arguments[0],) * len(value)
        else:
            return
        for index, (one, item) in enumerate(zip(types, value, strict=False)):
            yield one, item, f"{path}[{index}]"


def _bare(type_: Any) -> Any:
    """A type without ``Annotated``, ``NewType`` and aliases around it."""
    while True:
        if typing.get_origin(type_) is typing.Annotated:
            type_ = type_.__origin__
        elif isinstance(type_, typing.NewType):
            type_ = type_.__supertype__
        elif type(type_).__name__ == "TypeAliasType":
            type_ = type_.__value__
        else:
            return type_
