"""The one shape under every aggregate: decide which events follow a command, and evolve the state by each.

The pattern, and the name Decider, are from Jérémie Chassaing, "Functional Event Sourcing Decider" (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")


class Decider(NamedTuple, Generic[C, S, E]):
    """Three pure functions that are a whole aggregate.

    ``initial()`` makes the state before any event. ``decide(command, state)`` returns or yields the events that the
    command leads to, or raises `Rejected`. ``evolve(state, event)`` returns the state after an event; it may change
    the state it is given, and cannot fail.
    """

    initial: Callable[[], S]
    decide: Callable[[C, S], Iterable[E]]
    evolve: Callable[[S, E], S]


def fold(decider: Decider[C, S, E], events: Iterable[E], state: S | None = None) -> S:
    """The state after the events, from ``state`` or else from the beginning. A given state may be changed."""
    folded = decider.initial() if state is None else state
    evolve = decider.evolve
    for event in events:
        folded = evolve(folded, event)
    return folded


def run(decider: Decider[C, S, E], command: C, state: S) -> tuple[list[E], S]:
    """Decide and evolve in step: the events of the command, and the state after them.

    Each event is applied before the next is asked for, so a ``decide`` that yields sees the new state after each
    yield. Where it raises, a state that is changed in place may have some events applied: give it a copy.
    """
    events: list[E] = []
    for event in decider.decide(command, state):
        state = decider.evolve(state, event)
        events.append(event)
    return events, state
