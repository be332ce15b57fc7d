"""Folded aggregates: from a bounded cache, else from a snapshot and the later events, else from all events."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Any, NamedTuple

from foldline.command.snapshots import Snapshots
from foldline.domain.aggregate import AggregateType
from foldline.domain.codec import Codec
from foldline.domain.state import copier
from foldline.errors import CodecError
from foldline.store.spi import EventStore, RecordedEvent, to_micros


class Loaded(NamedTuple):
    """An aggregate's state after its event of that version (0: before any), which stands at that position.

    Whoever wants to change the state changes a copy.
    """

    state: Any
    version: int
    position: int


class Loader:
    """Loads aggregates and remembers the ``size`` last used ones.

    A remembered state may be behind the log where another process writes too; whoever decides on one either has the
    append check its version, or catches it up first.
    """

    def __init__(self, store: EventStore, snapshots: Snapshots, codec: Codec, *, size: int) -> None:
        self._store = store
        self._snapshots = snapshots
        self._codec = codec
        self._size = size
        self._cache: OrderedDict[str, Loaded] = OrderedDict()

    def recall(self, stream_id: str) -> Loaded | None:
        """The remembered state of a stream."""
        known = self._cache.get(stream_id)
        if known is not None:
            self._cache.move_to_end(stream_id)
        return known

    def remember(self, stream_id: str, loaded: Loaded) -> None:
        """Keep a state that is known to be in the log; an older one never replaces a newer one."""
        if self._size == 0:
            return
        known = self._cache.get(stream_id)
        if known is None or known.version <= loaded.version:
            self._cache[stream_id] = loaded
            self._cache.move_to_end(stream_id)
            if len(self._cache) > self._size:
                self._cache.popitem(last=False)

    def forget(self, stream_id: str) -> None:
        """Remember a state no longer."""
        self._cache.pop(stream_id, None)

    async def load(self, aggregate: AggregateType[Any], stream_id: str) -> Loaded:
        """The state as the store has it now, remembered."""
        found = await self._snapshots.load(aggregate, stream_id)
        if found is None:
            start = Loaded(aggregate.decider.initial(), 0, 0)
        else:
            start = Loaded(found[0], found[1].version, found[1].position)
        return await self.catch_up(aggregate, stream_id, start)

    async def catch_up(self, aggregate: AggregateType[Any], stream_id: str, base: Loaded) -> Loaded:
        """A loaded state with only the events that came after it folded in, remembered; ``base`` stays as it is."""
        events = await self._store.read_stream(stream_id, after=base.version)
        loaded = self._fold(aggregate, base, events)
        self.remember(stream_id, loaded)
        return loaded

    async def load_past(
        self, aggregate: AggregateType[Any], stream_id: str, *, version: int | None = None, at: datetime | None = None
    ) -> Loaded:
        """The state as it was at a version, or at a moment (events recorded at or before it)."""
        events = await self._store.read_stream(stream_id, upto=version)
        if at is not None:
            until = to_micros(at)
            events = [event for event in events if event.recorded_micros <= until]
        return self._fold(aggregate, Loaded(aggregate.decider.initial(), 0, 0), events)

    def _fold(self, aggregate: AggregateType[Any], base: Loaded, events: list[RecordedEvent]) -> Loaded:
        if not events:
            return base
        state = copier(aggregate.state_type)(base.state)
        evolve, decode_event = aggregate.decider.evolve, self._codec.decode_event
        for recorded in events:
            try:
                event = decode_event(recorded.type, recorded.schema_version, recorded.data)
            except CodecError as error:
                raise CodecError(f"{error} (stream {recorded.stream_id!r}, version {recorded.version})") from None
            if event is not None:
                state = evolve(state, event)
        return Loaded(state, events[-1].version, events[-1].position)
