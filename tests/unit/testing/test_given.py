"""Given, when, then: what it accepts, and that its failures say what is wrong."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from foldline import (
    DELETE,
    Aggregate,
    AggregateType,
    Command,
    Decider,
    Envelope,
    Event,
    Meta,
    Rejected,
    View,
    applies,
    handles,
    projects,
)
from foldline.errors import CodecError, DefinitionError, UnknownName
from foldline.projection.view import Delete
from foldline.testing import given, happened


class Status(enum.StrEnum):
    NEW = "NEW"
    OPEN = "OPEN"
    CLOSED = "CLOSED"


class Opened(Event):
    id: str
    tags: tuple[str, ...] = ()


class Paid(Event):
    id: str
    amount: Decimal


class Closed(Event):
    id: str


class Open(Command):
    id: str
    tags: Annotated[tuple[str, ...], Meta(max_length=2)] = ()


class Pay(Command):
    id: str
    amount: Annotated[int, Meta(ge=1)]


class Close(Command):
    id: str


class Cheat(Command):
    id: str


class Misuse(Command):
    id: str


class Stranger(Command):
    id: str


class Account(Aggregate, id="id"):
    status: Status = Status.NEW
    total: Decimal = Decimal(0)
    cheated: int = 0

    @handles
    def open(self, command: Open) -> Iterator[Opened]:
        if self.status is not Status.NEW:
            raise Rejected("open-already", "It is open already.", status=self.status)
        yield Opened(command.id, command.tags)

    @handles
    def pay(self, command: Pay) -> Iterator[Event]:
        if self.status is not Status.OPEN:
            raise Rejected("not-open")
        yield Paid(command.id, Decimal(command.amount))
        if self.total >= 100:
            yield Closed(command.id)

    @handles
    def close(self, command: Close) -> list[Event]:
        return [Closed(command.id)] if self.status is Status.OPEN else []

    @handles
    def cheat(self, command: Cheat) -> list[Event]:
        self.cheated += 1
        return []

    @handles
    def misuse(self, command: Misuse) -> Iterator[Event]:
        yield Opened(command.id, 5)  # type: ignore[arg-type]

    @applies
    def opened(self, event: Opened) -> None:
        self.status = Status.OPEN

    @applies
    def paid(self, event: Paid) -> None:
        self.total += event.amount

    @applies
    def closed(self, event: Closed) -> None:
        self.status = Status.CLOSED


def failure(call: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


def test_a_new_aggregate_records_events() -> None:
    given(Account).when(Open("a", ("x",))).then(Opened("a", ("x",))).then_state(status=Status.OPEN)


def test_each_yield_is_seen_by_what_follows() -> None:
    outcome = given(Account, Opened("a")).when(Pay("a", 100))
    outcome.then(Paid("a", Decimal(100)), Closed("a"))
    assert outcome.state == Account(Status.CLOSED, Decimal(100))
    assert outcome.events == [Paid("a", Decimal(100)), Closed("a")]
    assert outcome.rejected is None


def test_commands_follow_each_other() -> None:
    scenario = given(Account).when(Open("a")).when(Pay("a", 60)).when(Pay("a", 60))
    scenario.then(Paid("a", Decimal(60)), Closed("a")).then_state(Account(Status.CLOSED, Decimal(120)))


def test_no_event_is_an_outcome() -> None:
    given(Account).when(Close("a")).then()
    assert "Closed(id='a')" in failure(lambda: given(Account, Opened("a")).when(Close("a")).then())


def test_a_rejection_by_its_code_message_and_details() -> None:
    outcome = given(Account, Opened("a")).when(Open("a"))
    outcome.then_rejected("open-already")
    outcome.then_rejected("open-already", "It is open already.", status=Status.OPEN)
    outcome.then(Rejected("open-already"))
    outcome.then(Rejected("open-already", "It is open already.", status=Status.OPEN))
    assert outcome.rejected is not None and outcome.rejected.code == "open-already"
    outcome.then_state(status=Status.OPEN)


def test_another_rejection_is_told_with_code_and_message() -> None:
    outcome = given(Account, Opened("a")).when(Open("a"))
    told = failure(lambda: outcome.then_rejected("not-open"))
    assert "'open-already': It is open already." in told
    assert "expected was the rejection 'not-open'" in told
    assert "message: expected 'no', got 'It is open already.'" in failure(
        lambda: outcome.then_rejected("open-already", "no")
    )
    assert "status: expected 'NEW', got <Status.OPEN: 'OPEN'>" in failure(
        lambda: outcome.then_rejected("open-already", status="NEW")
    )
    assert "'why' is missing" in failure(lambda: outcome.then(Rejected("open-already", why=1)))


def test_a_rejection_where_events_were_expected_and_the_other_way_round() -> None:
    told = failure(lambda: given(Account).when(Pay("a", 1)).then(Paid("a", Decimal(1))))
    assert "rejected as 'not-open'" in told and "Paid(id='a', amount=Decimal('1'))" in told
    told = failure(lambda: given(Account).when(Open("a")).then_rejected("not-open"))
    assert "recorded\n    Opened(id='a', tags=())" in told


def test_a_rejection_is_not_the_same_as_nothing() -> None:
    assert "rejected as 'not-open'" in failure(lambda: given(Account).when(Pay("a", 1)).then())


def test_nothing_follows_a_refused_command() -> None:
    assert "cannot follow" in failure(lambda: given(Account).when(Pay("a", 1)).when(Open("a")))


def test_differing_events_are_shown_field_by_field() -> None:
    told = failure(lambda: given(Account, Opened("a")).when(Pay("a", 100)).then(Paid("a", Decimal(7)), Closed("a")))
    assert told.splitlines()[1:] == [
        "  - Paid(id='a', amount=Decimal('7'))",
        "  + Paid(id='a', amount=Decimal('100'))",
        "      amount: expected Decimal('7'), got Decimal('100')",
        "    Closed(id='a')",
    ]


def test_missing_surplus_and_reordered_events_are_failures() -> None:
    pay = given(Account, Opened("a")).when(Pay("a", 100))
    assert "  + Closed(id='a')" in failure(lambda: pay.then(Paid("a", Decimal(100))))
    assert "  - Opened(id='a', tags=())" in failure(lambda: pay.then(Paid("a", Decimal(100)), Closed("a"), Opened("a")))
    failure(lambda: pay.then(Closed("a"), Paid("a", Decimal(100))))


def test_events_of_other_types_are_not_equal_for_having_equal_fields() -> None:
    failure(lambda: given(Account, Opened("a")).when(Close("a")).then(Opened("a")))


def test_a_command_is_validated_as_a_running_app_does() -> None:
    outcome = given(Account, Opened("a")).when(Pay("a", 0))
    outcome.then_invalid("$.amount").then_invalid()
    assert "no valid command" in failure(outcome.then)
    assert "no fault at $.id" in failure(lambda: outcome.then_invalid("$.id"))
    assert "expected was the rejection" in failure(lambda: outcome.then_rejected("x"))
    assert "was valid" in failure(lambda: given(Account, Opened("a")).when(Pay("a", 1)).then_invalid("$.amount"))
    given(Account).when(Open("a", ("x", "y", "z"))).then_invalid("$.tags")


def test_a_list_given_for_a_tuple_reaches_the_handler_as_json_would_bring_it() -> None:
    given(Account).when(Open("a", ["x"])).then(Opened("a", ("x",)))  # type: ignore[arg-type]


def test_a_state_that_changed_without_an_event_fails() -> None:
    told = failure(lambda: given(Account).when(Cheat("a")))
    assert "cheated: expected 0, got 1" in told and "Account changed its state by more than its events" in told


def test_an_event_that_no_store_could_return_fails() -> None:
    with pytest.raises(CodecError, match="could not be read again"):
        given(Account, Opened("a")).when(Misuse("a"))
    with pytest.raises(CodecError):
        given(Account, Paid("a", "no number")).when(Open("a"))  # type: ignore[arg-type]


def test_wrong_states_are_told_by_field() -> None:
    outcome = given(Account).when(Open("a"))
    assert "status: expected 'NEW', got <Status.OPEN: 'OPEN'>" in failure(lambda: outcome.then_state(status="NEW"))
    assert "total: expected Decimal('1'), got Decimal('0')" in failure(
        lambda: outcome.then_state(Account(Status.OPEN, Decimal(1)))
    )
    with pytest.raises(TypeError, match="no field 'colour'"):
        outcome.then_state(colour=1)
    with pytest.raises(TypeError, match="whole state"):
        outcome.then_state()


def test_the_state_alone() -> None:
    assert given(Account, Opened("a"), Paid("a", Decimal(3))).state == Account(Status.OPEN, Decimal(3))


def test_misuse_says_what_to_do() -> None:
    with pytest.raises(UnknownName, match=r"command of Account named 'Stranger'.*Cheat, Close"):
        given(Account).when(Stranger("a"))
    with pytest.raises(TypeError, match="Name the aggregate first"):
        given(Opened("a")).when(Open("a"))
    with pytest.raises(TypeError, match="An aggregate sees no envelope"):
        given(Account, happened(Opened("a")))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes events after the aggregate"):
        given(Account, Open("a"))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="is no event"):
        given(Opened("a"), Open("a"))  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="is no aggregate"):
        given(int)  # type: ignore[type-var]


def test_what_is_no_refusal_comes_through() -> None:
    def decide(command: str, state: int) -> list[str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        given(Decider(int, decide, lambda state, event: state)).when("x")


def test_a_bare_decider_with_plain_values() -> None:
    def decide(command: int, state: int) -> Iterator[str]:
        if command < 0:
            raise Rejected("negative")
        for _ in range(command):
            yield "up"

    counter: Decider[int, int, str] = Decider(int, decide, lambda state, event: state + 1)
    given(counter, "up", "up").when(2).then("up", "up").then_state(4).when(-1).then_rejected("negative")
    assert "expected 3, got 4" in failure(lambda: given(counter, "up", "up").when(2).then_state(3))


def test_an_aggregate_type_made_by_hand() -> None:
    def decide(command: Open, state: tuple[str, ...]) -> list[Event]:
        return [Opened(command.id)]

    def evolve(state: tuple[str, ...], event: Event) -> tuple[str, ...]:
        return (*state, type(event).__name__)

    by_hand = AggregateType("Thing", "thing", "id", Decider(tuple, decide, evolve), (Open,), (Opened,))
    given(by_hand, Closed("a")).when(Open("a")).then(Opened("a")).then_state(("Closed", "Opened"))


# --- Views -------------------------------------------------------------------------------------------------------


class Dated(Event):
    id: str
    at: datetime


class Dates(View, key="id"):
    id: str
    at: datetime | None = None

    @projects
    def dated(self, event: Dated) -> None:
        self.at = event.at


class Summary(View, key="id"):
    id: str
    status: Status = Status.NEW
    total: Decimal = Decimal(0)
    by: str | None = None
    at: datetime | None = None
    seen: tuple[int, ...] = ()

    @projects
    def opened(self, event: Opened, envelope: Envelope) -> None:
        self.status, self.by, self.at = Status.OPEN, envelope.actor, envelope.recorded_at
        self.seen = (*self.seen, envelope.version)

    @projects
    def paid(self, event: Paid) -> None:
        self.total += event.amount

    @projects
    def closed(self, event: Closed) -> Delete | None:
        if self.total < 0:
            raise ArithmeticError("less than nothing")
        return DELETE


def test_rows_in_any_order() -> None:
    rows = given(Paid("a", Decimal(1)), Paid("b", Decimal(2)), Paid("a", Decimal(3))).project(Summary)
    rows.then(Summary("b", total=Decimal(2)), Summary("a", total=Decimal(4)))
    assert rows.row("a").total == 4
    assert [row.id for row in rows.rows] == ["a", "b"]


def test_no_events_and_deleted_rows_are_no_rows() -> None:
    given().project(Summary).then()
    rows = given(Paid("a", Decimal(1)), Closed("a")).project(Summary).then()
    assert "no row 'a'" in failure(lambda: rows.row("a"))


def test_events_that_a_view_does_not_project_pass_by() -> None:
    class Unrelated(Event):
        id: str

    given(Unrelated("a"), Paid("a", Decimal(1))).project(Summary).then(Summary("a", total=Decimal(1)))


def test_other_rows_are_shown_field_by_field() -> None:
    rows = given(Paid("a", Decimal(1)), Paid("b", Decimal(2))).project(Summary)
    told = failure(lambda: rows.then(Summary("a", total=Decimal(9)), Summary("b", total=Decimal(2))))
    assert "total: expected Decimal('9'), got Decimal('1')" in told
    failure(lambda: rows.then(Summary("a", total=Decimal(1))))
    failure(rows.then)
    with pytest.raises(TypeError, match="rows of its own type"):
        rows.then(Opened("a"))  # type: ignore[arg-type]


def test_parts_of_the_envelope() -> None:
    at = datetime(2024, 2, 29, tzinfo=UTC)
    row = given(happened(Opened("a"), stream="account-a", at=at, actor="ann"), Opened("a")).project(Summary).row("a")
    assert (row.by, row.seen) == (None, (1, 1))
    assert row.at is not None and row.at > at
    assert given(happened(Opened("a"), at=at, actor="ann")).project(Summary).row("a").by == "ann"


def test_a_whole_envelope() -> None:
    envelope = Envelope(
        UUID(int=1), "account-a", 7, 40, "Opened", 1, datetime(2024, 1, 1, tzinfo=UTC), None, None, "bob", {}
    )
    given((Opened("a"), envelope)).project(Summary).then(
        Summary("a", Status.OPEN, by="bob", at=datetime(2024, 1, 1, tzinfo=UTC), seen=(7,))
    )
    row = given((Opened("a"), envelope), happened(Opened("a"), stream="account-a")).project(Summary).row("a")
    assert row.seen == (7, 8)
    with pytest.raises(ValueError, match="positions grow"):
        given((Opened("a"), envelope), (Opened("a"), envelope)).project(Summary)
    with pytest.raises(ValueError, match="an event named 'Opened'"):
        given((Closed("a"), envelope)).project(Summary)


def test_a_failing_handler_names_its_event() -> None:
    with pytest.raises(ArithmeticError) as caught:
        given(Paid("a", Decimal(-1)), Closed("a")).project(Summary)
    assert caught.value.__notes__ == ['Summary failed on event 2, Closed {"id":"a"}']


def test_only_views_are_projected() -> None:
    with pytest.raises(TypeError, match="no View class"):
        given(Opened("a")).project(Account)


def test_rows_are_as_a_database_returns_them() -> None:
    local = msgspec.json.decode('"2024-06-01T12:00:00+02:00"', type=datetime)
    row = given(Dated("a", local)).project(Dates).row("a")
    assert row.at == local
    assert row.at.tzinfo is UTC
