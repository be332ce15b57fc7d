"""Copies of states: nothing that a decision changes may reach the state it was made on."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec
import pytest

from foldline.domain.state import copier

if TYPE_CHECKING:
    from decimal import Context as Elsewhere


class Frozen(msgspec.Struct, frozen=True):
    name: str
    tags: tuple[str, ...] = ()


class Leaky(msgspec.Struct, frozen=True):
    tags: list[str]


class Mutable(msgspec.Struct):
    count: int = 0


class Pair(NamedTuple):
    name: str
    tags: list[str]


class Point(NamedTuple):
    x: int
    y: int


class Extra(TypedDict):
    note: str


@dataclass
class Data:
    tags: list[str] = field(default_factory=list)


class Plain(msgspec.Struct):
    name: str = ""
    total: Decimal = Decimal(0)
    frozen: Frozen | None = None
    lines: tuple[Frozen, ...] = ()
    point: Point = Point(0, 0)


class Flat(msgspec.Struct):
    tags: list[str] = []
    lines: list[Frozen] = []
    seen: set[str] = set()
    counts: dict[str, int] = {}
    optional: list[str] | None = None
    points: list[Point] = []


class Deep(msgspec.Struct):
    lists: list[list[int]] = []
    by_name: dict[str, Mutable] = {}
    leaky: tuple[Leaky, ...] = ()
    either: Mutable | None = None
    pair: Pair | None = None
    pairs: tuple[Pair, ...] = ()
    inside: tuple[int, list[int]] | None = None
    anything: Any = None
    data: Data | None = None
    extra: Extra | None = None
    raw: bytearray = msgspec.field(default_factory=bytearray)
    frozen_any: tuple[Any, ...] = ()


class Node(msgspec.Struct, frozen=True):
    name: str
    children: tuple[Node, ...] = ()


class Tree(msgspec.Struct):
    root: Node | None = None
    flag: bool = False


class ElsewhereTyped(msgspec.Struct):
    what: Elsewhere | None = None
    tags: list[str] = []


def full() -> Deep:
    return Deep(
        [[1]], {"a": Mutable(1)}, (Leaky(["x"]),), Mutable(2), Pair("p", ["x"]), (Pair("q", ["y"]),), (1, [2]),
        {"deep": [1]}, Data(["x"]), {"note": "n"}, bytearray(b"x"), ([1],),
    )  # fmt: skip


def test_a_flat_state_shares_what_is_immutable_and_nothing_else() -> None:
    line = Frozen("a", ("b",))
    state = Flat(["t"], [line], {"s"}, {"c": 1}, ["o"], [Point(1, 2)])
    before = copy.deepcopy(state)
    twin = copier(Flat)(state)
    assert twin == state and twin is not state and twin.lines[0] is line
    twin.tags.append("u")
    twin.lines.clear()
    twin.seen.add("v")
    twin.counts["c"] = 2
    assert twin.optional is not None
    twin.optional.append("w")
    twin.points.append(Point(3, 4))
    assert state == before


def test_a_deep_state_shares_no_mutable_thing() -> None:
    state = full()
    twin: Any = copier(Deep)(state)
    assert twin == state
    twin.lists[0].append(2)
    twin.by_name["a"].count = 9
    twin.leaky[0].tags.append("y")
    twin.either.count = 9
    twin.pair.tags.append("y")
    twin.pairs[0].tags.append("z")
    twin.inside[1].append(3)
    twin.anything["deep"].append(2)
    twin.data.tags.append("y")
    twin.extra["note"] = "m"
    twin.raw.extend(b"y")
    twin.frozen_any[0].append(2)
    assert state == full()


def test_an_immutable_state_is_copied_at_the_top_only() -> None:
    state = Plain("a", Decimal(1), Frozen("f"), (Frozen("l"),))
    twin = copier(Plain)(state)
    twin.name = "b"
    assert state.name == "a" and twin.frozen is state.frozen and twin.lines is state.lines


def test_types_that_contain_themselves() -> None:
    tree = Tree(Node("a", (Node("b"),)))
    twin = copier(Tree)(tree)
    twin.flag = True
    assert twin.root is tree.root and not tree.flag


@pytest.mark.parametrize("type_", [None, dict, deque, object, list[int]])
def test_other_states_are_copied_deeply(type_: Any) -> None:
    state = {"a": [1]}
    twin = copier(type_)(state)
    twin["a"].append(2)
    assert state == {"a": [1]}


def test_a_type_that_cannot_be_resolved_is_copied_deeply() -> None:
    state = ElsewhereTyped(None, ["a"])
    twin = copier(ElsewhereTyped)(state)
    twin.tags.append("b")
    assert state.tags == ["a"]


def test_the_same_copier_serves_again() -> None:
    assert copier(Flat) is copier(Flat)
