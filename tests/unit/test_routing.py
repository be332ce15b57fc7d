"""How messages find their handlers: by annotation, once, in the order of definition."""

from __future__ import annotations

import functools
from typing import Union

import pytest

from foldline import Command, Event
from foldline.domain.message import StreamId, check_id, snake_case
from foldline.domain.routing import first_parameter, mark, message_types, place, role_of, routed
from foldline.errors import DefinitionError, ValidationFailed


class Opened(Event):
    id: str


class Closed(Event):
    id: str


def takes(event: Opened | Closed, other: int = 0) -> None: ...


def test_parameters_are_resolved() -> None:
    name, annotation, others = first_parameter(takes)
    assert (name, others) == ("event", {"other": int})
    assert message_types(takes, name, annotation, Event) == (Opened, Closed)
    assert message_types(takes, name, Union[Opened, Closed], Event) == (Opened, Closed)  # noqa: UP007
    assert message_types(takes, name, Opened, Event) == (Opened,)


@pytest.mark.parametrize("annotation", [int, Event, Opened | None, Opened | int, list[Opened], "Opened", Command])
def test_what_is_no_message_type_is_refused_with_its_place(annotation: object) -> None:
    with pytest.raises(DefinitionError, match=r"takes \(.*test_routing\.py:\d+\): parameter 'event'"):
        message_types(takes, "event", annotation, Event)


def test_roles_are_noted_once() -> None:
    def one() -> None: ...

    mark(one, "handles", keys=1)
    found = role_of(one)
    assert found is not None and (found.name, found.options) == ("handles", {"keys": 1})
    assert role_of(takes) is None and role_of(3) is None
    with pytest.raises(DefinitionError, match="two of Foldline's decorators"):
        mark(one, "applies")


def test_order_of_definition_and_inheritance() -> None:
    class Base:
        def b(self) -> None: ...
        def a(self) -> None: ...
        def over(self) -> None: ...

    for function in (Base.a, Base.b, Base.over):
        mark(function, "handles")

    class Child(Base):
        def c(self) -> None: ...
        def over(self) -> None: ...

    mark(Child.c, "handles")
    assert [one.name for one in routed(Child, "handles")] == ["b", "a", "c"]
    assert [one.name for one in routed(Child, "applies")] == []


def test_functions_without_code_of_their_own_have_an_order_too() -> None:
    class Cached:
        @functools.cache  # noqa: B019
        def later(self) -> None: ...
        def last(self) -> None: ...

    mark(Cached.later, "handles")
    mark(Cached.last, "handles")
    assert [one.name for one in routed(Cached, "handles")] == ["later", "last"]


def test_a_place_is_told_for_whatever_is_callable() -> None:
    assert place(takes).startswith("takes (") and "test_routing.py" in place(takes)
    assert "partial" in place(functools.partial(takes))


@pytest.mark.parametrize(
    ("name", "snake"),
    [("Order", "order"), ("OrderSummary", "order_summary"), ("HTTPCall", "http_call"), ("OrderV2", "order_v2"),
     ("Order2Line", "order2_line"), ("order", "order"), ("ÜberOrder", "über_order")],
)  # fmt: skip
def test_class_names_as_categories(name: str, snake: str) -> None:
    assert snake_case(name) == snake


def test_stream_ids_split_at_the_first_hyphen() -> None:
    assert StreamId.parse("order-o-1") == StreamId("order", "o-1")
    assert StreamId.parse("order") == StreamId("order", "")
    assert str(StreamId("order", "o-1")) == "order-o-1"


@pytest.mark.parametrize("value", ["a", "o/1", "50%", 'it\'s "it"', "ä" * 256, "🦀", "a b", "\u00a0", "x" * 512])
def test_ids_that_can_be_kept(value: str) -> None:
    assert check_id("The id", value) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "it is empty"),
        ("x" * 513, "it is 513 bytes long; 512 is the most"),
        ("ä" * 257, "it is 514 bytes long"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("\ud800", "half of a surrogate pair"),
        ("x" * 10_000, "10000 bytes"),
    ],
)
def test_ids_that_cannot(value: str, said: str) -> None:
    with pytest.raises(ValidationFailed, match=said):
        check_id("The id", value)
