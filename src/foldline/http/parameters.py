"""Query strings as structs: a field is a parameter, one that holds several values is a repeated parameter."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast

import msgspec
from litestar.types import Scope
from msgspec import inspect as shapes

from foldline.domain.faults import faults_of
from foldline.errors import Fault, ValidationFailed
from foldline.http.requests import MAX_POSITION, pairs_of

T = TypeVar("T", bound=msgspec.Struct)

Position = Annotated[int, msgspec.Meta(ge=0, le=MAX_POSITION)]
"""A position in the log, as a parameter."""

_SEQUENCES = (
    shapes.ListType,
    shapes.SetType,
    shapes.FrozenSetType,
    shapes.VarTupleType,
    shapes.TupleType,
)
_STRUCTURES = (
    shapes.StructType,
    shapes.DictType,
    shapes.DataclassType,
    shapes.TypedDictType,
    shapes.NamedTupleType,
)


def parameters(type_: type[T], scope: Scope) -> T:
    """The query string as a struct, whose fields are the parameters; raises ValidationFailed."""
    return from_text("The query string", type_, pairs_of(scope))


def from_text(subject: str, type_: type[T], pairs: list[tuple[str, str]]) -> T:
    """A struct from text values: fields that hold several take a repeated name, structured ones take JSON."""
    fields = fields_of(type_)
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, text in pairs:
        shape = fields.get(name)
        several = shape is not None and is_sequence(shape)
        item: Any = text
        if shape is not None and takes_only_structures(item_of(shape) if several else shape):
            try:
                item = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                faults.append(Fault(f"$.{name}", f"It is not JSON: {error}"))
        if several:
            values.setdefault(name, []).append(item)
        elif name in values:
            faults.append(Fault(f"$.{name}", "It is given more than once"))
        else:
            values[name] = item
    converted: T | None = None
    try:
        converted = msgspec.convert(values, type_, strict=False)
    except (msgspec.MsgspecError, RecursionError) as error:
        told = {fault.path for fault in faults}
        faults += [fault for fault in faults_of(type_, values, error, strict=False) if fault.path not in told]
    if converted is None or faults:
        raise ValidationFailed(subject, faults)
    return converted


def fields_of(type_: type[msgspec.Struct]) -> dict[str, shapes.Type]:
    """The shape of each field, by its name on the wire."""
    return {field.encode_name: field.type for field in cast(shapes.StructType, shapes.type_info(type_)).fields}


def takes(shape: shapes.Type, kinds: tuple[type, ...]) -> bool:
    """Whether a field takes one of these kinds of values, maybe among others."""
    shape = plain(shape)
    if isinstance(shape, shapes.UnionType):
        return any(takes(one, kinds) for one in shape.types)
    return isinstance(shape, kinds)


def takes_only_structures(shape: shapes.Type) -> bool:
    """Whether no plain text can be a value of this field, so that it has to be JSON."""
    shape = plain(shape)
    if isinstance(shape, shapes.UnionType):
        return all(takes_only_structures(one) or isinstance(one, shapes.NoneType) for one in shape.types)
    return isinstance(shape, _STRUCTURES)


def item_of(shape: shapes.Type) -> shapes.Type:
    """The shape of a sequence's items; of anything, where it cannot be told."""
    shape = plain(shape)
    if isinstance(shape, shapes.UnionType):
        return next((item_of(one) for one in shape.types if takes(one, _SEQUENCES)), shapes.AnyType())
    found = getattr(shape, "item_type", None)
    return found if isinstance(found, shapes.Type) else shapes.AnyType()


def is_sequence(shape: shapes.Type) -> bool:
    """Whether a field takes a repeated parameter."""
    return takes(shape, _SEQUENCES)


def plain(shape: shapes.Type) -> shapes.Type:
    """A shape without the metadata around it."""
    while isinstance(shape, shapes.Metadata):
        shape = shape.type
    return shape


def _json(name: str, text: str, faults: list[Fault]) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        faults.append(Fault(f"$.{name}", f"It is not JSON: {error}"))
        return None
