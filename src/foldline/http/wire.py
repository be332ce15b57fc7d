"""What goes over the wire besides users' own types: events, pages of events, projections."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from foldline.store.spi import RecordedEvent

MEDIA_TYPE = "application/json"

encode = msgspec.json.Encoder().encode


class EventOut(msgspec.Struct, frozen=True):
    """A recorded event. ``data`` and ``metadata`` are the JSON that was stored, byte for byte."""

    event_id: UUID
    stream_id: str
    category: str
    version: int
    position: int
    type: str
    schema_version: int
    data: msgspec.Raw
    metadata: msgspec.Raw
    recorded_at: datetime
    correlation_id: str | None
    causation_id: str | None
    actor: str | None


class StreamOut(msgspec.Struct, frozen=True):
    """Part of a stream, which ends at ``version``; ``next`` is the next part's ``from``, if there is more."""

    stream: str
    version: int
    items: list[EventOut]
    next: int | None


class EventsOut(msgspec.Struct, frozen=True):
    """Part of the log, up to ``position``; ``next`` is the next part's ``after``, if there is more."""

    items: list[EventOut]
    position: int
    next: int | None


class RowOut(msgspec.Struct, frozen=True):
    """A view's row that has changed; null when it was deleted."""

    key: Any
    row: Any


class ProjectionOut(msgspec.Struct, frozen=True):
    """How far a projection has come in a log that ends at ``head``; ``lag`` is the difference."""

    name: str
    kind: str
    position: int
    head: int
    lag: int
    state: str
    error: str | None
    rate: float | None = None


class ProjectionsOut(msgspec.Struct, frozen=True):
    """All projections."""

    items: list[ProjectionOut]


class HealthOut(msgspec.Struct, frozen=True):
    """The application is open and its store answers; ``position`` is the end of the log."""

    status: Annotated[str, msgspec.Meta(examples=["ok"])]
    position: int


class FaultOut(msgspec.Struct, frozen=True):
    """One thing wrong with a request, and where."""

    path: str
    message: str


class ProblemOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem, as RFC 9457 has it. ``type`` is stable; the members after ``instance`` depend on it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    faults: list[FaultOut] | None = None
    code: str | None = None
    details: dict[str, Any] | None = None
    actual: int | None = None


def event_out(event: RecordedEvent) -> EventOut:
    """A recorded event for the wire."""
    return EventOut(
        event.event_id,
        event.stream_id,
        event.category,
        event.version,
        event.position,
        event.type,
        event.schema_version,
        msgspec.Raw(event.data),
        msgspec.Raw(event.metadata),
        event.recorded_at,
        event.correlation_id,
        event.causation_id,
        event.actor,
    )
