"""Messages, their names and versions, and the ids that every store can keep."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline.domain.message import MAX_ID_BYTES, Command, Event, Query, StreamId, check_id, snake_case
from foldline.errors import DefinitionError, ValidationFailed


class Placed(Event):
    """An event with the name of its class."""

    order_id: str
    total: int = 0


class Renamed(Event, name="order-placed", version=3):
    """An event with a declared name."""

    order_id: str


class Hidden(Command, internal=True):
    """A command for the application's own code."""

    order_id: str


class OrdersOf(Query[list[str]]):
    """A question."""

    customer_id: str


def test_a_message_is_named_by_its_class_or_as_declared() -> None:
    """With version 1 unless another is declared."""
    assert (Placed.__message_name__, Placed.__message_version__) == ("Placed", 1)
    assert (Renamed.__message_name__, Renamed.__message_version__) == ("order-placed", 3)
    assert (OrdersOf.__message_name__, OrdersOf.__message_version__) == ("OrdersOf", 1)


def test_a_declared_name_is_not_inherited() -> None:
    """A subclass is a type of its own, for two types of one name could not be told apart."""

    class Special(Renamed):
        """More than it."""

    assert (Special.__message_name__, Special.__message_version__) == ("Special", 1)


def test_only_internal_messages_are_internal() -> None:
    """As their class line says."""
    assert Hidden.__message_internal__ is True
    assert Placed.__message_internal__ is OrdersOf.__message_internal__ is False


def test_messages_are_frozen_values() -> None:
    """Equal by their fields, hashable, and not to be changed."""
    event = Placed("o-1", 5)
    assert event == Placed(order_id="o-1", total=5) != Placed("o-1")
    assert len({event, Placed("o-1", 5)}) == 1
    with pytest.raises(AttributeError):
        event.total = 6  # type: ignore[misc]


def test_commands_and_queries_take_no_unknown_fields_and_events_do() -> None:
    """A client's mistake is told; an event that was stored with more than is known now can still be read."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"order_id":"o-1","more":1}', type=Hidden)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"customer_id":"c-1","more":1}', type=OrdersOf)
    assert msgspec.json.decode(b'{"order_id":"o-1","more":1}', type=Placed) == Placed("o-1")


@pytest.mark.parametrize("name", ["", " ", "two words", "a/b", "line\n", "x" * 201])
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    """When the class is defined, with its name."""
    with pytest.raises(DefinitionError, match="Bad"):

        class Bad(Event, name=name):
            """Refused."""


@pytest.mark.parametrize(
    "name", ["a", "order-placed", "com.example.order.placed:v1", "Bestellung_überfällig", "x" * 200]
)
def test_any_other_name_is_taken(name: str) -> None:
    """Dots, hyphens and letters of any alphabet included."""

    class Good(Event, name=name):
        """Taken."""

    assert Good.__message_name__ == name


@pytest.mark.parametrize("version", [0, -1])
def test_versions_count_from_one(version: int) -> None:
    """And a lower one is refused when the class is defined."""
    with pytest.raises(DefinitionError, match=f"Bad declares version {version}"):

        class Bad(Event, version=version):
            """Refused."""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("order-1", ("order", "1")),
        ("order-o-1-2", ("order", "o-1-2")),
        ("order-", ("order", "")),
        ("-1", ("", "1")),
        ("-", ("", "")),
    ],
)
def test_a_stream_id_is_split_at_its_first_hyphen(text: str, parts: tuple[str, str]) -> None:
    """And put together again as it was."""
    assert StreamId.parse(text) == parts
    assert str(StreamId.parse(text)) == text


def test_a_stream_id_without_a_hyphen_is_a_category() -> None:
    """With an empty id."""
    assert StreamId.parse("order") == ("order", "")


@given(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), st.text(max_size=20))
def test_what_is_put_together_is_split_again(category: str, id: str) -> None:
    """A category holds no hyphen, and an id may be anything."""
    assert StreamId.parse(str(StreamId(category, id))) == (category, id)


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Order", "order"),
        ("OrderSummary", "order_summary"),
        ("HTTPRequest", "http_request"),
        ("OrderHTTP", "order_http"),
        ("Order2Line", "order2_line"),
        ("already_snake", "already_snake"),
        ("X", "x"),
        ("XY", "xy"),
        ("AView", "a_view"),
    ],
)
def test_snake_case(name: str, snake: str) -> None:
    """As one would write it by hand."""
    assert snake_case(name) == snake


@pytest.mark.parametrize(
    "value",
    [
        "a",
        " ",
        "a/b",
        "100%",
        "it's",
        '"',
        "\\",
        "漢字",
        "\N{GRINNING FACE}",
        "\u2028",
        "\xa0",
        "x" * MAX_ID_BYTES,
        "é" * 256,
    ],
)
def test_an_id_may_be_any_text(value: str) -> None:
    """It comes back as it is."""
    assert check_id("The stream id", value) is value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "empty"),
        ("x" * (MAX_ID_BYTES + 1), "513 bytes"),
        ("é" * 257, "514 bytes"),
        ("x" * 10_240, "10240 bytes"),
        ("a\x00b", "control character"),
        ("\n", "control character"),
        ("a\x7f", "control character"),
        ("\x85", "control character"),
        ("\ud800", "surrogate"),
        ("a\udfffb", "surrogate"),
    ],
)
def test_an_id_that_some_store_could_not_keep_is_refused(value: str, why: str) -> None:
    """With what it was for and what is wrong with it, and not with the id itself, which may be huge."""
    with pytest.raises(ValidationFailed, match=why) as caught:
        check_id("The stream id", value)
    assert caught.value.subject == "The stream id"
    assert [fault.path for fault in caught.value.faults] == ["$"]
    assert len(str(caught.value)) < 200


@given(st.text())
def test_an_id_is_kept_or_refused(value: str) -> None:
    """By these rules, and by no others."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        size = 0
    control = any(ord(char) < 32 or 127 <= ord(char) < 160 for char in value)
    if 0 < size <= MAX_ID_BYTES and not control:
        assert check_id("id", value) == value
    else:
        with pytest.raises(ValidationFailed):
            check_id("id", value)
