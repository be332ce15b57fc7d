"""What becomes of the appends of one batch: decided here, by what is known, and made true by the database's indexes.

A batch is first decided by guessing: the versions that this process has seen are still the newest. What cannot be
guessed is asked. If the guess was wrong, or an event id or a command id is recorded already, an index refuses the
whole batch, and it is decided again by facts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias
from uuid import UUID
from zlib import crc32

from foldline.errors import EventIdReused
from foldline.store.postgres.connect import Connection
from foldline.store.postgres.log import CLAIMS, END, RECORDED, VERSIONS, claimed_of, event_row
from foldline.store.spi import Append, Appended, Claimed, ClaimReused, Expect, Outcome, VersionConflict

Job: TypeAlias = tuple["asyncio.Future[Any]", Append]
"""An append, and who waits for its outcome."""

GROUPS = 64
"""How many groups streams fall into for locking: as many locks as every transaction has room for by default."""

_ANY = Expect.ANY
_NO_STREAM = Expect.NO_STREAM


Added: TypeAlias = tuple["asyncio.Future[Any]", tuple[tuple[str, int], ...], int, tuple[UUID, ...]]
"""An append that is to be recorded: who waits, the streams' versions, and the ids of its events; and between them the
place of its last event in the batch or, where it has none, the negative of the position that is told."""


class Plan:
    """What a batch comes to, if it can be recorded."""

    __slots__ = ("added", "answers", "at", "claims", "failures", "later", "place", "plain", "rows")

    def __init__(self) -> None:
        self.place = 0
        self.at: dict[str, int] = {}
        """What the streams that it adds to are at after it."""
        self.rows: list[tuple[Any, ...]] = []
        self.claims: list[tuple[Any, ...]] = []
        self.added: list[Added] = []
        self.answers: list[tuple[asyncio.Future[Any], Outcome]] = []
        self.failures: list[tuple[asyncio.Future[Any], EventIdReused]] = []
        self.plain = True
        """Whether each append is to one stream and claims nothing."""
        self.later: list[Job] = []
        """Appends whose event ids stand in this batch already: they are for the next one to answer."""


class Facts:
    """What the database was asked for one attempt at a batch, and what still has to be asked."""

    __slots__ = ("ask_claims", "ask_end", "ask_ids", "ask_streams", "careful", "claims", "end", "ids", "versions")

    def __init__(self, *, careful: bool = False) -> None:
        self.careful = careful
        """Nothing is guessed: every version, event id and command id is asked."""
        self.versions: dict[str, int] = {}
        self.ids: dict[bytes, tuple[str, int, int] | None] = {}
        self.claims: dict[str, Claimed | None] = {}
        self.end: int | None = None
        self.ask_streams: set[str] = set()
        self.ask_ids: set[bytes] = set()
        self.ask_claims: set[str] = set()
        self.ask_end = False

    @property
    def open(self) -> bool:
        """Whether there is something to be asked."""
        return bool(self.ask_streams or self.ask_ids or self.ask_claims or self.ask_end)

    async def ask(self, connection: Connection) -> None:
        """Ask it."""
        if self.ask_streams:
            self.versions.update(dict.fromkeys(self.ask_streams, 0))
            self.versions.update(await connection.fetch(VERSIONS, list(self.ask_streams)))  # type: ignore[arg-type]
            self.ask_streams = set()
        if self.ask_ids:
            self.ids.update(dict.fromkeys(self.ask_ids))
            for raw_id, *place in await connection.fetch(RECORDED, list(self.ask_ids)):
                self.ids[raw_id] = (place[0], place[1], place[2])
            self.ask_ids = set()
        if self.ask_claims:
            self.claims.update(dict.fromkeys(self.ask_claims))
            for row in await connection.fetch(CLAIMS, list(self.ask_claims)):
                self.claims[row[0]] = claimed_of(row)
            self.ask_claims = set()
        if self.ask_end:
            self.end = await connection.fetchval(END)
            self.ask_end = False


def groups_of(shared: Iterable[str], alone: Iterable[str] = ()) -> list[int]:
    """The groups of streams as foldline_lock() takes them: those to be had alone are negative."""
    together = {crc32(stream_id.encode()) % GROUPS + 1 for stream_id in shared}
    if not alone:
        return sorted(together)
    apart = {crc32(stream_id.encode()) % GROUPS + 1 for stream_id in alone}
    return [-number if number in apart else number for number in sorted(together | apart)]


def decide(jobs: Sequence[Job], known: dict[str, int], facts: Facts, now: int) -> Plan:
    """What becomes of each append of a batch, one after the other; the plan stands only if no fact is missing."""
    plan = Plan()
    at, rows, added = plan.at, plan.rows, plan.added
    guess = not facts.careful
    for job in jobs:
        future, append = job
        if future.cancelled():
            continue
        streams, claim = append
        if guess and claim is None and len(streams) == 1 and len(streams[0].events) == 1:
            # Nearly all appends come this way, so it is written out.
            ((stream_id, expected, events),) = streams
            version = at.get(stream_id)
            if version is None:
                version = known.get(stream_id)
                if version is None and (expected is _NO_STREAM or expected == 0):
                    version = 0
            if version is not None and (expected is _ANY or expected == version):
                version += 1
                at[stream_id] = version
                plan.place = place = plan.place + 1
                event_id, name, schema_version, data, metadata, correlation, cause, actor, micros = events[0]
                rows.append(
                    (
                        place, event_id.int.to_bytes(16, "big"), stream_id, stream_id.partition("-")[0], version, name,
                        schema_version, data, metadata, now if micros is None else micros, correlation, cause, actor,
                    )
                )  # fmt: skip
                added.append((future, ((stream_id, version),), place, (event_id,)))
                continue
        try:
            _place(job, append, plan, known, facts, now)
        except EventIdReused as error:
            plan.failures.append((future, error))
    return plan


def _place(job: Job, append: Append, plan: Plan, known: dict[str, int], facts: Facts, now: int) -> None:
    streams = append.streams
    if facts.careful and (_is_claimed(job, append, plan, facts) or _is_recorded(job, append, plan, facts)):
        return
    versions: list[int] = []
    guesses: list[str] = []
    conflict: VersionConflict | None = None
    for stream_id, expected, events in streams:
        version = plan.at.get(stream_id)
        if version is None:
            version = facts.versions.get(stream_id)
        guessed = version is None
        if version is None and not facts.careful and events:
            version = known.get(stream_id)
            if version is None and (expected is _NO_STREAM or expected == 0):
                version = 0
        wanted = 0 if expected is _NO_STREAM else expected
        if version is None or (guessed and wanted is not _ANY and wanted != version):
            facts.ask_streams.add(stream_id)
            continue
        if wanted is not _ANY and wanted != version and conflict is None:
            conflict = VersionConflict(stream_id, expected, version)
        if guessed:
            guesses.append(stream_id)
        versions.append(version)
    if conflict is not None:
        # It is told only if it is the first, and nothing will be recorded that proves the guesses before it.
        facts.ask_streams.update(guesses)
    if facts.open:
        return
    if conflict is not None:
        # An append that is retried finds its stream further on, which looks like a conflict until its ids are known.
        answered = _is_claimed(job, append, plan, facts) or _is_recorded(job, append, plan, facts)
        if not answered and not facts.open:
            plan.answers.append((job[0], conflict))
        return
    _add(job[0], append, versions, plan, facts, now)


def _add(future: asyncio.Future[Any], append: Append, versions: list[int], plan: Plan, facts: Facts, now: int) -> None:
    streams, claim = append
    plan.plain = plan.plain and claim is None and len(streams) == 1
    rows, place = plan.rows, plan.place
    begin = place
    ids: list[UUID] = []
    after: list[tuple[str, int]] = []
    for (stream_id, _, events), version in zip(streams, versions, strict=True):
        category = stream_id.partition("-")[0]
        for event in events:
            place += 1
            version += 1
            ids.append(event.event_id)
            rows.append(event_row(event, place, stream_id, category, version, now))
        if events:
            plan.at[stream_id] = version
        after.append((stream_id, version))
    if place == begin:
        if facts.end is None:
            facts.ask_end = True
            return
        place_or_end = -facts.end
    else:
        place_or_end = plan.place = place
    if claim is not None:
        plan.claims.append(
            (
                claim.command_id, claim.fingerprint, [name for name, _ in after], [version for _, version in after],
                place_or_end, [event_id.bytes for event_id in ids], now,
            )
        )  # fmt: skip
    plan.added.append((future, tuple(after), place_or_end, tuple(ids)))


def _is_claimed(job: Job, append: Append, plan: Plan, facts: Facts) -> bool:
    """Whether the append is answered by what its command id came to before."""
    claim = append.claim
    if claim is None:
        return False
    if claim.command_id not in facts.claims:
        facts.ask_claims.add(claim.command_id)
        return False
    first = facts.claims[claim.command_id]
    if first is None:
        return False
    same = first.fingerprint == claim.fingerprint
    plan.answers.append((job[0], first.outcome._replace(replayed=True) if same else ClaimReused(claim.command_id)))
    return True


def _is_recorded(job: Job, append: Append, plan: Plan, facts: Facts) -> bool:
    """Whether the append is answered by what is recorded under its event ids, or has to wait for the next batch.

    Raises EventIdReused where an id is part of something else.
    """
    streams = append.streams
    raw = [event.event_id.bytes for stream in streams for event in stream.events]
    if not raw:
        return False
    if len(set(raw)) < len(raw):
        raise EventIdReused("Two events of this append have the same id: give each event its own.")
    if plan.rows and not {row[1] for row in plan.rows}.isdisjoint(raw):
        plan.later.append(job)
        return True
    unasked = [event_id for event_id in raw if event_id not in facts.ids]
    if unasked:
        facts.ask_ids.update(unasked)
        return False
    places = [facts.ids[event_id] for event_id in raw]
    if not any(places):
        return False
    after: dict[str, int] = {}
    position = 0
    number = 0
    for stream_id, _, events in streams:
        for _ in events:
            found = places[number]
            number += 1
            # As one append they follow one another in their streams, and their positions grow.
            follows = found is not None and found[0] == stream_id and found[2] > position
            if found is None or not follows or (stream_id in after and found[1] != after[stream_id] + 1):
                raise EventIdReused(
                    "An event id of this append is recorded already, as part of another append: "
                    "give each event its own id."
                )
            after[stream_id], position = found[1], found[2]
    for stream_id, _, events in streams:
        if not events:
            if stream_id not in facts.versions:
                facts.ask_streams.add(stream_id)
                return False
            after[stream_id] = facts.versions[stream_id]
    versions = tuple((stream.stream_id, after[stream.stream_id]) for stream in streams)
    ids = tuple(event.event_id for stream in streams for event in stream.events)
    plan.answers.append((job[0], Appended(versions, position, ids, replayed=True)))
    return True
