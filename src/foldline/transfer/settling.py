"""Settles rows: appends those that are new, in their order, and finds out about the others why they are not.

Handing the same rows over again is what an interrupted import relies on, so all of it rests on event ids: by G1 an
append whose ids are all recorded is a success that adds nothing, and one of which only some are is refused whole.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from foldline.errors import EventIdReused, OutcomeUnknown, ValidationFailed
from foldline.store.spi import (
    Append,
    Appended,
    EventStore,
    Expect,
    ExpectedVersion,
    NewEvent,
    RecordedEvent,
    StreamAppend,
    VersionConflict,
)
from foldline.transfer.columns import Bad, Candidate, reason_of
from foldline.transfer.rejects import Rejects

REMEMBERED_EVENTS = 500_000
"""How many recorded events' ids an import remembers of the streams it looked up."""

REMEMBERED_STREAMS = 100_000
"""How many streams' versions an import remembers."""

COUNTED_STREAMS = 1_000_000
"""Up to how many streams an import counts them."""

PAGE = 1_000

Groups: TypeAlias = dict[str, list[Candidate]]
"""Rows by stream, each stream's next to each other in the file."""


class _Known(NamedTuple):
    version: int
    content: int


class Settler:
    """Settles chunks: sees to it that each row is added, found to be recorded already, or rejected.

    ``trusting`` says that the event ids are made of the rows' whole content, so that an id that is recorded
    stands for the very same event. Ids that the file gives are looked up and compared. ``empty`` says that
    the store held nothing when the import began.
    """

    def __init__(self, store: EventStore, rejects: Rejects, *, trusting: bool, empty: bool) -> None:
        self._store = store
        self._rejects = rejects
        self._trusting = trusting
        self._empty = empty
        self._catching_up = not empty
        self._bad: list[tuple[Candidate | Bad, str]] = []
        self._streams: set[int] = set()
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._recorded: OrderedDict[str, dict[bytes, _Known]] = OrderedDict()
        self._remembered = 0
        self.added = 0
        self.known = 0

    def streams(self) -> int | None:
        """How many streams there were, as far as they were counted."""
        return len(self._streams) if len(self._streams) < COUNTED_STREAMS else None

    async def settle(self, chunk: list[Candidate | Bad]) -> None:
        """Settle one chunk."""
        left = await self._append(self._sound(chunk), together=not self._catching_up)
        if left:
            left = await self._append(await self._new(left), together=True)
            if left:
                await self._settle_in_parts(left)
        self._bad.sort(key=lambda bad: bad[0].line)
        for row, reason in self._bad:
            self._rejects.add(row.line, reason, row.origin)
        self._bad.clear()
        self._rejects.flush()

    def _sound(self, chunk: list[Candidate | Bad]) -> list[Candidate]:
        """The chunk's rows, without those that are bad or cannot stand beside an earlier one."""
        sound: list[Candidate] = []
        ids: dict[bytes, Candidate] = {}
        versions: dict[str, int] = {}
        for row in chunk:
            if isinstance(row, Bad):
                self._bad.append((row, row.reason))
                continue
            if len(self._streams) < COUNTED_STREAMS:
                self._streams.add(hash(row.stream_id))
            if not self._trusting:
                first = ids.setdefault(row.event.event_id.bytes, row)
                if first is not row:
                    if (row.stream_id, row.version, row.event) == (first.stream_id, first.version, first.event):
                        self.known += 1
                    else:
                        self._bad.append((row, f"its id is that of another event, on line {first.line}"))
                    continue
            if row.version is not None:
                before = versions.get(row.stream_id, row.version - 1)
                if row.version != before + 1:
                    self._bad.append((row, f"it is version {row.version} of its stream, but comes after {before}"))
                    continue
                versions[row.stream_id] = row.version
            sound.append(row)
        return sound

    async def _append(self, rows: list[Candidate], *, together: bool) -> list[Candidate]:
        """Append rows in their order, also across streams; returns those that must be looked into, in order.

        An append holds each stream once, so where streams interleave it takes several. ``together`` hands them all
        over, for the store to commit them at once; as each names the version it builds upon, none can be recorded
        where an earlier one of the same stream was not. Otherwise they go one by one until a new one is recorded, so
        that the first new rows do not fall behind later ones.
        """
        runs = _runs(rows)
        left: list[Candidate] = []
        while runs and not together:
            outcome = await self._append_one(_append_of(runs[0], {}))
            if outcome is None:
                return [*left, *(row for run in runs for group in run.values() for row in group)]
            together = not outcome.replayed
            left += self._tally(runs.pop(0), outcome)
        versions = await self._base_versions(runs) if len(runs) > 1 else {}
        appends = [_append_of(run, versions) for run in runs]
        outcomes = await asyncio.gather(*map(self._append_one, appends), return_exceptions=True)
        for run, found in zip(runs, outcomes, strict=True):
            if isinstance(found, BaseException):
                raise found
            left += self._tally(run, found)
        return left

    def _tally(self, run: Groups, outcome: Appended | None) -> list[Candidate]:
        """Count what an append came to; returns its rows where they must be looked into."""
        if outcome is None or (outcome.replayed and not self._trusting):
            return [row for group in run.values() for row in group]
        if outcome.replayed:
            self.known += len(outcome.event_ids)
        else:
            self.added += len(outcome.event_ids)
            self._catching_up = False
            for name, version in outcome.versions:
                self._learn(name, version)
        return []

    async def _append_one(self, append: Append) -> Appended | None:
        """The outcome; None, and nothing was recorded, where part of it is recorded or cannot be."""
        try:
            try:
                outcome = await self._store.append(append)
            except OutcomeUnknown:
                outcome = await self._store.append(append)
        except (EventIdReused, ValidationFailed):
            return None
        if isinstance(outcome, VersionConflict):
            self._learn(outcome.stream_id, outcome.actual)
        return outcome if isinstance(outcome, Appended) else None

    async def _base_versions(self, runs: list[Groups]) -> dict[str, int]:
        """The versions of the streams that are in several of the runs."""
        seen: set[str] = set()
        again: dict[str, int] = {}
        for run in runs:
            for name, group in run.items():
                if name in seen and group[0].version is None:
                    again[name] = 0
                seen.add(name)
        for name in again:
            if name in self._versions:
                again[name] = self._versions[name]
            elif not self._empty:
                last = await self._store.read_stream(name, limit=1, backwards=True)
                again[name] = last[0].version if last else 0
        return again

    def _learn(self, name: str, version: int) -> None:
        self._versions[name] = version
        self._versions.move_to_end(name)
        if len(self._versions) > REMEMBERED_STREAMS:
            self._versions.popitem(last=False)
            # From now on, a stream that is not remembered may be there.
            self._empty = False

    async def _settle_in_parts(self, rows: list[Candidate]) -> None:
        """Settle rows that the store refused together, in ever smaller parts, until the ones at fault are alone."""
        if len(rows) == 1:
            await self._settle_alone(rows[0])
        elif rows:
            half = len(rows) // 2
            for part in (rows[:half], rows[half:]):
                left = await self._append(await self._new(part), together=True)
                await self._settle_in_parts(await self._new(left))

    async def _settle_alone(self, row: Candidate) -> None:
        expected = Expect.ANY if row.version is None else row.version - 1
        try:
            outcome = await self._store.append(Append((StreamAppend(row.stream_id, expected, [row.event]),)))
        except EventIdReused:
            self._bad.append((row, "its id is recorded already, in another stream"))
        except ValidationFailed as error:
            self._bad.append((row, reason_of(error)))
        else:
            if not isinstance(outcome, Appended):
                # Somebody else wrote to the stream just now.
                self._bad.append((row, f"its stream has another event as version {row.version}"))
            elif outcome.replayed:
                self.known += 1
            else:
                self.added += 1

    async def _new(self, rows: list[Candidate]) -> list[Candidate]:
        """Those of the rows that their streams do not hold yet and can take; the others are settled."""
        streams = {name: await self._look_up(name) for name in dict.fromkeys(row.stream_id for row in rows)}
        ends = {name: len(recorded) for name, recorded in streams.items()}
        new: list[Candidate] = []
        for row in rows:
            known = streams[row.stream_id].get(row.event.event_id.bytes)
            if known is not None:
                if known.content == _content(row.event) and row.version in (None, known.version):
                    self.known += 1
                else:
                    reason = f"its id is recorded already, for another event: version {known.version}"
                    self._bad.append((row, reason))
                continue
            end = ends[row.stream_id]
            if row.version is not None and row.version <= end:
                self._bad.append((row, f"its stream has another event as version {row.version}"))
            elif row.version is not None and row.version > end + 1:
                self._bad.append((row, f"it is version {row.version}, but its stream ends at {end}"))
            else:
                ends[row.stream_id] = end + 1
                new.append(row)
        return new

    async def _look_up(self, name: str) -> dict[bytes, _Known]:
        """What a stream holds, by event id; only what came since the last look is read."""
        recorded = self._recorded.pop(name, None)
        if recorded is None:
            recorded = {}
        # Versions count from 1 without holes, so a stream's version is how many events it has.
        self._remembered -= len(recorded)
        while events := await self._store.read_stream(name, after=len(recorded), limit=PAGE):
            for event in events:
                recorded[event.raw_id] = _Known(event.version, _content(event))
            if len(events) < PAGE:
                break
        self._learn(name, len(recorded))
        self._recorded[name] = recorded
        self._remembered += len(recorded)
        while self._remembered > REMEMBERED_EVENTS and len(self._recorded) > 1:
            _, oldest = self._recorded.popitem(last=False)
            self._remembered -= len(oldest)
        return recorded


def _runs(rows: list[Candidate]) -> list[Groups]:
    """The rows, in order, in as few groups by stream as have each stream's rows next to each other."""
    runs: list[Groups] = []
    run: Groups = {}
    last = None
    for row in rows:
        name = row.stream_id
        if name == last:
            run[name].append(row)
            continue
        if not run or name in run:
            run = {}
            runs.append(run)
        run[name] = [row]
        last = name
    return runs


def _append_of(run: Groups, versions: dict[str, int]) -> Append:
    """The append of a run, each of whose streams is to be at its base version; moves those on."""
    streams: list[StreamAppend] = []
    for name, group in run.items():
        expected: ExpectedVersion = Expect.ANY
        if (version := group[0].version) is not None:
            expected = version - 1
        elif name in versions:
            expected = versions[name]
            versions[name] += len(group)
        streams.append(StreamAppend(name, expected, [row.event for row in group]))
    return Append(tuple(streams))


def _content(event: NewEvent | RecordedEvent) -> int:
    """A digest, good within this process, of what makes two events the same."""
    return hash(
        (
            event.type,
            event.schema_version,
            event.data,
            event.metadata,
            event.recorded_micros,
            event.correlation_id,
            event.causation_id,
            event.actor,
        )
    )
