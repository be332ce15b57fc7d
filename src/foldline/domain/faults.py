"""Finds every fault of a message with its path, where the fast decoder stops at the first one."""

from __future__ import annotations

import re
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
        try:
            raw = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [first]
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


def _walk(shape: shapes.Type, type_: Any, value: object, path: str, strict: bool, found: list[Fault]) -> None:
    if len(found) >= _MOST:
        return
    try:
        msgspec.convert(value, type_, strict=strict)
    except msgspec.ValidationError as error:
        before = len(found)
        _descend(shape, value, path, strict, found)
        if len(found) == before:
            fault = _first(error)
            found.append(Fault(path + fault.path.removeprefix("$"), fault.message))


def _descend(shape: shapes.Type, value: object, path: str, strict: bool, found: list[Fault]) -> None:
    if isinstance(shape, shapes.Metadata):
        _descend(shape.type, value, path, strict, found)
    elif isinstance(shape, shapes.UnionType):
        members = [one for one in shape.types if not isinstance(one, shapes.NoneType)]
        if len(members) == 1:
            _descend(members[0], value, path, strict, found)
    elif isinstance(shape, shapes.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in shape.fields}
        hints = msgspec.structs.fields(shape.cls)
        types = {field.encode_name: field.type for field in hints}
        for name, field in fields.items():
            if name in value:
                _walk(field.type, types[name], value[name], f"{path}.{name}", strict, found)
            elif field.required:
                found.append(Fault(f"{path}.{name}", "It is required but missing"))
        if shape.forbid_unknown_fields:
            found.extend(Fault(f"{path}.{name}", "There is no such field") for name in value if name not in fields)
    elif isinstance(shape, (shapes.ListType, shapes.VarTupleType)) and isinstance(value, (list, tuple)):
        item = shape.item_type.type if isinstance(shape.item_type, shapes.Metadata) else shape.item_type
        if isinstance(item, shapes.StructType):
            for index, one in enumerate(value):
                _walk(item, item.cls, one, f"{path}[{index}]", strict, found)
