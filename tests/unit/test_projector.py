"""A batch folded into rows: pure, exact, and precise about what it failed on."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from foldline.domain.codec import Codec
from foldline.domain.message import Envelope, Event
from foldline.domain.schema import Registry
from foldline.errors import CodecError
from foldline.projection.projector import Decoded, FoldFailed, Undecodable, ViewShare, decode
from foldline.projection.view import DELETE, Delete, View, projects, view_type
from foldline.store.spi import RecordedEvent, Row


class Opened(Event):
    account: str


class Paid(Event):
    account: str
    amount: int


class Closed(Event):
    account: str


class Transferred(Event):
    accounts: tuple[str, ...]
    amount: int


class Foreign(Event):
    account: str


class Account(View, key="account"):
    account: str
    balance: int = 0
    events: int = 0
    last: str | None = None

    @projects
    def opened(self, event: Opened, envelope: Envelope) -> None:
        self.events += 1
        self.last = envelope.stream_id

    @projects
    def paid(self, event: Paid) -> Any:
        if event.amount == 13:
            raise RuntimeError("unlucky")
        if event.amount == 14:
            return "nonsense"
        if event.amount == 15:
            self.account = "other"
        amount: Any = event.amount if event.amount < 100 else "much"
        self.balance += amount
        self.events += 1
        return None

    @projects
    def closed(self, event: Closed) -> Delete:
        return DELETE

    @projects(keys=lambda event: event.accounts)
    def transferred(self, event: Transferred) -> None:
        self.balance += event.amount


ACCOUNT = view_type(Account)
CODEC = Codec(Registry("event", [Opened, Paid, Closed, Transferred, Foreign]))


def recorded(position: int, event: Event, data: bytes | None = None) -> RecordedEvent:
    return RecordedEvent(
        position,
        UUID(int=position).bytes,
        f"s-{position}",
        "s",
        1,
        type(event).__message_name__,
        1,
        msgspec.json.encode(event) if data is None else data,
        b"{}",
        0,
        None,
        None,
        None,
    )


def decoded(*events: Event) -> list[Decoded]:
    return decode(CODEC, [recorded(at, event) for at, event in enumerate(events, 1)], ACCOUNT.names)


def fold(events: list[Decoded], rows: list[Row] | None = None, states: dict[Any, Any] | None = None) -> Any:
    share = ViewShare(ACCOUNT, events, len(events))
    return share.fold(rows or [], {} if states is None else states)


def test_events_of_others_are_not_decoded() -> None:
    broken = recorded(1, Foreign("a"), b"no json")
    unknown = recorded(2, Foreign("a"))._replace(type="nobody-knows")
    wrong = recorded(3, Paid("a", 1), b'{"account":1}')
    right = recorded(4, Paid("a", 1))
    found = decode(CODEC, [broken, unknown, wrong, right], {"Paid", "nobody-knows"})
    assert [event.position for _, event in found] == [3, 4]
    assert isinstance(found[0][0], Undecodable)
    assert isinstance(found[0][0].error, CodecError)
    assert found[1][0] == Paid("a", 1)


def test_events_are_folded_into_new_and_loaded_rows() -> None:
    events = decoded(Opened("a"), Paid("b", 5), Paid("a", 2), Paid("b", 1))
    share = ViewShare(ACCOUNT, events, 9)
    assert share.stored_keys({}) == ["a", "b"]
    assert share.stored_keys({"a": None}) == ["b"]
    assert share.count == 4
    assert share.position == 9
    changes = share.fold([("b", 10, 3, None)], {})
    assert changes.upserts == [("a", 2, 2, "s-1"), ("b", 16, 5, None)]
    assert changes.deletes == []


def test_a_row_that_is_deleted_starts_anew() -> None:
    assert fold(decoded(Closed("a")), [("a", 1, 1, None)]) == ([], ["a"])
    assert fold(decoded(Closed("a"), Paid("a", 3)), [("a", 1, 1, None)]) == ([("a", 3, 1, None)], [])
    assert fold(decoded(Paid("a", 3), Closed("a"))) == ([], ["a"])


def test_one_event_touches_many_rows() -> None:
    events = decoded(Transferred(("a", "b", "a"), 2), Paid("a", 1))
    assert fold(events) == ([("a", 3, 1, None), ("b", 2, 0, None)], [])
    assert ViewShare(ACCOUNT, events, 2).positions() == [1, 2]


def test_batches_may_be_cut_anywhere() -> None:
    events = [
        Opened("a"),
        Paid("b", 5),
        Closed("b"),
        Transferred(("a", "b"), 2),
        Paid("b", 1),
        Closed("a"),
    ] * 3
    whole = fold(decoded(*events))
    for cut in range(len(events)):
        states: dict[Any, Any] = {}
        fold(decoded(*events[:cut]), states=states)
        fold(decoded(*events[cut:]), states=states)
        rows = sorted(ACCOUNT.row(state)[:3] for state in states.values() if state is not None)
        assert rows == sorted(row[:3] for row in whole.upserts)


@pytest.mark.parametrize(
    ("amount", "said"),
    [(13, "unlucky"), (14, "returned 'nonsense': return None or DELETE"), (100, "unsupported")],
)
def test_a_handler_that_fails_is_told_with_its_event(amount: int, said: str) -> None:
    with pytest.raises(FoldFailed, match=said) as failed:
        fold(decoded(Paid("a", 1), Paid("b", 1), Paid("a", amount), Paid("b", 2)))
    assert failed.value.position == 3


def test_a_row_that_does_not_fit_is_found_by_looking_closer() -> None:
    class Loose(View, key="account"):
        account: str
        balance: int = 0

        @projects
        def paid(self, event: Paid) -> None:
            self.balance = "much" if event.amount == 13 else event.amount  # type: ignore[assignment]

    view = view_type(Loose)
    events = decoded(Paid("a", 1), Paid("a", 13), Paid("a", 1), Paid("b", 13))
    share = ViewShare(view, events, 4)
    with pytest.raises(FoldFailed, match=r"Loose.balance holds a str") as failed:
        share.fold([], {})
    assert failed.value.position is None
    with pytest.raises(FoldFailed) as failed:
        share.fold([], {}, careful=True)
    assert failed.value.position == 2


def test_the_key_must_be_left_alone() -> None:
    with pytest.raises(FoldFailed, match="must leave the key alone"):
        fold(decoded(Paid("a", 15)))


def test_an_event_that_cannot_be_read_fails_only_those_who_project_it() -> None:
    events = decode(CODEC, [recorded(1, Paid("a", 1)), recorded(2, Closed("a"), b"{}")], {"Paid", "Closed"})
    with pytest.raises(FoldFailed, match="does not fit") as failed:
        ViewShare(ACCOUNT, events, 2)
    assert failed.value.position == 2

    class Payments(View, key="account"):
        account: str

        @projects
        def paid(self, event: Paid) -> None: ...

    assert ViewShare(view_type(Payments), events, 2).count == 1


def test_a_share_is_bounded_by_what_was_done_and_by_what_failed() -> None:
    events = decoded(Paid("a", 1), Paid("b", 1), Paid("c", 1), Paid("d", 1))
    done = ViewShare(ACCOUNT, events, 9, after=2)
    assert (list(done.keys), done.position) == (["c", "d"], 9)
    before = ViewShare(ACCOUNT, events, 9, before=3)
    assert (list(before.keys), before.position) == (["a", "b"], 2)
    limited = ViewShare(ACCOUNT, events, 9, after=1, limit=2)
    assert (list(limited.keys), limited.position) == (["b", "c"], 3)
    assert ViewShare(ACCOUNT, events, 9, limit=4).position == 9
