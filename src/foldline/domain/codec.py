"""Turns values into bytes and bytes into values; nothing else in Foldline does.

JSON by msgspec, typed and validated. Bytes that were stored are never written again from a decoded value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from foldline.domain.faults import faults_of
from foldline.domain.message import Event, Message
from foldline.domain.schema import Registry
from foldline.errors import CodecError, Fault, ValidationFailed

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_Unencodable = (TypeError, ValueError, OverflowError, RecursionError)
_Undecodable = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@lru_cache(maxsize=4096)
def _decoder_of(type_: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(type_).decode


def encode(value: object) -> bytes:
    """JSON of a value; raises CodecError for what JSON or the stores cannot keep."""
    try:
        return _encoder.encode(value)
    except _Unencodable as error:
        raise CodecError(f"A {type(value).__name__} cannot be written as JSON: {error}") from None


def decode(type_: type[T], data: bytes) -> T:
    """A value of a type from its JSON; raises CodecError where it does not fit."""
    try:
        decoder: Callable[[bytes], T] = _decoder_of(cast(Any, type_))
        return decoder(data)
    except _Undecodable as error:
        raise CodecError(f"This is no {getattr(type_, '__name__', type_)}: {error}") from None


def parse(type_: type[M], body: bytes) -> M:
    """A message from a request's body; raises ValidationFailed with every fault and its path."""
    try:
        message: M = _decoder_of(type_)(body)
    except _Undecodable as error:
        raise ValidationFailed(type_.__message_name__, faults_of(type_, body, error)) from None
    return message


def convert(type_: type[M], values: object, *, strict: bool = True) -> M:
    """A message from decoded values; ``strict=False`` reads numbers and booleans from text, as URLs carry them."""
    try:
        return msgspec.convert(values, type_, strict=strict)
    except _Undecodable as error:
        raise ValidationFailed(type_.__message_name__, faults_of(type_, values, error, strict=strict)) from None


def check(message: M) -> tuple[M, bytes]:
    """A message made in Python as it would have come in by JSON, with that JSON; raises ValidationFailed.

    Struct constructors do not validate, so this is the first layer of validation for messages made in code.
    """
    kind = type(message)
    try:
        body = _encoder.encode(message)
    except _Unencodable as error:
        raise ValidationFailed(kind.__message_name__, [Fault("$", f"it cannot be written as JSON: {error}")]) from None
    checked = parse(kind, body)
    # What comes from outside is kept to numbers that a view can hold, or a projection would halt on it.
    if checked != message or _LONG_NUMBER.search(body) is not None or _may_hold_decimals(kind):
        fault = _unkeepable(msgspec.to_builtins(message, builtin_types=(Decimal,)), "$")
        if fault is not None:
            raise ValidationFailed(kind.__message_name__, [fault])
    return checked, body


class Codec:
    """Reads and writes the events of one application, by the names and versions its registry knows."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._decoders = {name: _decoder_of(type_) for name, type_ in registry.types.items()}
        self._names = {type_: name for name, type_ in registry.types.items()}

    def encode_event(self, event: Event) -> bytes:
        """The event's JSON, certain to be readable again as an equal event; raises CodecError otherwise.

        An event that could not be read back would lock its stream for ever, so none is ever recorded.
        """
        name = self._names.get(type(event))
        if name is None:
            raise CodecError(
                f"This app does not know {type(event).__name__}: apply it in an aggregate, project it in a view, "
                "or give the type to the App."
            )
        try:
            data = _encoder.encode(event)
            again = self._decoders[name](data)
        except (*_Unencodable, *_Undecodable) as error:
            raise CodecError(f"Event {name} cannot be recorded, for it could not be read again: {error}") from None
        if again != event:
            raise CodecError(
                f"Event {name} cannot be recorded, for it would be read back as another: {event!r} becomes {again!r}. "
                "Give its fields values of their declared types."
            )
        if _may_hold_decimals(type(event)):
            fault = _unkeepable(msgspec.to_builtins(event, builtin_types=(Decimal,)), "$", integers=False)
            if fault is not None:
                raise CodecError(f"Event {name} cannot be recorded: {fault.path}: {fault.message}.")
        return data

    def decode_event(self, name: str, schema_version: int, data: bytes) -> Event | None:
        """The event, or None where no code knows a type of that name; raises CodecError where it does not fit."""
        decoder = self._decoders.get(name)
        if decoder is None:
            return None
        try:
            event: Event = decoder(data)
        except _Undecodable as error:
            raise CodecError(
                f"Stored event {name} (schema version {schema_version}) does not fit the code's "
                f"version {self.registry.types[name].__message_version__}: {error}"
            ) from None
        return event


_LONG_NUMBER = re.compile(rb"\d{19}")
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 1


@lru_cache(maxsize=4096)
def _may_hold_decimals(kind: type[Message]) -> bool:
    # JSON text may say NaN and Infinity where a Decimal is wanted, which is no amount.
    try:
        return b'"decimal"' in _encoder.encode(msgspec.json.schema(kind))
    except TypeError:
        return True


def _unkeepable(value: object, path: str, *, integers: bool = True) -> Fault | None:
    """The first number within that is not finite or, of ``integers``, beyond 64 bits."""
    if isinstance(value, Decimal):
        return None if value.is_finite() else Fault(path, "NaN and infinity are no amounts")
    if isinstance(value, float):
        return None if math.isfinite(value) else Fault(path, "NaN and infinity are no JSON numbers")
    if isinstance(value, int):
        kept = not integers or _LEAST_INTEGER <= value <= _GREATEST_INTEGER
        return None if kept else Fault(path, "Integers beyond 64 bits cannot be kept; use a string")
    items: list[tuple[str, object]] = []
    if isinstance(value, dict):
        items = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return next((found for where, item in items if (found := _unkeepable(item, where, integers=integers))), None)
