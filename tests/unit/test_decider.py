"""The one shape under every aggregate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foldline.domain.decider import Decider, fold, run

State = tuple[str, ...]


def evolve(state: State, event: str) -> State:
    return (*state, event)


def decide(command: str, state: State) -> list[str]:
    return [f"{command}{len(state)}"]


def nothing() -> State:
    return ()


START: State = ("a",)
plain: Decider[str, State, str] = Decider(nothing, decide, evolve)


def test_fold_starts_from_the_beginning_or_from_a_state() -> None:
    assert fold(plain, []) == ()
    assert fold(plain, ["a", "b"]) == ("a", "b")
    assert fold(plain, iter(["b"]), START) == ("a", "b")


def test_run_returns_the_events_and_the_state_after_them() -> None:
    assert run(plain, "x", START) == (["x1"], ("a", "x1"))


def test_each_event_is_applied_before_the_next_is_asked_for() -> None:
    seen: list[int] = []

    def steps(command: int, state: list[int]) -> Iterator[int]:
        for number in range(command):
            yield number
            seen.append(len(state))

    def in_place(state: list[int], event: int) -> list[int]:
        state.append(event)
        return state

    def anew(state: list[int], event: int) -> list[int]:
        return [*state, event]

    empty: list[int] = []
    assert run(Decider(list[int], steps, in_place), 3, empty.copy()) == ([0, 1, 2], [0, 1, 2])
    assert seen == [1, 2, 3]
    # A state that is made anew by each event is not what the generator was given: it sees its first one.
    seen.clear()
    assert run(Decider(list[int], steps, anew), 2, empty) == ([0, 1], [0, 1])
    assert seen == [0, 0]


def test_what_decide_raises_comes_through_with_nothing_recorded() -> None:
    def fails(command: str, state: State) -> Iterator[str]:
        yield "one"
        raise LookupError(command)

    with pytest.raises(LookupError, match="x"):
        run(Decider(nothing, fails, evolve), "x", START)
