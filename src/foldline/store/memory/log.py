"""The log in memory: how an append is decided, and what reading it tells (G1 to G5, G7)."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from foldline.errors import EventIdReused
from foldline.observe import AppendsCommitted, Observer
from foldline.store.memory.life import Life
from foldline.store.spi import (
    Append,
    Appended,
    Batch,
    Claimed,
    ClaimReused,
    Clock,
    Expect,
    Outcome,
    RecordedEvent,
    Snapshot,
    VersionConflict,
    check_append,
    to_micros,
)


class MemoryLog(Life):
    """Events in one list, in the order of their positions; a stream's version n is the n-th of its own list."""

    def __init__(self, *, clock: Clock, observer: Observer | None) -> None:
        super().__init__()
        self._clock = clock
        self._observer = observer
        self._events: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._by_id: dict[UUID, RecordedEvent] = {}
        self._claims: dict[str, Claimed] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._latest = 0

    async def append(self, append: Append, /) -> Outcome:
        """Record all of it or nothing."""
        self._check()
        check_append(append)
        claim = append.claim
        # 1. A command id that was claimed before decides everything: its command is not carried out again.
        if claim is not None and (known := self._claims.get(claim.command_id)) is not None:
            if known.fingerprint != claim.fingerprint:
                return ClaimReused(claim.command_id)
            return known.outcome._replace(replayed=True)
        # 2. Event ids that are recorded already tell a retry. It comes before the versions, because a stream
        #    that holds the append already is no longer at the version that the append expects.
        if (first := self._first_outcome(append)) is not None:
            return first
        # 3. Every stream must be at the version that is expected of it.
        if (conflict := self._conflict(append)) is not None:
            return conflict
        # 4. From here on nothing can fail.
        return self._record(append)

    def _first_outcome(self, append: Append) -> Appended | None:
        """What this append came to when it was recorded before; None where none of its events was."""
        ids = tuple(event.event_id for stream in append.streams for event in stream.events)
        if len(set(ids)) < len(ids):
            raise EventIdReused("Two events of this append have the same id: give each event its own.")
        found = [self._by_id[event_id] for event_id in ids if event_id in self._by_id]
        if not found:
            return None
        places = [stream.stream_id for stream in append.streams for _ in stream.events]
        # As one append they stand one after the other in the log, each in the stream it is meant for.
        together = list(range(found[0].position, found[0].position + len(ids)))
        if [event.stream_id for event in found] != places or [event.position for event in found] != together:
            raise EventIdReused(
                "An event id of this append is recorded already, as part of another append: give each event its own id."
            )
        versions = {stream.stream_id: self._version(stream.stream_id) for stream in append.streams}
        versions |= {event.stream_id: event.version for event in found}
        return Appended(tuple(versions.items()), found[-1].position, ids, replayed=True)

    def _conflict(self, append: Append) -> VersionConflict | None:
        """The first stream that is not at the version expected of it."""
        for stream_id, expected, _ in append.streams:
            actual = self._version(stream_id)
            wanted = 0 if expected is Expect.NO_STREAM else expected
            if wanted is not Expect.ANY and wanted != actual:
                return VersionConflict(stream_id, expected, actual)
        return None

    def _record(self, append: Append) -> Appended:
        # The clock may be set back; recorded time never goes back, but where an import brings its own.
        self._latest = max(self._latest, to_micros(self._clock()))
        begin = len(self._events)
        for stream_id, _, events in append.streams:
            for event in events:
                recorded = RecordedEvent(
                    position=len(self._events) + 1,
                    raw_id=event.event_id.bytes,
                    stream_id=stream_id,
                    category=stream_id.partition("-")[0],
                    version=self._version(stream_id) + 1,
                    type=event.type,
                    schema_version=event.schema_version,
                    data=bytes(event.data),
                    metadata=bytes(event.metadata),
                    recorded_micros=self._latest if event.recorded_micros is None else event.recorded_micros,
                    correlation_id=event.correlation_id,
                    causation_id=event.causation_id,
                    actor=event.actor,
                )
                self._events.append(recorded)
                self._streams.setdefault(stream_id, []).append(recorded)
                self._by_id[event.event_id] = recorded
        outcome = Appended(
            versions=tuple((stream.stream_id, self._version(stream.stream_id)) for stream in append.streams),
            position=len(self._events),
            event_ids=tuple(recorded.event_id for recorded in self._events[begin:]),
        )
        if append.claim is not None:
            self._claims[append.claim.command_id] = Claimed(append.claim.fingerprint, outcome)
        if self._observer is not None:
            self._observer(AppendsCommitted(1, len(outcome.event_ids), 0.0))
        self._signal()
        return outcome

    def _version(self, stream_id: str) -> int:
        """The stream's version; 0 where it does not exist."""
        return len(self._streams.get(stream_id, ()))

    async def claimed(self, command_id: str, /) -> Claimed | None:
        """What is remembered of a command id."""
        self._check()
        return self._claims.get(command_id)

    async def read_stream(
        self,
        stream_id: str,
        /,
        *,
        after: int = 0,
        upto: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> list[RecordedEvent]:
        """At most ``limit`` of the stream's events with ``after < version <= upto``, oldest first unless backwards."""
        self._check()
        # Version n is at index n - 1.
        found = self._streams.get(stream_id, [])[max(after, 0) : None if upto is None else max(upto, 0)]
        if backwards:
            found.reverse()
        return found if limit is None else found[: max(limit, 0)]

    async def read_all(self, *, after: int = 0, limit: int = 1000, types: Collection[str] | None = None) -> Batch:
        """At most ``limit`` events above a position, and how far that reaches."""
        self._check()
        if limit <= 0:
            return Batch([], after)
        found: list[RecordedEvent] = []
        # Position n is at index n - 1.
        for event in self._events[max(after, 0) :]:
            if types is None or event.type in types:
                found.append(event)
                if len(found) == limit:
                    return Batch(found, event.position)
        # All that there is was looked at, so the follower need not look at it again.
        return Batch(found, max(after, len(self._events)))

    async def head(self) -> int:
        """The position of the last event."""
        self._check()
        return len(self._events)

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until there is an event above a position; False when ``timeout`` seconds passed without."""
        return await self._until(lambda: len(self._events) > after, timeout)

    async def load_snapshot(self, stream_id: str, /) -> Snapshot | None:
        """The stream's snapshot, if it has one."""
        self._check()
        return self._snapshots.get(stream_id)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keep it in place of an older one, or of one by other code, which this code cannot use."""
        self._check()
        known = self._snapshots.get(snapshot.stream_id)
        if known is None or known.version <= snapshot.version or known.fingerprint != snapshot.fingerprint:
            self._snapshots[snapshot.stream_id] = snapshot
