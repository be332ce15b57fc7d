"""Copies of aggregate states, as cheap as the state's types allow.

Every decision is made on a copy, so that one which is refused, or loses a race, leaves the cached state as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from msgspec import inspect as shapes

_CONTAINERS = (shapes.ListType, shapes.SetType, shapes.DictType)
_MUTABLE = (
    *_CONTAINERS,
    shapes.AnyType,
    shapes.CustomType,
    shapes.DataclassType,
    shapes.TypedDictType,
    shapes.ByteArrayType,
    shapes.MemoryViewType,
    shapes.ExtType,
    shapes.RawType,
)

_copiers: dict[Any, Callable[[Any], Any]] = {}


def copier(state_type: Any) -> Callable[[Any], Any]:
    """A function that copies states of a type: what is immutable is shared, what is not is copied as deep as needed.

    Without a type, or for one that msgspec cannot look into, it is `copy.deepcopy`.
    """
    known = _copiers.get(state_type)
    if known is None:
        known = _copiers[state_type] = _make(state_type)
    return known


def _make(state_type: Any) -> Callable[[Any], Any]:
    try:
        shape = shapes.type_info(state_type)
    except (TypeError, NameError):
        return copy.deepcopy
    if not isinstance(shape, shapes.StructType):
        return copy.deepcopy
    shallow = [field.name for field in shape.fields if _is_flat(field.type)]
    deep = [field.name for field in shape.fields if not _is_flat(field.type) and not _is_immutable(field.type)]
    if not shallow and not deep:
        return copy.copy

    def copied(state: Any) -> Any:
        twin = copy.copy(state)
        for name in shallow:
            setattr(twin, name, copy.copy(getattr(state, name)))
        for name in deep:
            setattr(twin, name, copy.deepcopy(getattr(state, name)))
        return twin

    return copied


def _is_flat(shape: shapes.Type) -> bool:
    """Whether it is a container whose items are all immutable, so that one level of copying is enough."""
    shape = _plain(shape)
    if isinstance(shape, shapes.DictType):
        return _is_immutable(shape.key_type) and _is_immutable(shape.value_type)
    return isinstance(shape, (shapes.ListType, shapes.SetType)) and _is_immutable(shape.item_type)


def _is_immutable(shape: shapes.Type, seen: frozenset[type] = frozenset()) -> bool:
    shape = _plain(shape)
    if isinstance(shape, shapes.UnionType):
        return all(_is_immutable(one, seen) for one in shape.types)
    if isinstance(shape, shapes.StructType):
        if shape.cls in seen:
            return True
        inside = seen | {shape.cls}
        return shape.cls.__struct_config__.frozen and all(_is_immutable(field.type, inside) for field in shape.fields)
    if isinstance(shape, shapes.TupleType):
        return all(_is_immutable(one, seen) for one in shape.item_types)
    if isinstance(shape, shapes.NamedTupleType):
        return all(_is_immutable(field.type, seen | {shape.cls}) for field in shape.fields if shape.cls not in seen)
    if isinstance(shape, (shapes.VarTupleType, shapes.FrozenSetType)):
        return _is_immutable(shape.item_type, seen)
    return not isinstance(shape, _MUTABLE) and not isinstance(shape, shapes.CollectionType)


def _plain(shape: shapes.Type) -> shapes.Type:
    while isinstance(shape, shapes.Metadata):
        shape = shape.type
    return shape
