"""Messages made from their types fit them: each one passes the codec, and says so after a round trip too."""

from __future__ import annotations

import enum
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from foldline import Command, Event, Meta, Query
from foldline.domain.codec import Codec, check
from foldline.domain.message import Message
from foldline.domain.schema import Registry
from foldline.testing import event_sequences, messages

Sku = NewType("Sku", str)
Quantity = Annotated[int, Meta(ge=1, le=99)]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


class Line(msgspec.Struct, frozen=True):
    sku: Sku
    quantity: Quantity = 1


class Card(msgspec.Struct, frozen=True, tag=True):
    digits: Annotated[str, Meta(pattern="^[0-9]{4}$")]


class Cash(msgspec.Struct, frozen=True, tag=True):
    given: Annotated[int, Meta(multiple_of=5, gt=0, lt=1000)]


class Node(msgspec.Struct, frozen=True):
    name: str
    children: tuple[Node, ...] = ()
    next: Node | None = None


class Point(NamedTuple):
    x: int
    y: float


class Extra(TypedDict):
    note: str
    count: int


@dataclass(frozen=True)
class Box:
    width: Annotated[float, Meta(gt=0, le=10)]


class Ordered(msgspec.Struct, frozen=True):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


class Scalars(Event):
    text: str
    number: int
    real: float
    flag: bool
    money: Decimal
    at: datetime
    day: date
    clock: time
    span: timedelta
    id: UUID
    raw: bytes
    nothing: None
    colour: Colour
    level: Level
    right: Right
    mood: Literal["good", "bad", 3]
    renamed: int = msgspec.field(name="re-named")


class Containers(Event):
    lines: tuple[Line, ...]
    pair: tuple[int, str]
    names: list[str]
    unique: set[int]
    frozen: frozenset[str]
    counts: dict[str, int]
    by_number: dict[int, Line]
    by_colour: dict[Colour, bool]


class Structs(Event):
    paid_by: Card | Cash
    either: int | str | None
    maybe: Line | None
    node: Node
    point: Point
    extra: Extra
    box: Box
    ordered: Ordered
    anything: Any


class Bounded(Command):
    at_least: Annotated[int, Meta(ge=10)]
    above: Annotated[int, Meta(gt=10, lt=12)]
    huge: Annotated[int, Meta(ge=2**62)]
    dozens: Annotated[int, Meta(multiple_of=12, ge=-30, le=30)]
    unit: Annotated[float, Meta(ge=0, lt=1)]
    positive: Annotated[float, Meta(gt=0)]
    halves: Annotated[float, Meta(multiple_of=0.5, gt=-2, le=2)]
    steps: Annotated[float, Meta(multiple_of=0.1, ge=1000)]
    name: Annotated[str, Meta(min_length=2, max_length=4)]
    code: Annotated[str, Meta(pattern="^[A-Z]{2}-[0-9]+$", max_length=6)]
    found: Annotated[str, Meta(pattern="b", max_length=8)]
    raw: Annotated[bytes, Meta(min_length=3, max_length=3)]
    few: Annotated[list[int], Meta(min_length=1, max_length=2)]
    some: Annotated[tuple[Quantity, ...], Meta(min_length=9)]
    keyed: Annotated[dict[str, int], Meta(min_length=1, max_length=1)]
    distinct: Annotated[frozenset[int], Meta(min_length=2)]
    aware: Annotated[datetime, Meta(tz=True)]
    naive: Annotated[datetime, Meta(tz=False)]
    aware_time: Annotated[time, Meta(tz=True)]
    optional: Annotated[int, Meta(ge=5)] | None = None


class Ask(Query[int]):
    text: Annotated[str, Meta(min_length=1)]
    page: int = 1


class Empty(Event):
    pass


class Placed(Event):
    id: str
    lines: Annotated[tuple[Line, ...], Meta(min_length=1)]


class Paid(Event):
    id: str
    amount: Decimal


quick = settings(database=None, deadline=None, phases=[Phase.generate, Phase.shrink])
slowly = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("kind", [Scalars, Containers, Structs, Bounded, Ask, Empty, Placed])
def test_every_message_passes_the_codec(kind: type[Message]) -> None:
    @slowly
    @for_all(messages(kind))
    def passes(message: Message) -> None:
        checked, body = check(message)
        assert checked == message
        assert msgspec.json.decode(body, type=kind) == message
        body.decode().encode()

    passes()


@pytest.mark.parametrize("kind", [Scalars, Containers, Structs])
def test_every_event_can_be_stored(kind: type[Event]) -> None:
    codec = Codec(Registry("event", [kind]))

    @slowly
    @for_all(messages(kind))
    def can_be_stored(event: Event) -> None:
        assert codec.decode_event(kind.__message_name__, 1, codec.encode_event(event)) == event

    can_be_stored()


@slowly
@for_all(messages(Scalars))
def test_what_was_promised_of_values(event: Scalars) -> None:
    assert -(2**63) <= event.number < 2**63 and math.isfinite(event.real) and event.money.is_finite()
    assert event.at.tzinfo is not None and 1899 <= event.at.year <= 2200
    assert not any("\ud800" <= letter <= "\udfff" for letter in event.text)


@slowly
@for_all(messages(Structs))
def test_what_a_struct_refuses_is_not_made(event: Structs) -> None:
    assert event.ordered.low <= event.ordered.high


@slowly
@for_all(messages(Bounded))
def test_bounds_are_kept(command: Bounded) -> None:
    assert command.above == 11
    assert command.dozens in (-24, -12, 0, 12, 24)
    assert command.halves in (-1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2)
    assert re.search("^[A-Z]{2}-[0-9]+$", command.code) and "b" in command.found
    assert len(command.raw) == 3 and len(command.some) >= 9
    assert command.aware.tzinfo is not None and command.naive.tzinfo is None


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (Structs, lambda event: event.maybe is None),
        (Structs, lambda event: event.maybe is not None and event.maybe.quantity > 50),
        (Structs, lambda event: isinstance(event.paid_by, Card)),
        (Structs, lambda event: isinstance(event.paid_by, Cash)),
        (Structs, lambda event: event.node.next is not None),
        (Structs, lambda event: event.either is None),
        (Structs, lambda event: isinstance(event.either, str)),
        (Structs, lambda event: isinstance(event.anything, dict)),
        (Containers, lambda event: len(event.lines) > 2),
        (Containers, lambda event: not event.counts),
        (Scalars, lambda event: event.mood == 3),
        (Scalars, lambda event: event.at.utcoffset() != timedelta(0)),
        (Scalars, lambda event: not event.text.isascii()),
        (Scalars, lambda event: event.money < 0),
        (Scalars, lambda event: event.number > 2**53),
    ],
)
def test_no_kind_of_value_is_left_out(kind: type[Event], wanted: Callable[[Any], bool]) -> None:
    @settings(max_examples=300, deadline=None, database=None, phases=[Phase.generate], derandomize=True)
    @for_all(messages(kind))
    def has_none(event: Event) -> None:
        assert not wanted(event)

    with pytest.raises(AssertionError):
        has_none()


def test_examples_shrink_to_the_simplest() -> None:
    assert find(messages(Paid), lambda event: True, settings=quick) == Paid("", Decimal(0))


@for_all(messages(Placed, id=st.sampled_from(["o-1", "o-2"])))
def test_a_field_can_have_its_own_strategy(event: Placed) -> None:
    assert event.id in ("o-1", "o-2") and event.lines


@slowly
@for_all(event_sequences(Placed, Paid, Empty, id=st.sampled_from(["a", "b"]), amount=st.just(Decimal(1)), max_size=6))
def test_sequences_share_their_fields(events: list[Event]) -> None:
    assert len(events) <= 6
    for event in events:
        assert getattr(event, "id", "a") in ("a", "b")
        assert getattr(event, "amount", Decimal(1)) == 1


def test_sequences_mix_types() -> None:
    found = find(
        event_sequences(Placed, Paid, min_size=2),
        lambda events: {type(one) for one in events} == {Placed, Paid},
        settings=quick,
    )
    assert len(found) == 2


class Opaque:
    pass


class Strange(Event):
    id: str
    what: Opaque


def test_misuse_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="Paid has no field ids; it has id, amount"):
        messages(Paid, ids=st.just("x"))
    with pytest.raises(TypeError, match=r"Nothing can be made for Strange\.what.*what="):
        messages(Strange)
    with pytest.raises(TypeError, match="is no message type"):
        messages(int)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="None of Placed, Paid has a field 'x'"):
        event_sequences(Placed, Paid, x=st.just(1))
    with pytest.raises(TypeError, match="needs the types"):
        event_sequences()


def test_hypothesis_is_loaded_only_when_needed_and_missed_clearly() -> None:
    program = (
        "import sys; import foldline.testing as kit; kit.given; kit.check_view; "
        "assert 'hypothesis' not in sys.modules; sys.modules['hypothesis'] = None\n"
        "try: kit.messages\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'foldline[testing]'" in done.stdout
