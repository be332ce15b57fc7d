"""What becomes of a batch of appends on PostgreSQL, decided without a database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from foldline.errors import EventIdReused
from foldline.store.postgres.decide import GROUPS, Facts, Job, Plan, decide, groups_of
from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    Claimed,
    ClaimReused,
    Expect,
    ExpectedVersion,
    NewEvent,
    StreamAppend,
    VersionConflict,
)

NOW = 1_000_000


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for futures to belong to; it does not run."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def event(event_id: UUID | None = None) -> NewEvent:
    """A new event."""
    return NewEvent(event_id or uuid7(), "Happened", 1, b"{}")


def to(stream_id: str, *events: NewEvent, expected: ExpectedVersion = Expect.ANY, claim: Claim | None = None) -> Append:
    """An append to one stream."""
    return Append((StreamAppend(stream_id, expected, events),), claim)


def jobs(loop: asyncio.AbstractEventLoop, *appends: Append) -> list[Job]:
    """The appends, each with somebody who waits."""
    return [(loop.create_future(), append) for append in appends]


def versions(plan: Plan) -> list[tuple[str, int]]:
    """Which versions of which streams the plan records, in the order of its rows."""
    return [(row[2], row[4]) for row in plan.rows]


def test_what_is_known_is_guessed_and_chained(loop: asyncio.AbstractEventLoop) -> None:
    """A hot stream's appends follow one another in the batch, and nothing is asked."""
    facts = Facts()
    batch = jobs(
        loop, to("a-1", event(), expected=5), to("a-1", event()), to("a-1", event(), event(), expected=7),
        to("b-1", event(), expected=Expect.NO_STREAM),
    )  # fmt: skip
    plan = decide(batch, {"a-1": 5}, facts, NOW)
    assert not facts.open
    assert versions(plan) == [("a-1", 6), ("a-1", 7), ("a-1", 8), ("a-1", 9), ("b-1", 1)]
    assert [place for _, _, place, _ in plan.added] == [1, 2, 4, 5]
    assert plan.plain


@pytest.mark.parametrize(
    "append", [to("a-1", event()), to("a-1", event(), expected=3), to("a-1", expected=0), to("a-1", expected=3)]
)
def test_what_is_not_known_is_asked(loop: asyncio.AbstractEventLoop, append: Append) -> None:
    """Also where a stream is only looked at, for which no index would tell that the guess was wrong."""
    facts = Facts()
    decide(jobs(loop, append), {}, facts, NOW)
    assert facts.ask_streams == {"a-1"}


def test_a_conflict_is_told_only_by_facts(loop: asyncio.AbstractEventLoop) -> None:
    """First the version is asked, then whether this is a retry, and only then is it a conflict."""
    append = to("a-1", event(), expected=4)
    facts = Facts()
    decide(jobs(loop, append), {"a-1": 5}, facts, NOW)
    assert facts.ask_streams == {"a-1"}
    facts.ask_streams.clear()
    facts.versions["a-1"] = 6
    decide(jobs(loop, append), {"a-1": 5}, facts, NOW)
    raw_id = append.streams[0].events[0].event_id.bytes
    assert facts.ask_ids == {raw_id}
    facts.ask_ids.clear()
    facts.ids[raw_id] = None
    plan = decide(jobs(loop, append), {"a-1": 5}, facts, NOW)
    assert [outcome for _, outcome in plan.answers] == [VersionConflict("a-1", 4, 6)]
    assert not plan.rows


def test_the_first_conflict_is_told(loop: asyncio.AbstractEventLoop) -> None:
    """A guess before it is made sure of, since nothing is recorded that would prove it."""
    append = Append((StreamAppend("new-1", Expect.NO_STREAM, (event(),)), StreamAppend("a-1", 4, (event(),))))
    facts = Facts()
    facts.versions["a-1"] = 6
    decide(jobs(loop, append), {}, facts, NOW)
    assert facts.ask_streams == {"new-1"}


def test_a_retry_is_answered_by_its_ids(loop: asyncio.AbstractEventLoop) -> None:
    """Though other positions lie between those of its events; but not where their order is another."""
    one, two = event(), event()
    append = to("a-1", one, two, expected=0)
    facts = Facts(careful=True)
    facts.versions["a-1"] = 9
    facts.ids.update({one.event_id.bytes: ("a-1", 1, 10), two.event_id.bytes: ("a-1", 2, 14)})
    plan = decide(jobs(loop, append), {}, facts, NOW)
    assert [outcome for _, outcome in plan.answers] == [
        Appended((("a-1", 2),), 14, (one.event_id, two.event_id), replayed=True)
    ]
    facts.ids[two.event_id.bytes] = ("a-1", 3, 14)
    plan = decide(jobs(loop, append), {}, facts, NOW)
    assert [type(error) for _, error in plan.failures] == [EventIdReused]
    assert not plan.rows


def test_a_command_id_is_answered_before_anything_else(loop: asyncio.AbstractEventLoop) -> None:
    """With its first outcome, or as reused by another command."""
    first = Appended((("a-1", 3),), 7, ())
    facts = Facts(careful=True)
    facts.claims["c"] = Claimed(b"body", first)
    batch = jobs(
        loop, to("a-1", event(), expected=9, claim=Claim("c", b"body")), to("a-1", event(), claim=Claim("c", b"other"))
    )
    plan = decide(batch, {}, facts, NOW)
    assert [outcome for _, outcome in plan.answers] == [first._replace(replayed=True), ClaimReused("c")]


def test_the_same_ids_twice_in_a_batch_wait_for_the_next(loop: asyncio.AbstractEventLoop) -> None:
    """Which will find them recorded."""
    append = to("a-1", event(), expected=0)
    batch = jobs(loop, append, append)
    facts = Facts(careful=True)
    facts.versions["a-1"] = 0
    facts.ids[append.streams[0].events[0].event_id.bytes] = None
    plan = decide(batch, {}, facts, NOW)
    assert versions(plan) == [("a-1", 1)]
    assert plan.later == [batch[1]]


def test_groups_are_in_order_and_those_had_alone_are_negative() -> None:
    """So that everybody takes them in one order."""
    streams = [f"a-{number}" for number in range(200)]
    assert groups_of(streams) == list(range(1, GROUPS + 1))
    mixed = groups_of(streams, ["a-7"])
    assert [abs(number) for number in mixed] == list(range(1, GROUPS + 1))
    assert [-number for number in mixed if number < 0] == groups_of(["a-7"])
