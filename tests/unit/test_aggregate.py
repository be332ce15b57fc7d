"""Aggregate classes: what they compile to, how they decide and evolve, and what they say when they cannot."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from foldline import Aggregate, AggregateType, Command, Decider, Event, Rejected, applies, fold, handles
from foldline.domain.aggregate import aggregate_type
from foldline.domain.decider import run
from foldline.errors import DefinitionError


class Opened(Event):
    id: str


class Counted(Event):
    id: str
    by: int = 1


class Noted(Event):
    """Applied by nobody."""

    id: str


class Open(Command):
    id: str


class Count(Command):
    id: str
    times: int


class Reset(Command):
    id: str


class Renamed(Command):
    other_id: str


class HTTPThing(Aggregate, id="id", snapshot_every=3, version=2):
    opened: bool = False
    total: int = 0
    tags: list[str] = []

    @handles
    def open_or_reset(self, command: Open | Reset) -> Iterator[Event]:
        if isinstance(command, Reset) and not self.opened:
            raise Rejected("not-open")
        yield Opened(command.id)
        yield Noted(command.id)

    @handles
    def count(self, command: Count) -> Iterator[Event]:
        for _ in range(command.times):
            if self.total == 3:
                raise Rejected("enough", at=self.total)
            yield Counted(command.id)

    @applies
    def on(self, event: Opened) -> None:
        self.opened = True

    @applies
    def counted(self, event: Counted) -> None:
        self.total += event.by
        self.tags.append(str(self.total))


compiled = aggregate_type(HTTPThing)


def test_what_a_class_compiles_to() -> None:
    assert (compiled.name, compiled.category, compiled.id_field) == ("HTTPThing", "http_thing", "id")
    assert set(compiled.commands) == {Open, Reset, Count}
    assert compiled.events == (Opened, Counted)
    assert (compiled.state_type, compiled.snapshot_every, compiled.version) == (HTTPThing, 3, 2)
    assert compiled.stream_for(Count("o/1%'\"", 1)) == "http_thing-o/1%'\""
    assert compiled.stream_of(7) == "http_thing-7"


def test_a_generator_sees_each_event_applied() -> None:
    events, state = run(compiled.decider, Count("a", 3), HTTPThing())
    assert (len(events), state.total, state.tags) == (3, 3, ["1", "2", "3"])


def test_a_rejection_after_a_yield_records_nothing() -> None:
    with pytest.raises(Rejected) as failure:
        run(compiled.decider, Count("a", 4), HTTPThing())
    assert (failure.value.code, failure.value.details) == ("enough", {"at": 3})


def test_a_union_takes_each_of_its_types() -> None:
    assert run(compiled.decider, Open("a"), HTTPThing())[0] == [Opened("a"), Noted("a")]
    with pytest.raises(Rejected):
        run(compiled.decider, Reset("a"), HTTPThing())


def test_an_event_that_no_method_applies_leaves_the_state_alone() -> None:
    assert fold(compiled.decider, [Noted("a")]) == HTTPThing()


def test_new_states_share_nothing() -> None:
    one, two = compiled.decider.initial(), compiled.decider.initial()
    one.tags.append("x")
    assert two.tags == []


def test_ways_to_return_events() -> None:
    class One(Aggregate, id="id"):
        @handles
        def returns_one(self, command: Open) -> Event:
            return Opened(command.id)

        @handles
        def returns_none(self, command: Reset) -> None:
            return None

        @handles
        def returns_several(self, command: Count) -> list[Event]:
            return [Counted(command.id), Counted(command.id)]

    decider = aggregate_type(One).decider
    assert run(decider, Open("a"), One())[0] == [Opened("a")]
    assert run(decider, Reset("a"), One())[0] == []
    assert run(decider, Count("a", 1), One())[0] == [Counted("a")] * 2


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Base(Aggregate):
    total: int = 0

    @handles
    def count(self, command: Count) -> Iterator[Event]:
        yield Counted(command.id, command.times)

    @applies
    def counted(self, event: Counted) -> None:
        self.total += event.by


class Derived(Base, id="id", category="things.v2"):
    opened: bool = False

    @handles
    @logged
    def open(self, command: Open) -> Iterator[Event]:
        yield Opened(command.id)

    @logged
    @applies
    def counted(self, event: Counted) -> None:
        self.total += 100


def test_handlers_are_inherited_and_overridden_and_may_be_wrapped() -> None:
    derived = aggregate_type(Derived)
    assert set(derived.commands) == {Count, Open} and derived.category == "things.v2"
    assert run(derived.decider, Count("a", 2), Derived())[1].total == 100


def test_a_base_is_no_aggregate_and_neither_is_a_subclass_without_id() -> None:
    class Heir(Derived):
        pass

    for cls in (Base, Heir, int):
        with pytest.raises(DefinitionError, match=f"{cls.__name__} is no aggregate: write class {cls.__name__}"):
            aggregate_type(cls)


def test_the_fingerprint_changes_with_shape_version_and_category_only() -> None:
    def made(**options: Any) -> AggregateType[Any]:
        class Thing(Aggregate, id="id", **options):
            total: int = 0

            @handles
            def open(self, command: Open) -> None: ...

        return aggregate_type(Thing)

    class Thing(Aggregate, id="id"):
        total: int = 0
        more: str = ""

        @handles
        def open(self, command: Open) -> None: ...

    same = made().fingerprint()
    assert made(snapshot_every=5).fingerprint() == same
    assert len({same, made(version=2).fingerprint(), made(category="x").fingerprint(),
                aggregate_type(Thing).fingerprint()}) == 4  # fmt: skip


# --- Definitions that cannot be -----------------------------------------------------------------------------------


class Opaque:
    pass


def no_handler() -> None:
    class Thing(Aggregate, id="id"):
        total: int = 0


def doubled_handler() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command: Open) -> None: ...

        @handles
        def two(self, command: Reset | Open) -> None: ...


def doubled_applier() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command: Open) -> None: ...

        @applies
        def two(self, event: Opened) -> None: ...

        @applies
        def three(self, event: Opened) -> None: ...


def event_for_a_command() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, event: Opened) -> None: ...


def no_annotation() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command) -> None: ...  # type: ignore[no-untyped-def]


def the_base_itself() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command: Command) -> None: ...


def unknown_annotation() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def no_message() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self) -> None: ...


def too_much() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command: Open, pricing: str) -> None: ...


def asynchronous() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        async def one(self, command: Open) -> None: ...


def asynchronous_generator() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        async def one(self, command: Open) -> Any:
            yield Opened(command.id)


def no_id_field() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        def one(self, command: Renamed) -> None: ...


def no_default() -> None:
    class Thing(Aggregate, id="id"):
        total: int

        @handles
        def one(self, command: Open) -> None: ...


def hyphen_in_category() -> None:
    class Thing(Aggregate, id="id", category="my-thing"):
        @handles
        def one(self, command: Open) -> None: ...


def empty_category() -> None:
    class Thing(Aggregate, id="id", category=""):
        @handles
        def one(self, command: Open) -> None: ...


def no_snapshots_at_all() -> None:
    class Thing(Aggregate, id="id", snapshot_every=0):
        @handles
        def one(self, command: Open) -> None: ...


def no_json_for_snapshots() -> None:
    class Thing(Aggregate, id="id", snapshot_every=5):
        secret: Opaque | None = None

        @handles
        def one(self, command: Open) -> None: ...


def two_roles() -> None:
    class Thing(Aggregate, id="id"):
        @handles
        @applies
        def one(self, command: Open) -> None: ...


@pytest.mark.parametrize(
    ("define", "said"),
    [
        (no_handler, "Thing handles no command: give it a method decorated with @handles"),
        (doubled_handler, r"Thing handles Open twice, in .*Thing\.one and .*Thing\.two \(.*test_aggregate.py:\d+\)"),
        (doubled_applier, r"Thing applies Opened twice, in .*Thing\.two and .*Thing\.three"),
        (event_for_a_command, r"parameter 'event' has the annotation Opened; annotate it with the Command type"),
        (no_annotation, "parameter 'command' has no annotation"),
        (the_base_itself, "has the annotation Command"),
        (unknown_annotation, r"cannot be resolved \(name 'Nowhere' is not defined\): define or import"),
        (no_message, "takes no message"),
        (too_much, "takes more than its message: pricing"),
        (asynchronous, "is async, but an aggregate does no I/O"),
        (asynchronous_generator, "is async, but an aggregate does no I/O"),
        (no_id_field, "Thing is found by 'id', but Renamed, which .*one handles, has no such field"),
        (no_default, r"Thing\.total has no default"),
        (hyphen_in_category, "has the category 'my-thing'"),
        (empty_category, "has the category ''"),
        (no_snapshots_at_all, "snapshot_every=0: give a number of events"),
        (no_json_for_snapshots, "its state cannot be written as JSON"),
        (two_roles, "has two of Foldline's decorators"),
    ],
)
def test_a_definition_error_names_the_class_and_what_to_do(define: Callable[[], None], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        define()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"category": "a-b"}, "has the category 'a-b'"),
        ({"id_field": "nothing"}, "found by 'nothing', but Open, which it handles"),
        ({"snapshot_every": 0}, "snapshot_every=0"),
    ],
)
def test_a_type_made_by_hand_is_checked_too(options: dict[str, Any], said: str) -> None:
    parts: dict[str, Any] = {
        "name": "Thing",
        "category": "thing",
        "id_field": "id",
        "decider": Decider(dict, lambda command, state: [], lambda state, event: state),
        "commands": (Open,),
        "events": (Opened,),
    }
    assert AggregateType(**parts).stream_for(Open("x")) == "thing-x"
    with pytest.raises(DefinitionError, match=said):
        AggregateType(**{**parts, **options})


def test_a_state_is_a_struct_that_compares_and_encodes() -> None:
    state = HTTPThing(True, 2, ["1"])
    assert msgspec.json.decode(msgspec.json.encode(state), type=HTTPThing) == state
