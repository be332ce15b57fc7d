"""`check_view` passes views that are folds, and catches each of the ways in which one can fail to be."""

from __future__ import annotations

import functools
import itertools
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldline import DELETE, Envelope, Event, Projection, Transaction, View, projects
from foldline.projection.view import Delete
from foldline.testing import check_view, event_sequences, happened

log = logging.getLogger(__name__)


class Named(Event):
    id: str
    name: str


class Added(Event):
    id: str
    amount: int


class Shared(Event):
    ids: tuple[str, ...]
    tags: list[str]


class Tagged(Event):
    id: str
    tag: str


class Removed(Event):
    id: str


class Timed(Event):
    id: str
    at: datetime


HISTORY = [
    Named("a", "Ann"),
    Added("a", 1),
    Added("b", 2),
    Shared(("a", "b"), ["x"]),
    Tagged("a", "y"),
    Added("a", 3),
    Removed("b"),
    Added("b", 4),
    Tagged("b", "z"),
    Added("a", 5),
]


def caught(view: type[View], events: Any = HISTORY, **options: Any) -> str:
    with pytest.raises(AssertionError) as failure:
        check_view(view, events, **options)
    return str(failure.value)


class Good(View, key="id"):
    id: str
    name: str = ""
    total: Decimal = Decimal(0)
    count: int = 0
    tags: list[str] = []
    by: str | None = None
    last: datetime | None = None

    @projects
    def named(self, event: Named, envelope: Envelope) -> None:
        self.name, self.by, self.last = event.name, envelope.actor, envelope.recorded_at

    @projects
    def added(self, event: Added) -> None:
        self.total += event.amount
        self.count += 1
        log.info("added %s", event.amount)

    @projects(keys=lambda event: event.ids)
    def shared(self, event: Shared) -> None:
        self.tags = [*self.tags, *event.tags]

    @projects
    def tagged(self, event: Tagged) -> None:
        self.tags.append(event.tag)

    @projects
    def removed(self, event: Removed) -> Delete:
        return DELETE


def test_a_fold_passes_and_its_rows_are_returned() -> None:
    with_actor: list[Any] = [happened(HISTORY[0], actor="ann", stream="thing-a"), *HISTORY[1:]]
    rows = {row.id: row for row in check_view(Good, with_actor)}
    assert (rows["a"].total, rows["a"].count, rows["a"].tags, rows["a"].by) == (Decimal(9), 3, ["x", "y"], "ann")
    assert (rows["b"].total, rows["b"].count, rows["b"].tags) == (Decimal(4), 1, ["z"])


def test_few_and_many_events_pass() -> None:
    assert check_view(Good, []) == []
    assert len(check_view(Good, HISTORY[:1])) == 1
    assert check_view(Good, [Added("a", 1)] * 150, rounds=3)[0].count == 150


@settings(max_examples=25, deadline=None)
@given(event_sequences(Named, Added, Tagged, Removed, Shared, id=st.sampled_from(["a", "b"]), max_size=8))
def test_a_fold_passes_for_whatever_events(events: list[Event]) -> None:
    check_view(Good, events, rounds=5)


def test_it_works_inside_a_running_event_loop() -> None:
    import asyncio

    async def run() -> None:
        check_view(Good, HISTORY)

    asyncio.run(run())


# --- State outside of the rows ------------------------------------------------------------------------------------

NAMES: dict[str, str] = {}
SEQUENCE = 0
TICKS = itertools.count(1)


class GlobalCounter(View, key="id"):
    id: str
    number: int = 0

    @projects
    def added(self, event: Added) -> None:
        global SEQUENCE
        SEQUENCE += 1
        self.number = SEQUENCE


class GlobalCache(View, key="id"):
    """The sly one: in one process every way leads to the same rows; only a restart shows it."""

    id: str
    name: str = ""

    @projects
    def named(self, event: Named) -> None:
        NAMES[event.id] = event.name

    @projects
    def added(self, event: Added) -> None:
        self.name = NAMES.get(event.id, "")


class ClassCounter(View, key="id"):
    id: str
    number: int = 0
    seen: ClassVar[int] = 0

    @projects
    def added(self, event: Added) -> None:
        ClassCounter.seen += 1
        self.number = type(self).seen


class ClassCache(View, key="id"):
    id: str
    name: str = ""
    names: ClassVar[dict[str, str]] = {}

    @projects
    def named(self, event: Named) -> None:
        self.names[event.id] = event.name

    @projects
    def added(self, event: Added) -> None:
        self.name = self.names.get(event.id, "")


class Registry:
    def __init__(self) -> None:
        self.names: dict[str, str] = {}


REGISTRY = Registry()


def remember(id_: str, name: str) -> None:
    REGISTRY.names[id_] = name


def recall(id_: str) -> str:
    return REGISTRY.names.get(id_, "")


class ThroughHelpers(View, key="id"):
    id: str
    name: str = ""

    @projects
    def named(self, event: Named) -> None:
        remember(event.id, event.name)

    @projects
    def added(self, event: Added) -> None:
        self.name = recall(event.id)


def closed_over() -> Callable[[str, str | None], str]:
    names: dict[str, str] = {}

    def name(id_: str, given_: str | None) -> str:
        if given_ is not None:
            names[id_] = given_
        return names.get(id_, "")

    return name


named_by = closed_over()


class ThroughClosure(View, key="id"):
    id: str
    name: str = ""

    @projects
    def named(self, event: Named) -> None:
        named_by(event.id, event.name)

    @projects
    def added(self, event: Added) -> None:
        self.name = named_by(event.id, None)


class KeysRemember(View, key="id"):
    id: str
    count: int = 0

    @projects(keys=lambda event, seen=[]: seen.append(event.id) or list(seen))  # type: ignore[misc]
    def added(self, event: Added) -> None:
        self.count += 1


@functools.cache
def first_amount(id_: str) -> list[int]:
    return []


class ThroughCachedFunction(View, key="id"):
    id: str
    first: int = 0

    @projects
    def added(self, event: Added) -> None:
        amounts = first_amount(event.id)
        amounts.append(event.amount)
        self.first = amounts[0]


class Ticking(View, key="id"):
    id: str
    tick: int = 0

    @projects
    def added(self, event: Added) -> None:
        self.tick = next(TICKS)


class CountingDeliveries(View, key="id"):
    """Right in every way but where a transaction is undone, or a batch comes again."""

    id: str
    count: int = 0
    counts: ClassVar[Counter[str]] = Counter()

    @projects
    def added(self, event: Added) -> None:
        self.counts[event.id] += 1
        self.count = self.counts[event.id]


def test_a_global_counter_is_caught_and_named() -> None:
    told = caught(GlobalCounter)
    assert "GlobalCounter does not depend on its events alone" in told
    assert "row 'a', field 'number':" in told and "test_check_view.SEQUENCE" in told


def test_a_global_cache_is_caught_by_a_restart() -> None:
    told = caught(GlobalCache)
    assert "row 'a', field 'name':\n  in one batch             'Ann'\n  restarted after event 1  ''" in told
    assert "the cut: up to event 1; restart, up to event 10" in told
    assert '    1 Named {"id":"a","name":"Ann"}' in told and "seed=0" in told


@pytest.mark.parametrize(
    ("view", "named"),
    [
        (ClassCounter, "ClassCounter.seen"),
        (ClassCache, "ClassCache.names"),
        (ThroughHelpers, "REGISTRY"),
        (ThroughClosure, "names, which closed_over"),
        (KeysRemember, "a default of KeysRemember"),
        (ThroughCachedFunction, ""),
        (Ticking, ""),
        (CountingDeliveries, "CountingDeliveries.counts"),
    ],
)
def test_other_places_outside_of_the_rows_are_caught(view: type[View], named: str) -> None:
    assert named in caught(view)


def test_what_was_outside_is_left_as_it_was_found() -> None:
    NAMES["z"] = "Zoë"
    try:
        for view in (GlobalCounter, GlobalCache, ClassCounter, ClassCache, ThroughHelpers, CountingDeliveries):
            caught(view)
        assert (SEQUENCE, NAMES, ClassCounter.seen, ClassCache.names) == (0, {"z": "Zoë"}, 0, {})
        assert (REGISTRY.names, CountingDeliveries.counts) == ({}, Counter())
    finally:
        NAMES.clear()


TARIFF = {"x": 2}


class ReadsConstants(View, key="id"):
    id: str
    total: int = 0
    factor: ClassVar[int] = 3

    @projects
    def added(self, event: Added) -> None:
        self.total += event.amount * TARIFF["x"] * self.factor


def test_constants_may_be_read() -> None:
    assert next(row for row in check_view(ReadsConstants, HISTORY) if row.id == "a").total == 54


@functools.cache
def doubled(number: int) -> int:
    return number * 2


class Memoised(View, key="id"):
    id: str
    total: int = 0

    @projects
    def added(self, event: Added) -> None:
        self.total += doubled(event.amount)


def test_a_memo_of_a_pure_function_is_no_fault() -> None:
    check_view(Memoised, HISTORY)


# --- Shared defaults, and what is one object only within a batch ------------------------------------------------------


class Stats(msgspec.Struct):
    amounts: list[int] = []


SHARED_STATS = Stats()


class SharedDefault(View, key="id"):
    id: str
    stats: Stats = msgspec.field(default_factory=lambda: SHARED_STATS)

    @projects
    def added(self, event: Added) -> None:
        self.stats.amounts.append(event.amount)


class SharedTags(View, key="id"):
    """Both rows hold the event's own list, as long as they are in memory."""

    id: str
    tags: list[str] = []

    @projects(keys=lambda event: event.ids)
    def shared(self, event: Shared) -> None:
        self.tags = event.tags

    @projects
    def tagged(self, event: Tagged) -> None:
        self.tags.append(event.tag)


class SameObject(View, key="id"):
    id: str
    same: int = 0
    tags: list[str] = []
    before: Any = None

    @projects(keys=lambda event: event.ids)
    def shared(self, event: Shared) -> None:
        self.tags = self.before = event.tags

    @projects
    def tagged(self, event: Tagged) -> None:
        self.same += self.tags is self.before


class LosesOffset(View, key="id"):
    """A time is the same moment when it comes back, but no longer told by the same clock."""

    id: str
    at: datetime | None = None
    hour: int = 0

    @projects
    def timed(self, event: Timed) -> None:
        self.hour += 0 if self.at is None else self.at.hour
        self.at = event.at


def test_a_shared_default_is_caught() -> None:
    told = caught(SharedDefault)
    assert "field 'stats'" in told and "SHARED_STATS" in told
    assert Stats() == SHARED_STATS


def test_rows_that_share_an_object_are_caught() -> None:
    told = caught(SharedTags)
    assert "row 'b', field 'tags'" in told or "row 'a', field 'tags'" in told
    assert "cut after event" in told


def test_identity_is_caught() -> None:
    assert "field 'same'" in caught(SameObject)


def test_what_does_not_outlive_storage_is_caught() -> None:
    at = msgspec.json.decode('"2024-06-01T12:00:00+02:00"', type=datetime)
    told = caught(LosesOffset, [Timed("a", at), Timed("a", at)])
    assert "field 'hour'" in told and "12" in told and "10" in told


# --- The clock and chance -------------------------------------------------------------------------------------------


class Now(View, key="id"):
    id: str
    at: datetime | None = None

    @projects
    def added(self, event: Added) -> None:
        self.at = datetime.now(UTC)


class Today(View, key="id"):
    """No comparison of rows would show it before midnight."""

    id: str
    on: date | None = None

    @projects
    def added(self, event: Added) -> None:
        self.on = date.today()  # noqa: DTZ011


class Stopwatch(View, key="id"):
    id: str
    at: int = 0

    @projects
    def added(self, event: Added) -> None:
        self.at = int(time.time()) // 3600


class Dice(View, key="id"):
    id: str
    number: int = 0

    @projects
    def added(self, event: Added) -> None:
        self.number = random.randint(1, 1)


class Lottery(View, key="id"):
    id: str
    ticket: uuid.UUID | None = None

    @projects
    def added(self, event: Added) -> None:
        self.ticket = uuid.uuid4()


class Cleaner(View, key="id"):
    """Looks at the clock in keys=."""

    id: str
    count: int = 0

    @projects(keys=lambda event: [event.id] if time.time() else [])
    def added(self, event: Added) -> None:
        self.count += 1


def chance() -> float:
    return random.SystemRandom().random()


class ThroughOthers(View, key="id"):
    id: str
    lucky: bool = False

    @projects
    def added(self, event: Added) -> None:
        self.lucky = chance() > 2


@pytest.mark.parametrize(
    ("view", "call"),
    [
        (Now, "datetime.now in Now.added"),
        (Today, "date.today in Today.added"),
        (Stopwatch, "time.time in Stopwatch.added"),
        (Dice, "Random.getrandbits in Dice.added"),
        (Lottery, "urandom in Lottery.added"),
        (Cleaner, "time.time in Cleaner.<lambda>"),
        (ThroughOthers, "urandom in chance"),
    ],
)
def test_the_clock_and_chance_are_caught_and_placed(view: type[View], call: str) -> None:
    told = caught(view)
    assert call in told and "test_check_view.py:" in told


class Logs(View, key="id"):
    id: str
    count: int = 0

    @projects
    def added(self, event: Added) -> None:
        log.warning("added %d", event.amount)
        self.count += 1


def test_logging_may_look_at_the_clock() -> None:
    check_view(Logs, HISTORY)


class Unseen(View, key="id"):
    """Draws from an iterator that no inspection of names would find out about."""

    id: str
    number: int = 0
    draw: ClassVar[Any] = iter(range(10**9))

    @projects
    def added(self, event: Added) -> None:
        self.number = next(self.draw)


def test_the_same_batch_twice_must_give_the_same_rows() -> None:
    told = caught(Unseen)
    assert "in one batch, a second time" in told


# --- Misuse ---------------------------------------------------------------------------------------------------------


class Fails(View, key="id"):
    id: str
    total: int = 0

    @projects
    def added(self, event: Added) -> None:
        if event.amount == 3:
            raise ArithmeticError("three")


def test_what_a_handler_raises_comes_through_with_its_event() -> None:
    with pytest.raises(ArithmeticError) as failure:
        check_view(Fails, HISTORY)
    assert failure.value.__notes__ == ['Fails failed on event 6, Added {"id":"a","amount":3}']


class InSql(Projection, tables=("sums",)):
    setup: ClassVar[str] = "create table sums (id text primary key)"

    @projects
    async def added(self, event: Added, tx: Transaction) -> None:
        return None


def test_only_views_can_be_checked() -> None:
    with pytest.raises(TypeError, match="no View class"):
        check_view(InSql, HISTORY)
