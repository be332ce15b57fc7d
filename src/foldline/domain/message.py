"""Messages: events, commands and queries as frozen typed structs, and the envelope an event is recorded in."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, dataclass_transform
from uuid import UUID

import msgspec

from foldline.errors import DefinitionError, Fault, ValidationFailed

T = TypeVar("T")

MAX_ID_BYTES = 512
"""The longest stream id or command id, in bytes of UTF-8."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class MessageMeta(msgspec.StructMeta):
    """Adds ``name=``, ``version=`` (of its schema) and ``internal=`` (kept out of APIs) to a message's class line."""

    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        name: str | None = None,
        version: int = 1,
        internal: bool = False,
        **config: Any,
    ) -> MessageMeta:
        """Create the class; raises DefinitionError for a name or version that cannot be stored."""
        if name is not None and not re.fullmatch(r"[^\s/]{1,200}", name):
            raise DefinitionError(
                f"{cls_name} declares the name {name!r}: use 1 to 200 characters without spaces or slashes."
            )
        if version < 1:
            raise DefinitionError(f"{cls_name} declares version {version}: versions count from 1.")
        cls = super().__new__(mcls, cls_name, bases, namespace, **{"frozen": True, **config})
        cls.__message_name__ = name or cls_name  # type: ignore[attr-defined]
        cls.__message_version__ = version  # type: ignore[attr-defined]
        cls.__message_internal__ = internal  # type: ignore[attr-defined]
        return cls


# Said here too: type checkers find msgspec.Struct's own, which is not frozen, before the metaclass's.
@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, metaclass=MessageMeta, frozen=True):
    """What events, commands and queries share: frozen fields, a declared name and a schema version."""

    __message_name__: ClassVar[str]
    __message_version__: ClassVar[int]
    __message_internal__: ClassVar[bool]


class Event(Message, frozen=True):
    """Something that happened, in the past tense. Stored for ever under its declared name and version."""


class Command(Message, frozen=True, forbid_unknown_fields=True):
    """Something that somebody wants done. It may be refused.

    With ``internal=True`` only the application's own code may give it, such as a handler that has fetched what the
    command carries; no API offers it.
    """


class Query(Message, Generic[T], frozen=True, forbid_unknown_fields=True):
    """A question whose answer is a ``T``. Asking it changes nothing."""


class Envelope(msgspec.Struct, frozen=True):
    """What is known of a recorded event besides its data: which, where, when, by whom and why."""

    event_id: UUID
    stream_id: str
    version: int
    position: int
    type: str
    schema_version: int
    recorded_at: datetime
    correlation_id: str | None
    causation_id: str | None
    actor: str | None
    metadata: dict[str, Any]


class StreamId(NamedTuple):
    """A stream's name in its two parts; as text, ``category-id``. A category holds no hyphen."""

    category: str
    id: str

    def __str__(self) -> str:
        return f"{self.category}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> StreamId:
        """Split at the first hyphen; a name without one is a category with an empty id."""
        category, _, rest = text.partition("-")
        return cls(category, rest)


def check_id(kind: str, value: str) -> str:
    """Return an id that every store can keep, else raise ValidationFailed saying what is wrong with it.

    Any Unicode text is allowed, slashes, quotes and percent signs included, but for control characters and lone
    surrogates, from 1 to MAX_ID_BYTES bytes long.
    """
    if value.isascii() and value.isprintable() and 0 < len(value) <= MAX_ID_BYTES:
        return value
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValidationFailed(kind, [Fault("$", "it holds half of a surrogate pair, which is no text")]) from None
    if size == 0:
        raise ValidationFailed(kind, [Fault("$", "it is empty")])
    if size > MAX_ID_BYTES:
        raise ValidationFailed(kind, [Fault("$", f"it is {size} bytes long; {MAX_ID_BYTES} is the most")])
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in value):
        raise ValidationFailed(kind, [Fault("$", "it holds a control character, such as NUL or a newline")])
    return value


def snake_case(name: str) -> str:
    """A class's name as a category or table: ``OrderSummary`` becomes ``order_summary``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
