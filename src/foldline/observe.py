"""How the core tells what happened without knowing who listens: frozen facts and one observer.

A fact is built only when somebody observes, and an observer runs on the thread where the fact happened; it must
be quick and must not raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class CommandExecuted(NamedTuple):
    """A command was carried out; ``attempts`` counts decisions, so 1 means that nothing conflicted."""

    command: str
    stream_id: str
    events: int
    attempts: int
    seconds: float


class CommandRefused(NamedTuple):
    """A command was not carried out; ``reason`` is the name of the error's class."""

    command: str
    reason: str
    seconds: float


class AppendsCommitted(NamedTuple):
    """One transaction of the store made this many appends (and events) durable."""

    appends: int
    events: int
    seconds: float


class SnapshotWritten(NamedTuple):
    """An aggregate's state was written as a snapshot."""

    stream_id: str
    version: int


class SnapshotIgnored(NamedTuple):
    """A snapshot did not fit the code and was not used; the stream was folded from its start."""

    stream_id: str
    reason: str


class ProjectionAdvanced(NamedTuple):
    """A projection committed up to ``position``; ``events`` is how many it read to get there."""

    projection: str
    position: int
    events: int
    seconds: float


class ProjectionFailed(NamedTuple):
    """A projection could not handle the event at ``position``; ``halted`` says that it gave up."""

    projection: str
    position: int
    attempt: int
    error: str
    halted: bool


Fact: TypeAlias = (
    CommandExecuted
    | CommandRefused
    | AppendsCommitted
    | SnapshotWritten
    | SnapshotIgnored
    | ProjectionAdvanced
    | ProjectionFailed
)

Observer: TypeAlias = Callable[[Fact], None]
