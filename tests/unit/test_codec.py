"""Values and bytes: what goes in comes out, or is refused with the reason."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline import Command, Event, Meta
from foldline.domain.codec import Codec, check, convert, decode, encode, parse
from foldline.domain.schema import Registry
from foldline.errors import CodecError, ValidationFailed


class Colour(enum.Enum):
    RED = "red"


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: Annotated[int, Meta(ge=1)] = 1


class Placed(Event, name="placed", version=2):
    id: str
    lines: tuple[Line, ...] = ()
    total: Decimal = Decimal(0)
    at: datetime | None = None
    ratio: float = 0.0
    colour: Colour = Colour.RED
    raw: bytes = b""
    tags: frozenset[str] = frozenset()
    extra: dict[str, Any] = {}


class Unknown(Event):
    id: str


class Place(Command):
    id: str
    count: Annotated[int, Meta(ge=1, le=10)] = 1
    lines: tuple[Line, ...] = ()
    price: Decimal = Decimal(1)
    ratio: float | None = None
    on: date | None = None
    flag: bool = False
    extra: Any = None


codec = Codec(Registry("event", [Placed]))


def refused(call: Any, *arguments: Any, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationFailed) as failure:
        call(*arguments, **options)
    return [(fault.path, fault.message) for fault in failure.value.faults]


FULL = Placed(
    'ä\0\u2028🦀"\\/',
    (Line("a", 2**70), Line("b")),
    Decimal("1.10"),
    datetime(2024, 2, 29, 12, 30, 1, 999999, timezone(timedelta(hours=-5))),
    0.1 + 0.2,
    Colour.RED,
    bytes(range(256)),
    frozenset({"x"}),
    {"b": [1, None, {"a": True}], "a": 1e300},
)


def test_an_event_comes_back_equal() -> None:
    data = codec.encode_event(FULL)
    again = codec.decode_event("placed", 2, data)
    assert again == FULL and isinstance(again, Placed)
    assert str(again.total) == "1.10" and again.at is not None and again.at.utcoffset() == timedelta(hours=-5)
    assert list(again.extra) == ["b", "a"]


def test_an_older_event_gets_defaults_and_a_newer_one_may_carry_more() -> None:
    assert codec.decode_event("placed", 1, b'{"id":"a"}') == Placed("a")
    assert codec.decode_event("placed", 3, b'{"id":"a","new":1}') == Placed("a")


def test_events_of_types_no_code_knows_are_none() -> None:
    assert codec.decode_event("gone", 1, b"not even JSON") is None


def test_a_type_that_the_app_does_not_know_cannot_be_recorded() -> None:
    with pytest.raises(CodecError, match="does not know Unknown: apply it in an aggregate"):
        codec.encode_event(Unknown("a"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 5),
        ("id", None),
        ("id", "\ud800"),
        ("lines", [Line("a")]),
        ("lines", (Line("a", 0),)),
        ("lines", ("a",)),
        ("total", Decimal("NaN")),
        ("at", "2024-01-01T00:00:00Z"),
        ("ratio", float("nan")),
        ("ratio", float("inf")),
        ("colour", "red"),
        ("raw", "text"),
        ("tags", {"x": 1}),
        ("extra", {"a": (1,)}),
        ("extra", {"a": Decimal(1)}),
        ("extra", {"a": float("nan")}),
        ("extra", {1: 2}),
        ("extra", {"a": object()}),
        ("extra", {"a": {"\udfff": 1}}),
    ],
)
def test_what_would_come_back_as_another_is_never_recorded(name: str, value: Any) -> None:
    with pytest.raises(CodecError, match="placed cannot be recorded"):
        codec.encode_event(msgspec.structs.replace(Placed("a"), **{name: value}))


def test_a_cycle_is_never_recorded() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(CodecError, match="recursion"):
        codec.encode_event(Placed("a", extra=loop))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b'{"id":1}', b"{}", b'{"id":"\xff"}', b'{"id":"a","lines":[{"sku":"x","quantity":0}]}',
     b'{"id":"a","extra":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", b'{"id":"\\ud800"}'],
    ids=range(10),
)  # fmt: skip
def test_stored_bytes_that_do_not_fit_are_told_with_their_type_and_version(data: bytes) -> None:
    with pytest.raises(CodecError, match=r"Stored event placed \(schema version 1\) does not fit the code's version 2"):
        codec.decode_event("placed", 1, data)


# --- Commands -----------------------------------------------------------------------------------------------------


def test_check_returns_what_json_would_have_brought() -> None:
    given_: Any = Place("a", lines=[Line("x")])  # type: ignore[arg-type]
    checked, body = check(given_)
    assert checked == Place("a", lines=(Line("x"),)) and checked.lines == (Line("x"),)
    assert parse(Place, body) == checked


def test_check_copies_what_is_mutable() -> None:
    extra = {"a": [1]}
    checked, _ = check(Place("a", extra=extra))
    extra["a"].append(2)
    assert checked.extra == {"a": [1]}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (Place(5), "$.id"),  # type: ignore[arg-type]
        (Place("a", 0), "$.count"),
        (Place("a", 11), "$.count"),
        (Place("a", lines=(Line("x"), Line("y", 0))), "$.lines[1].quantity"),
        (Place("a", ratio=float("nan")), "$.ratio"),
        (Place("a", ratio=float("-inf")), "$.ratio"),
        (Place("a", price=Decimal("NaN")), "$.price"),
        (Place("a", price=Decimal("Infinity")), "$.price"),
        (Place("a", extra={"x": [1, float("nan")]}), "$.extra.x[1]"),
        (Place("\ud800"), "$"),
        (Place("a", extra={"\udc00": 1}), "$"),
        (Place("a", extra=object()), "$"),
        (Place("a", flag=1), "$.flag"),  # type: ignore[arg-type]
        (Place("a", price="x"), "$.price"),  # type: ignore[arg-type]
    ],
    ids=range(14),
)
def test_check_refuses_with_the_path(message: Place, path: str) -> None:
    assert [found for found, _ in refused(check, message)] == [path]


def test_check_of_a_cycle() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "recursion" in refused(check, Place("a", extra=loop))[0][1]


def test_text_of_urls_is_read_as_numbers_and_truth() -> None:
    values = {"id": "7", "count": "3", "flag": "true", "ratio": "0.5", "on": "2024-02-29", "price": "1.10"}
    assert convert(Place, values, strict=False) == Place("7", 3, (), Decimal("1.10"), 0.5, date(2024, 2, 29), True)
    assert [path for path, _ in refused(convert, Place, {**values, "count": "x", "on": "x"}, strict=False)] == [
        "$.count",
        "$.on",
    ]
    assert refused(convert, Place, values)[0][0] == "$.count"


def test_bytes_that_are_no_message() -> None:
    assert refused(parse, Place, b"")[0][0] == "$"
    assert refused(parse, Place, b'{"id":"a","id2":1}') == [("$.id2", "There is no such field")]
    assert refused(parse, Place, b'{"id":"\\ud83d"}') == [("$", "It holds half of a surrogate pair, which is no text")]
    deep = b'{"id":"a","extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refused(parse, Place, deep) == [("$", "It is nested too deeply")]


def test_plain_values() -> None:
    assert decode(dict[str, int], encode({"a": 2**64})) == {"a": 2**64}
    assert decode(UUID, encode(UUID(int=1))) == UUID(int=1)
    assert decode(datetime, encode(datetime(2024, 1, 1, tzinfo=UTC))) == datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(CodecError, match="A object cannot be written as JSON"):
        encode(object())
    with pytest.raises(CodecError, match="This is no int"):
        decode(int, b'"x"')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), json_values))
def test_any_json_value_comes_back(extra: dict[str, Any]) -> None:
    event = Placed("a", extra=extra)
    again = codec.decode_event("placed", 2, codec.encode_event(event))
    assert again == event and isinstance(again, Placed)
    assert list(again.extra) == list(extra)


class Weighed(Event):
    thing_id: str
    grams: int
    price: Decimal = Decimal(0)
    more: dict[str, list[int]] = {}


class Weigh(Command):
    thing_id: str
    grams: int
    more: dict[str, list[int]] = {}


@pytest.mark.parametrize("grams", [2**63 - 1, -(2**63)])
def test_integers_of_64_bits_are_kept(grams: int) -> None:
    assert check(Weigh("t", grams))[0].grams == grams
    codec = Codec(Registry("event", [Weighed]))
    assert codec.decode_event("Weighed", 1, codec.encode_event(Weighed("t", grams))) == Weighed("t", grams)


@pytest.mark.parametrize("grams", [2**63, -(2**63) - 1, 10**40])
def test_integers_beyond_64_bits_are_refused_with_their_path(grams: int) -> None:
    """No view could keep one, and a projection would halt on an event that holds it."""
    with pytest.raises(ValidationFailed, match=r"\$.grams: Integers beyond 64 bits"):
        check(Weigh("t", grams))
    with pytest.raises(ValidationFailed, match=r"\$.more.x\[1\]: Integers beyond 64 bits"):
        check(Weigh("t", 1, {"x": [1, grams]}))
    codec = Codec(Registry("event", [Weighed]))
    # An event is the application's own: it keeps what it is given, and a view that wants it declares a column for it.
    assert codec.decode_event("Weighed", 1, codec.encode_event(Weighed("t", grams))) == Weighed("t", grams)


def test_an_event_without_a_finite_amount_is_refused() -> None:
    with pytest.raises(CodecError, match=r"\$.price"):
        Codec(Registry("event", [Weighed])).encode_event(Weighed("t", 1, Decimal("Infinity")))


def test_digits_in_a_text_are_no_number() -> None:
    assert check(Weigh("9" * 40, 1))[0].thing_id == "9" * 40
