"""Given, when, then: an aggregate's rules, or a view's rows, tested without a store or an event loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

import msgspec

from foldline.domain.aggregate import Aggregate, AggregateType, aggregate_type
from foldline.domain.codec import Codec, check
from foldline.domain.decider import Decider, fold, run
from foldline.domain.message import Command, Event
from foldline.domain.schema import Registry
from foldline.errors import Rejected, UnknownName, ValidationFailed
from foldline.testing.history import Happened, Past, event_of
from foldline.testing.projected import Projected, project
from foldline.testing.show import LEGEND, differences, fields, listed

A = TypeVar("A", bound=Aggregate)
C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")
V = TypeVar("V")


@overload
def given(subject: type[A], /, *events: Event) -> Scenario[Command, A, Event]: ...
@overload
def given(subject: AggregateType[S], /, *events: Event) -> Scenario[Command, S, Event]: ...
@overload
def given(subject: Decider[C, S, E], /, *events: E) -> Scenario[C, S, E]: ...
@overload
def given(*events: Past) -> History: ...
def given(*things: Any) -> Any:
    """What has happened before the test.

    With an aggregate first, its rules are tested: ``given(Order, placed).when(PayOrder("o-1")).then(paid)``. It may
    be an `Aggregate` class, an `AggregateType` or a bare `Decider`; without events it is a new one. With events
    alone, a view is: ``given(placed, paid).project(OrderSummary).then(OrderSummary("o-1", "PAID"))``.
    """
    first = things[0] if things else None
    if isinstance(first, type):
        first = aggregate_type(first)
    if isinstance(first, AggregateType):
        return Scenario(_subject(first), _events(things[1:]))
    if isinstance(first, Decider):
        return Scenario(Subject("The decider", first, None, ()), things[1:])
    return History(things)


class Subject(NamedTuple, Generic[C, S, E]):
    """What is tested; ``commands`` is None where it takes any, as a bare decider does, whose events may be anything."""

    name: str
    decider: Decider[C, S, E]
    commands: tuple[type[Any], ...] | None
    events: tuple[type[Any], ...]

    def stored(self, events: Iterable[E]) -> list[E]:
        """The events as they would be read from a store; raises CodecError where they could not be."""
        listed_ = list(events)
        if self.commands is None:
            return listed_
        plain = cast("list[Event]", listed_)
        codec = Codec(Registry("event", [*self.events, *(type(one) for one in plain)]))
        again = [
            codec.decode_event(one.__message_name__, one.__message_version__, codec.encode_event(one)) for one in plain
        ]
        return cast("list[E]", again)


class Scenario(Generic[C, S, E]):
    """An aggregate after the events of its past; made by `given`."""

    def __init__(self, subject: Subject[C, S, E], history: Iterable[E]) -> None:
        self._subject = subject
        self._history = subject.stored(history)

    @property
    def state(self) -> S:
        """The state that the events lead to."""
        return fold(self._subject.decider, self._history)

    def when(self, command: C) -> Outcome[C, S, E]:
        """Give it a command: validated, then decided on, as a running application does.

        A rejection, and a command that does not fit its schema, are outcomes; whatever else is raised comes through.
        Raises UnknownName for a command that the aggregate does not handle.
        """
        __tracebackhide__ = True
        subject = self._subject
        state = self.state
        if subject.commands is not None:
            if type(command) not in subject.commands:
                known = [one.__message_name__ for one in subject.commands]
                raise UnknownName(f"command of {subject.name}", type(command).__name__, known)
            try:
                command = cast(C, check(cast(Command, command))[0])
            except ValidationFailed as error:
                return Outcome(subject, self._history, command, [], state, error)
        try:
            events, after = run(subject.decider, command, state)
        except Rejected as error:
            return Outcome(subject, self._history, command, [], self.state, error)
        again = fold(subject.decider, [*self._history, *subject.stored(events)])
        if after != again and type(after).__eq__ is not object.__eq__:
            raise AssertionError(
                f"{subject.name} changed its state by more than its events when it decided on {command!r}, "
                "which is lost when it is loaded again. Change it where the event is applied.\n"
                + "\n".join(f"    {line}" for line in fields(again, after) or [f"expected {again!r}, got {after!r}"])
            )
        return Outcome(subject, self._history, command, events, after, None)


class Outcome(Generic[C, S, E]):
    """What a command led to. Each ``then…`` raises AssertionError where it was otherwise, and returns the outcome."""

    def __init__(
        self,
        subject: Subject[C, S, E],
        history: list[E],
        command: C,
        events: list[E],
        state: S,
        error: Rejected | ValidationFailed | None,
    ) -> None:
        self._subject = subject
        self._history = history
        self._command = command
        self._error = error
        self.events = events
        """The events that were recorded."""
        self.state = state
        """The state after them."""

    def __repr__(self) -> str:
        said = f"refused: {self._error}" if self._error else f"events={self.events!r}"
        return f"<Outcome of {self._command!r}, {said}>"

    @property
    def rejected(self) -> Rejected | None:
        """The rejection, if that is what it came to."""
        return self._error if isinstance(self._error, Rejected) else None

    def then(self, *expected: E | Rejected) -> Outcome[C, S, E]:
        """Exactly these events were recorded, in this order; without any, nothing was, and nothing was refused.

        A single `Rejected` says the same as `then_rejected` with its code, and its message and details if it has them.
        """
        __tracebackhide__ = True
        if len(expected) == 1 and isinstance(wanted := expected[0], Rejected):
            message = None if str(wanted) == wanted.code else str(wanted)
            return self.then_rejected(wanted.code, message, **wanted.details)
        if self._error is not None:
            raise AssertionError(
                f"{self._said()} was {self._refusal()}\nexpected were the events\n{listed(expected, empty='(none)')}"
            )
        if list(expected) != self.events:
            raise AssertionError(
                f"{self._said()} did not record the events expected {LEGEND}:\n{differences(expected, self.events)}"
            )
        return self

    def then_rejected(self, code: str, message: str | None = None, /, **details: Any) -> Outcome[C, S, E]:
        """It was rejected by a business rule, with this code; message and details are looked at where they are given.

        Of the details only those that are named here are compared.
        """
        __tracebackhide__ = True
        expected = f"expected was the rejection {code!r}"
        if not isinstance(self._error, Rejected):
            came = f"was {self._refusal()}" if self._error else f"recorded\n{listed(self.events)}"
            raise AssertionError(f"{self._said()} {came}\n{expected}")
        faults = [] if self._error.code == code else [f"code: expected {code!r}, got {self._error.code!r}"]
        if message is not None and str(self._error) != message:
            faults.append(f"message: expected {message!r}, got {str(self._error)!r}")
        for name, value in details.items():
            if name not in self._error.details:
                faults.append(f"details: {name!r} is missing")
            elif self._error.details[name] != value:
                faults.append(f"{name}: expected {value!r}, got {self._error.details[name]!r}")
        if faults:
            told = "\n".join(f"    {fault}" for fault in faults)
            raise AssertionError(f"{self._said()} was {self._refusal()}\n{expected}\n{told}")
        return self

    def then_invalid(self, *paths: str) -> Outcome[C, S, E]:
        """The command did not fit its schema, with a fault at each of these paths, such as ``$.lines[0].quantity``."""
        __tracebackhide__ = True
        if not isinstance(self._error, ValidationFailed):
            came = f"was {self._refusal()}" if self._error else f"was valid, and recorded\n{listed(self.events)}"
            raise AssertionError(f"{self._said()} {came}\nexpected were faults at {', '.join(paths) or 'any path'}")
        missing = [path for path in paths if path not in (fault.path for fault in self._error.faults)]
        if missing:
            told = "\n".join(f"    {fault.path}: {fault.message}" for fault in self._error.faults)
            raise AssertionError(f"{self._said()} has no fault at {', '.join(missing)}, but\n{told}")
        return self

    def then_state(self, *expected: S, **values: Any) -> Outcome[C, S, E]:
        """The state afterwards is this one; or its fields named here have these values, whatever the others have."""
        __tracebackhide__ = True
        if len(expected) > 1 or bool(expected) is bool(values):
            raise TypeError("then_state takes one whole state, or fields by name.")
        faults: list[str] = []
        if expected and expected[0] != self.state:
            faults = fields(expected[0], self.state) or [f"expected {expected[0]!r}, got {self.state!r}"]
        for name, value in values.items():
            known = self.state.__struct_fields__ if isinstance(self.state, msgspec.Struct) else None
            if known is not None and name not in known:
                raise TypeError(f"{self._subject.name} has no field {name!r}; it has {', '.join(known)}.")
            if (found := getattr(self.state, name)) != value:
                faults.append(f"{name}: expected {value!r}, got {found!r}")
        if faults:
            told = "\n".join(f"    {fault}" for fault in faults)
            raise AssertionError(f"{self._subject.name} is in another state after {self._command!r}:\n{told}")
        return self

    def when(self, command: C) -> Outcome[C, S, E]:
        """Give the next command; what `then` looks at is what that one leads to. The one before must have succeeded."""
        __tracebackhide__ = True
        if self._error is not None:
            raise AssertionError(f"{self._said()} was {self._refusal()}\nso that {command!r} cannot follow it")
        return Scenario(self._subject, [*self._history, *self.events]).when(command)

    def _said(self) -> str:
        return f"{self._subject.name}: {self._command!r}"

    def _refusal(self) -> str:
        error = self._error
        if isinstance(error, Rejected):
            details = f" {error.details}" if error.details else ""
            said = f": {error}" if str(error) != error.code else ""
            return f"rejected as {error.code!r}{said}{details}"
        return f"no valid command: {error}"


class History:
    """Events of any streams, in the order of the log; made by `given`."""

    def __init__(self, events: Iterable[Past]) -> None:
        self._events = list(events)
        for past in self._events:
            event_of(past)

    def project(self, view: type[V]) -> Projected[V]:
        """Project them into a view, as a running application does."""
        return project(view, self._events)

    def when(self, command: Command) -> Outcome[Command, Any, Event]:
        """Raises TypeError, for only an aggregate can decide: ``given(Order, …).when(…)``."""
        raise TypeError(f"Who decides on {command!r}? Name the aggregate first, as in given(Order, …).when(…).")


def _subject(aggregate: AggregateType[S]) -> Subject[Any, S, Any]:
    return Subject(aggregate.name, aggregate.decider, aggregate.commands, aggregate.events)


def _events(things: Iterable[Any]) -> list[Event]:
    events: list[Event] = []
    for one in things:
        if not isinstance(one, Event):
            hint = " An aggregate sees no envelope: give the event alone." if isinstance(one, (Happened, tuple)) else ""
            raise TypeError(f"given() takes events after the aggregate, not {one!r}.{hint}")
        events.append(one)
    return events
