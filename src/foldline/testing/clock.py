"""Time and ids that a test decides on."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When time begins in tests, where they do not say otherwise."""


class ManualClock:
    """A clock that stands still until it is told to move: ``app.open("memory:", clock=clock)``.

    Calling it tells the time, in UTC. Any thread may use it. Raises ValueError for a time without a UTC offset.
    """

    def __init__(self, start: datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = _utc(start)

    def __call__(self) -> datetime:
        """The time, in UTC."""
        return self._now

    def __repr__(self) -> str:
        return f"ManualClock({self._now.isoformat()})"

    def advance(
        self, by: timedelta | None = None, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move on by a duration, given whole or in parts, and tell the new time; a negative one moves back."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        with self._lock:
            self._now += step if by is None else by + step
            return self._now

    def set(self, moment: datetime) -> None:
        """Go to a moment, earlier or later."""
        with self._lock:
            self._now = _utc(moment)


class SequentialIds:
    """Ids that are the same in every run: each call makes the next one, shaped as a UUIDv7 of the first instant."""

    def __init__(self, start: int = 1) -> None:
        self._lock = threading.Lock()
        self._next = start

    def __call__(self) -> UUID:
        """The next id."""
        with self._lock:
            number, self._next = self._next, self._next + 1
        return UUID(int=number | 7 << 76 | 0b10 << 62)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no UTC offset: give datetime(…, tzinfo=UTC).")
    return moment.astimezone(UTC)
