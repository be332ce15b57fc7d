"""Names in storage are declared names: one name, one type."""

from __future__ import annotations

from typing import Any

import pytest

from foldline import Command, Event, Query
from foldline.domain.schema import Registry
from foldline.errors import DefinitionError


class Placed(Event):
    id: str


class PlacedAgain(Event, name="Placed"):
    id: str


class Named(Event, name="order-named", version=3):
    id: str


class Heir(Named):
    pass


class Hidden(Command, internal=True):
    id: str


def test_names_and_versions_are_declared_or_default() -> None:
    assert (Placed.__message_name__, Placed.__message_version__) == ("Placed", 1)
    assert (Named.__message_name__, Named.__message_version__) == ("order-named", 3)
    assert (Heir.__message_name__, Heir.__message_version__) == ("Heir", 1)
    assert Hidden.__message_internal__ and not Placed.__message_internal__


def test_two_types_of_one_name_are_refused() -> None:
    registry = Registry("event", [Placed, Named])
    registry.add(Placed)
    assert dict(registry.types) == {"Placed": Placed, "order-named": Named}
    with pytest.raises(DefinitionError, match=r"Two event types are named 'Placed': .*\.Placed and .*\.PlacedAgain"):
        registry.add(PlacedAgain)
    assert registry.types["Placed"] is Placed


def test_the_types_cannot_be_changed_from_outside() -> None:
    types: Any = Registry("event", [Placed]).types
    with pytest.raises(TypeError):
        types["x"] = Named


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 201, "a\nb", "\t"])
def test_names_that_cannot_be_stored_are_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="declares the name"):
        type("Bad", (Event,), {"__module__": __name__, "__annotations__": {}}, name=name)


@pytest.mark.parametrize("version", [0, -1])
def test_versions_count_from_one(version: int) -> None:
    with pytest.raises(DefinitionError, match="versions count from 1"):
        type("Bad", (Event,), {"__module__": __name__, "__annotations__": {}}, version=version)


def test_messages_are_frozen_comparable_and_hashable() -> None:
    class Asked(Query[int]):
        id: str

    for kind in (Placed, Hidden, Asked):
        message: Any = kind("a")
        with pytest.raises(AttributeError):
            message.id = "b"
        assert hash(message) == hash(kind("a"))
    other: Any = Heir("a")
    assert Named("a") != other
