"""One event as one line of JSON, with nothing lost: what ``export`` writes and ``import`` reads back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from foldline.errors import ValidationFailed
from foldline.store.spi import NewEvent, RecordedEvent, to_micros


class EventLine(msgspec.Struct):
    """The fields of a line, as HTTP shows events too.

    ``data`` and ``metadata`` hold the stored bytes themselves. Stored JSON that starts or ends with white
    space, or spreads over lines, cannot be embedded in a line as it is; it comes as a string in ``data_text``
    (or ``metadata_text``) instead.
    """

    stream_id: str
    version: int
    type: str
    recorded_at: datetime
    event_id: UUID
    data: Raw | UnsetType = UNSET
    data_text: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    position: int | UnsetType = UNSET
    schema_version: int = 1
    metadata: Raw | UnsetType = UNSET
    metadata_text: str | UnsetType = UNSET
    correlation_id: str | None = None
    causation_id: str | None = None
    actor: str | None = None


_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(EventLine).decode


def line_of(event: RecordedEvent) -> bytes:
    """The event as a line of JSON, without the line's end."""
    shown: dict[str, object] = {
        "event_id": event.event_id,
        "stream_id": event.stream_id,
        "category": event.category,
        "version": event.version,
        "position": event.position,
        "type": event.type,
        "schema_version": event.schema_version,
        **_embedded("data", event.data),
        **_embedded("metadata", event.metadata),
        "recorded_at": event.recorded_at,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "actor": event.actor,
    }
    return _encoder.encode(shown)


def read_line(line: bytes) -> tuple[str, int, NewEvent]:
    """The stream, the version and the event of a line; raises ValueError with the reason where it is none."""
    try:
        line.decode()
        found = _decode(line)
        recorded_micros = to_micros(found.recorded_at)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no exported event: {error}") from None
    except ValidationFailed:
        raise ValueError("it is no exported event: its recorded_at has no UTC offset") from None
    if found.version < 1 or found.schema_version < 1:
        raise ValueError("it is no exported event: versions count from 1")
    return (
        found.stream_id,
        found.version,
        NewEvent(
            found.event_id,
            found.type,
            found.schema_version,
            _taken("data", found.data, found.data_text),
            _taken("metadata", found.metadata, found.metadata_text, b"{}"),
            found.correlation_id,
            found.causation_id,
            found.actor,
            recorded_micros,
        ),
    )


def _embedded(name: str, stored: bytes) -> dict[str, object]:
    if b"\n" in stored or b"\r" in stored or stored[:1].isspace() or stored[-1:].isspace():
        return {f"{name}_text": stored.decode()}
    return {name: Raw(stored)}


def _taken(name: str, embedded: Raw | UnsetType, text: str | UnsetType, default: bytes | None = None) -> bytes:
    if not isinstance(text, UnsetType):
        return text.encode()
    if not isinstance(embedded, UnsetType):
        return bytes(embedded)
    if default is None:
        raise ValueError(f"it is no exported event: it has no {name}")
    return default
