"""Histories for tests: plain events, with as much of their envelopes as a test cares about, as a store has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from foldline.domain.codec import Codec, encode
from foldline.domain.message import Envelope, Event, StreamId
from foldline.domain.schema import Registry
from foldline.store.spi import RecordedEvent, from_micros, to_micros
from foldline.testing.clock import START, SequentialIds

STREAM = "test-1"
"""The stream of events for which a test names none."""

_TICK = timedelta(seconds=1)


class Happened(NamedTuple):
    """An event with the parts of its envelope that a test cares about; made by `happened`."""

    event: Event
    stream: str | None = None
    at: datetime | None = None
    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    metadata: Mapping[str, Any] | None = None


Past: TypeAlias = Event | Happened | tuple[Event, Envelope]
"""What a history is made of: events, alone, by `happened`, or each in a pair with its whole envelope."""


def happened(
    event: Event,
    *,
    stream: str | None = None,
    at: datetime | None = None,
    actor: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Happened:
    """An event as it was recorded in a stream, at a time, by an actor.

    What is left out is made up, alike in every run: the stream ``test-1``, and a time one second after the event
    before it, from the beginning of 2026. Positions and versions are counted.
    """
    return Happened(event, stream, at, actor, correlation_id, causation_id, metadata)


def event_of(past: Past) -> Event:
    """The event itself; raises TypeError for what is none."""
    event: object = past[0] if isinstance(past, tuple) and past else past
    if not isinstance(event, Event):
        raise TypeError(
            f"{past!r} is no event: give events alone, by happened(), or in pairs with their envelopes; "
            "an aggregate that is to be tested comes before them."
        )
    return event


def recorded(history: Iterable[Past], known: Iterable[type[Event]] = ()) -> tuple[Codec, list[RecordedEvent]]:
    """The history as a store would hand it over, with a codec for its events and the ``known`` types.

    Raises CodecError for an event that could not be read again, and ValueError for envelopes whose positions do not
    grow, or that belong to another event.
    """
    pasts = list(history)
    codec = Codec(Registry("event", [*known, *(type(event_of(past)) for past in pasts)]))
    new_id = SequentialIds()
    result: list[RecordedEvent] = []
    versions: dict[str, int] = {}
    position, now = 0, START
    for past in pasts:
        event = event_of(past)
        data = codec.encode_event(event)
        if isinstance(past, tuple) and not isinstance(past, Happened):
            envelope = past[1]
            if envelope.position <= position:
                raise ValueError(
                    f"The envelope of {event!r} has position {envelope.position}, but follows {position}: "
                    "positions grow along the log."
                )
            if envelope.type != event.__message_name__:
                raise ValueError(f"{event!r} was given with the envelope of an event named {envelope.type!r}.")
        else:
            given = past if isinstance(past, Happened) else Happened(past)
            stream = STREAM if given.stream is None else given.stream
            now = now + _TICK if given.at is None else given.at
            id_ = new_id()
            envelope = Envelope(
                event_id=id_,
                stream_id=stream,
                version=versions.get(stream, 0) + 1,
                position=position + 1,
                type=event.__message_name__,
                schema_version=event.__message_version__,
                recorded_at=now,
                correlation_id=given.correlation_id or str(id_),
                causation_id=given.causation_id or str(id_),
                actor=given.actor,
                metadata=dict(given.metadata or {}),
            )
        versions[envelope.stream_id] = envelope.version
        position, now = envelope.position, from_micros(to_micros(envelope.recorded_at))
        result.append(
            RecordedEvent(
                position=position,
                raw_id=envelope.event_id.bytes,
                stream_id=envelope.stream_id,
                category=StreamId.parse(envelope.stream_id).category,
                version=envelope.version,
                type=envelope.type,
                schema_version=envelope.schema_version,
                data=data,
                metadata=encode(envelope.metadata),
                recorded_micros=to_micros(envelope.recorded_at),
                correlation_id=envelope.correlation_id,
                causation_id=envelope.causation_id,
                actor=envelope.actor,
            )
        )
    return codec, result
