"""Every fault of a message is told, each with its path, whatever it is nested in."""

from __future__ import annotations

import time
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pytest

from foldline import Command, Meta
from foldline.domain.codec import convert, parse
from foldline.errors import ValidationFailed

T = TypeVar("T")


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, Meta(ge=1)] = 1


class Card(msgspec.Struct, frozen=True, tag="card", forbid_unknown_fields=True):
    digits: str


class Cash(msgspec.Struct, frozen=True, tag="cash"):
    given: int


class Box(msgspec.Struct, Generic[T], frozen=True):
    held: T


class Node(msgspec.Struct, frozen=True):
    name: str
    children: list[Node] = []


class Order(Command, rename="camel"):
    order_id: str
    lines: Annotated[tuple[Line, ...], Meta(max_length=3)] = ()
    numbers: list[Annotated[int, Meta(ge=0)]] = []
    by_name: dict[str, Line] = {}
    nested: dict[str, list[dict[str, int]]] = {}
    pair: tuple[int, str] | None = None
    maybe: Line | None = None
    lists: list[Line] | None = None
    paid_by: Card | Cash | None = None
    only: Card | None = None
    mood: Literal["good", "bad"] = "good"
    either: int | str = 0
    names: frozenset[str] = frozenset()
    node: Node | None = None
    box: Box[int] | None = None


def faults(body: Any) -> dict[str, str]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(ValidationFailed) as failure:
        parse(Order, raw)
    assert str(failure.value).startswith("Order does not fit its schema: ")
    found = {fault.path: fault.message for fault in failure.value.faults}
    assert len(found) == len(failure.value.faults)
    return found


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        ({"orderId": 5, "mood": "none", "either": None}, ["$.orderId", "$.mood", "$.either"]),
        ({"lines": [{"quantity": 0}, {"sku": 1, "more": 1}]},
         ["$.lines[0].sku", "$.lines[0].quantity", "$.lines[1].sku", "$.lines[1].more"]),
        ({"lines": [{"sku": "a"}] * 4}, ["$.lines"]),
        ({"lines": {}}, ["$.lines"]),
        ({"numbers": [1, "a", 2, -1, None]}, ["$.numbers[1]", "$.numbers[3]", "$.numbers[4]"]),
        ({"byName": {"a": {"sku": "x"}, "b": {}, "c": 1}}, ["$.byName.b.sku", "$.byName.c"]),
        ({"nested": {"a": [{"x": 1}, {"y": "z", "w": None}]}}, ["$.nested.a[1].y", "$.nested.a[1].w"]),
        ({"pair": ["x", 1]}, ["$.pair[0]", "$.pair[1]"]),
        ({"pair": [1]}, ["$.pair"]),
        ({"maybe": {"quantity": 0}}, ["$.maybe.sku", "$.maybe.quantity"]),
        ({"lists": [{}, {}]}, ["$.lists[0].sku", "$.lists[1].sku"]),
        ({"paidBy": {"type": "card"}}, ["$.paidBy.digits"]),
        ({"paidBy": {"type": "gold"}}, ["$.paidBy.type"]),
        ({"only": {"type": "card", "digits": 1, "x": 1}}, ["$.only.digits", "$.only.x"]),
        ({"names": ["a", 1, 2]}, ["$.names[1]", "$.names[2]"]),
        ({"node": {"name": "a", "children": [{}, {"name": 1, "children": [{"name": 2}]}]}},
         ["$.node.children[0].name", "$.node.children[1].name", "$.node.children[1].children[0].name"]),
        ({"box": {"held": "x"}}, ["$.box.held"]),
        ({"unknown": 1, "other": 2}, ["$.unknown", "$.other"]),
    ],
)  # fmt: skip
def test_all_of_them_are_found(part: dict[str, Any], paths: list[str]) -> None:
    assert list(faults({"orderId": "a", **part})) == paths


def test_what_is_wrong_is_told_in_the_decoder_s_words() -> None:
    found = faults({"lines": [{"sku": 1, "quantity": 0}]})
    assert found == {
        "$.orderId": "It is required but missing",
        "$.lines[0].sku": "Expected `str`, got `int`",
        "$.lines[0].quantity": "Expected `int` >= 1",
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"orderId":"\xff"}', b"null", b"3", b"[]", b'{"orderId":NaN}']
)
def test_what_is_no_object_is_one_fault(body: bytes) -> None:
    assert list(faults(body)) == ["$"]


def test_half_a_surrogate_pair_is_named() -> None:
    for text in (r"\ud83d", r"\udc00", r"a\ud800b", r"\ud800\ud800"):
        body = b'{"orderId":"' + text.encode() + b'"}'
        assert faults(body) == {"$": "It holds half of a surrogate pair, which is no text"}
    assert "surrogate" not in faults(b'{"orderId":"\\u00e4')["$"]
    assert parse(Order, b'{"orderId":"\\ud83e\\udd80"}').order_id == "🦀"


def test_deep_nesting_is_one_fault() -> None:
    body = b'{"orderId":"a","node":' + b'{"name":"x","children":[' * 50_000 + b"]}" * 50_000 + b"}"
    assert faults(body) == {"$": "It is nested too deeply"}


def test_a_thousand_faults_are_cut_short() -> None:
    started = time.perf_counter()
    assert len(faults({"orderId": "a", "numbers": ["x"] * 100_000})) == 100
    assert time.perf_counter() - started < 5


def test_values_of_a_url_are_told_alike() -> None:
    with pytest.raises(ValidationFailed) as failure:
        convert(Order, {"orderId": "a", "numbers": ["1", "x"], "maybe": {"sku": "s", "quantity": "0"}}, strict=False)
    assert [fault.path for fault in failure.value.faults] == ["$.numbers[1]", "$.maybe.quantity"]
