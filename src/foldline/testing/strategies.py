"""Hypothesis strategies for messages, derived from their types: whatever they make fits its schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as shapes

from foldline.domain.message import Event, Message

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "foldline.testing makes messages with Hypothesis, which is not installed: pip install 'foldline[testing]'."
    ) from error

M = TypeVar("M", bound=Message)

LEAST_INTEGER, GREATEST_INTEGER = -(2**63), 2**63 - 1
EARLIEST, LATEST = datetime(1900, 1, 1), datetime(2199, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001  (bounds)

_LIMITS = (Decimal("-1e15"), Decimal("1e15"))
_MANY = 5
_DEEP = 2
_REFUSED: Any = object()

Strategy = st.SearchStrategy[Any]


def messages(kind: type[M], /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Messages of a type, with every field made from its annotation; a field named here is made by its own strategy.

    What `msgspec.Meta` demands is kept: bounds, lengths, patterns, multiples. Text has no lone surrogates, integers
    have 64 bits, numbers are finite, times are aware (from 1900 to 2199), so that each message made could have come
    from JSON: `foldline.domain.codec.check` accepts it. Raises TypeError for a field that the type does not have, or
    whose type nothing can be made for.
    """
    unknown = [name for name in fields if name not in kind.__struct_fields__]
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(unknown)}; it has {_listed(kind)}.")
    return _Maker().struct(kind, fields)


def event_sequences(
    *kinds: type[Event], min_size: int = 0, max_size: int = 20, **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Event]]:
    """Lists of events of some types, for views: ``event_sequences(OrderPlaced, OrderPaid, order_id=ids)``.

    A field named here is made by its strategy in each of the types that have it; at least one must. Let ids come from
    few values, as from ``sampled_from(["o-1", "o-2"])``, so that events meet in the same rows.
    """
    if not kinds:
        raise TypeError("event_sequences needs the types of the events.")
    for name in fields:
        if not any(name in kind.__struct_fields__ for kind in kinds):
            raise TypeError(f"None of {', '.join(kind.__name__ for kind in kinds)} has a field {name!r}.")
    each: list[st.SearchStrategy[Event]] = [
        messages(kind, **{name: made for name, made in fields.items() if name in kind.__struct_fields__})
        for kind in kinds
    ]
    return st.lists(st.one_of(each), min_size=min_size, max_size=max_size)


def _listed(kind: type[msgspec.Struct]) -> str:
    return ", ".join(kind.__struct_fields__) or "none"


class _Maker:
    """Makes strategies from shapes. Structs that contain themselves do so at most `_DEEP` levels deep."""

    def __init__(self) -> None:
        self._inside: list[Any] = []
        self._made: dict[Any, Strategy] = {}

    def struct(self, kind: type[Any], given: Mapping[str, Strategy]) -> Strategy:
        """A struct's strategy, with some fields' own."""
        shape = _plain(shapes.type_info(kind))
        if not isinstance(shape, shapes.StructType):
            raise TypeError(f"{kind!r} is no message type.")
        return self._record(shape, given)

    def of(self, shape: shapes.Type, where: str) -> Strategy:
        """The strategy of a shape; ``where`` names it in errors."""
        shape = _plain(shape)
        if isinstance(shape, (shapes.StructType, shapes.DataclassType, shapes.NamedTupleType, shapes.TypedDictType)):
            if self._inside.count(shape.cls) > _DEEP:
                return st.nothing()
            # What is made depends on how much deeper it may go.
            known = (shape.cls, *sorted(map(id, self._inside)))
            if known not in self._made:
                self._made[known] = self._record(shape, {})
            return self._made[known]
        if isinstance(shape, shapes.UnionType):
            # None first: Hypothesis shrinks towards it.
            members = sorted(shape.types, key=lambda one: not isinstance(_plain(one), shapes.NoneType))
            return st.one_of([self.of(one, where) for one in members])
        if isinstance(shape, shapes.TupleType):
            return st.tuples(*(self.of(one, where) for one in shape.item_types))
        if isinstance(shape, shapes.DictType):
            keys, values = self.of(shape.key_type, where), self.of(shape.value_type, where)
            if keys.is_empty or values.is_empty:
                return st.nothing() if shape.min_length else st.just({}).map(dict)
            return st.dictionaries(keys, values, **_sizes(shape))
        if isinstance(shape, shapes.CollectionType):
            return _collection(shape, self.of(shape.item_type, where))
        make = _SIMPLE.get(type(shape))
        if make is None:
            raise TypeError(
                f"Nothing can be made for {where}, which is a {type(shape).__name__.removesuffix('Type')}: "
                f"give its strategy, as in messages(…, {where.rpartition('.')[2]}=…)."
            )
        return make(shape)

    def _record(self, shape: Any, given: Mapping[str, Strategy]) -> Strategy:
        cls = shape.cls
        fields = dict(given)
        self._inside.append(cls)
        for field in shape.fields:
            if field.name not in given:
                fields[field.name] = self.of(field.type, f"{cls.__name__}.{field.name}")
        self._inside.pop()

        def build(values: dict[str, Any]) -> Any:
            try:
                return cls(**values)
            except (TypeError, ValueError):
                # A __post_init__ that checks: what it does not accept is no message.
                return _REFUSED

        return st.fixed_dictionaries(fields).map(build).filter(lambda made: made is not _REFUSED)


def _plain(shape: shapes.Type) -> shapes.Type:
    while isinstance(shape, shapes.Metadata):
        shape = shape.type
    return shape


def _sizes(shape: Any) -> dict[str, Any]:
    least = shape.min_length or 0
    return {"min_size": least, "max_size": least + _MANY if shape.max_length is None else shape.max_length}


def _collection(shape: shapes.CollectionType, items: Strategy) -> Strategy:
    if items.is_empty:
        if shape.min_length:
            return st.nothing()
        items = st.none()
        shape = msgspec.structs.replace(shape, max_length=0)
    if isinstance(shape, shapes.FrozenSetType):
        return st.frozensets(items, **_sizes(shape))
    if isinstance(shape, shapes.SetType):
        return st.sets(items, **_sizes(shape))
    lists = st.lists(items, **_sizes(shape))
    return lists.map(tuple) if isinstance(shape, shapes.VarTupleType) else lists


def _integers(shape: Any) -> Strategy:
    least, greatest = LEAST_INTEGER, GREATEST_INTEGER
    if shape.ge is not None:
        least = max(least, math.ceil(shape.ge))
    if shape.gt is not None:
        least = max(least, math.floor(shape.gt) + 1)
    if shape.le is not None:
        greatest = min(greatest, math.floor(shape.le))
    if shape.lt is not None:
        greatest = min(greatest, math.ceil(shape.lt) - 1)
    step = shape.multiple_of
    if step is None:
        return st.integers(least, greatest)
    return st.integers(-(-least // step), greatest // step).map(lambda number: number * step)


def _floats(shape: Any) -> Strategy:
    bounds: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
    least = [(float(one), strict) for one, strict in ((shape.ge, False), (shape.gt, True)) if one is not None]
    greatest = [(float(one), strict) for one, strict in ((shape.le, False), (shape.lt, True)) if one is not None]
    if least:
        bounds["min_value"], bounds["exclude_min"] = max(least)
    if greatest:
        bounds["max_value"], bounds["exclude_max"] = min(greatest, key=lambda one: (one[0], not one[1]))
    step = shape.multiple_of
    if step is None:
        return st.floats(**bounds)
    return _multiples(float(step), bounds.get("min_value"), bounds.get("max_value")).filter(
        lambda value: (shape.gt is None or value > shape.gt) and (shape.lt is None or value < shape.lt)
    )


def _multiples(step: float, least: float | None, greatest: float | None) -> Strategy:
    """Floats between two bounds that are exact multiples of a float, as msgspec demands; of 0.1, say, few are."""
    low = math.ceil((-(2.0**40) * step if least is None else least) / step)
    high = math.floor((2.0**40 * step if greatest is None else greatest) / step)
    numerator, _ = step.as_integer_ratio()
    spare = 53 - (numerator // (numerator & -numerator)).bit_length()
    if 2**spare > max(-low, high):
        return st.integers(low, high).map(lambda number: number * step)
    # Few bits are left beside the step's own: small numbers of steps, doubled again and again, stay exact.
    doublings = st.integers(0, max(-low, high).bit_length() - max(spare, 1))
    made = st.builds(lambda few, times: (few << times) * step, st.integers(-(2**spare), 2**spare), doublings)
    within = made.map(lambda value: -value if (value < 0 and least is not None and least >= 0) else value)
    return within.filter(lambda value: (least is None or value >= least) and (greatest is None or value <= greatest))


def _text(shape: Any) -> Strategy:
    letters = st.characters(codec="utf-8")
    if shape.pattern is None:
        least = shape.min_length or 0
        greatest = shape.max_length
        return st.text(letters, min_size=least, max_size=greatest)
    pattern = re.compile(shape.pattern)
    made = st.from_regex(pattern, alphabet=letters)
    if shape.min_length is None and shape.max_length is None:
        return made
    least, greatest = shape.min_length or 0, math.inf if shape.max_length is None else shape.max_length
    # Without anything around the match, short texts are found sooner.
    either = st.one_of(st.from_regex(pattern, alphabet=letters, fullmatch=True), made)
    return either.filter(lambda text: least <= len(text) <= greatest)


def _binary(shape: Any) -> Strategy:
    return st.binary(min_size=shape.min_length or 0, max_size=shape.max_length)


def _moments(shape: Any) -> Strategy:
    if shape.tz is False:
        return st.datetimes(EARLIEST, LATEST)
    offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    return st.datetimes(EARLIEST, LATEST, timezones=st.one_of(st.just(UTC), offsets))


def _times(shape: Any) -> Strategy:
    if shape.tz is True:
        return st.times(timezones=st.just(UTC))
    return st.times()


def _anything(shape: Any) -> Strategy:
    """Any JSON value."""
    text = st.text(st.characters(codec="utf-8"), max_size=20)
    flat = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(LEAST_INTEGER, GREATEST_INTEGER),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
    )
    return st.recursive(
        flat, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
    )


_SIMPLE: dict[type[shapes.Type], Callable[[Any], Strategy]] = {
    shapes.AnyType: _anything,
    shapes.NoneType: lambda shape: st.none(),
    shapes.BoolType: lambda shape: st.booleans(),
    shapes.IntType: _integers,
    shapes.FloatType: _floats,
    shapes.StrType: _text,
    shapes.BytesType: _binary,
    shapes.ByteArrayType: lambda shape: _binary(shape).map(bytearray),
    shapes.DateTimeType: _moments,
    shapes.TimeType: _times,
    shapes.DateType: lambda shape: st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    shapes.TimeDeltaType: lambda shape: st.timedeltas(timedelta(days=-36500), timedelta(days=36500)),
    shapes.UUIDType: lambda shape: st.uuids(),
    shapes.DecimalType: lambda shape: st.decimals(*_LIMITS, allow_nan=False, allow_infinity=False),
    shapes.EnumType: lambda shape: st.sampled_from(list(shape.cls)),
    shapes.LiteralType: lambda shape: st.sampled_from(list(shape.values)),
}
