"""The log in memory: how an append is decided, and what reading it tells (G1 to G5, G7)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from operator import attrgetter
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
    check_claims,
    check_follows,
    check_restored,
    to_micros,
)

_position = attrgetter("position")


class MemoryLog(Life):
    """Events in one list, in the order of their positions; a stream's version n is the n-th of its own list.

    Here positions count from 1 without gaps, but for events that were restored from a store whose positions have some.
    """

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
        # As one append they stand in the log in their order, and one after the other in the stream they are meant for.
        in_order = [event.position for event in found] == sorted(event.position for event in found)
        if [event.stream_id for event in found] != places or not in_order or _apart(found):
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
                    position=self._end_position() + 1,
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
                self._keep(recorded)
        outcome = Appended(
            versions=tuple((stream.stream_id, self._version(stream.stream_id)) for stream in append.streams),
            position=self._end_position(),
            event_ids=tuple(recorded.event_id for recorded in self._events[begin:]),
        )
        if append.claim is not None:
            self._claims[append.claim.command_id] = Claimed(append.claim.fingerprint, outcome)
        if self._observer is not None:
            self._observer(AppendsCommitted(1, len(outcome.event_ids), 0.0))
        self._signal()
        return outcome

    def _keep(self, recorded: RecordedEvent) -> None:
        self._events.append(recorded)
        self._streams.setdefault(recorded.stream_id, []).append(recorded)
        self._by_id[recorded.event_id] = recorded

    def _version(self, stream_id: str) -> int:
        """The stream's version; 0 where it does not exist."""
        return len(self._streams.get(stream_id, ()))

    def _end_position(self) -> int:
        return self._events[-1].position if self._events else 0

    async def claimed(self, command_id: str, /) -> Claimed | None:
        """What is remembered of a command id."""
        self._check()
        return self._claims.get(command_id)

    async def restore(self, events: Sequence[RecordedEvent], /) -> None:
        """Record events that another store recorded, just as they are there, all or nothing."""
        self._check()
        before = check_restored(events)
        if events:
            start = bisect_right(self._events, events[0].position - 1, key=_position)
            if self._events[start : start + len(events)] == list(events):
                return
        check_follows(events, self._end_position(), before, {name: self._version(name) for name in before})
        if any(event.event_id in self._by_id for event in events):
            raise EventIdReused("One of the events to restore has the id of an event that is recorded already.")
        # From here on nothing can fail.
        for event in events:
            self._keep(event._replace(data=bytes(event.data), metadata=bytes(event.metadata)))
        self._signal()

    async def read_claims(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, Claimed]]:
        """At most ``limit`` command ids above ``after``, in order, and what they came to."""
        self._check()
        found = sorted(command_id for command_id in self._claims if command_id > after)
        return [(command_id, self._claims[command_id]) for command_id in found[: max(limit, 0)]]

    async def restore_claims(self, claims: Sequence[tuple[str, Claimed]], /) -> None:
        """Remember command ids that another store claimed; those known here are kept."""
        self._check()
        check_claims(claims)
        for command_id, claimed in claims:
            self._claims.setdefault(command_id, claimed)

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
        for event in self._events[bisect_right(self._events, after, key=_position) :]:
            if types is None or event.type in types:
                found.append(event)
                if len(found) == limit:
                    return Batch(found, event.position)
        # All that there is was looked at, so the follower need not look at it again.
        return Batch(found, max(after, self._end_position()))

    async def head(self) -> int:
        """The position of the last event."""
        self._check()
        return self._end_position()

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until there is an event above a position; False when ``timeout`` seconds passed without."""
        return await self._until(lambda: self._end_position() > after, timeout)

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


def _apart(events: Sequence[RecordedEvent]) -> bool:
    """Whether somebody else's event stands between two of these in a stream, or they are not in their order there."""
    versions: dict[str, int] = {}
    for event in events:
        if event.version != versions.get(event.stream_id, event.version - 1) + 1:
            return True
        versions[event.stream_id] = event.version
    return False
