"""A projection as one process keeps it up to date: where it is, how it fares, and who waits for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from foldline.projection import ProjectionType
from foldline.store.spi import Checkpoint


class Retry(NamedTuple):
    """How often a projection tries an event that it fails on, and how many seconds it waits between.

    The pause doubles from ``first`` up to ``cap``, less up to half of it by chance. After ``attempts`` the
    projection halts. A store that is busy or full is waited for with the same pauses, without an end.
    """

    attempts: int = 6
    first: float = 0.2
    cap: float = 30.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt, counted from 1."""
        longest: float = min(self.cap, self.first * 2.0 ** min(attempt - 1, 60))
        return longest * (1 - random.random() / 2)  # nosec B311: jitter, not a secret


class Member:
    """One projection's progress in this process.

    ``checkpoint`` is what is committed; ``position`` may be further, past events that do not concern it.
    ``failed_at`` is the event it fails on. ``before``, ``limit`` and ``careful`` bound its next share of a
    batch, so that it commits what precedes that event and feels its way to it. Whoever moves it holds
    ``lock`` and is its ``owner``.
    """

    def __init__(self, type_: ProjectionType, checkpoint: Checkpoint, now: float) -> None:
        self.type = type_
        self.name = type_.name
        self.checkpoint = checkpoint
        self.position = checkpoint.position
        self.lock = asyncio.Lock()
        self.owner: object = None
        self.states: dict[Any, Any] = {}
        self.state = "catching-up"
        self.error: str | None = None
        self.failed_at: int | None = None
        self.attempts = 0
        self.before: int | None = None
        self.limit: int | None = None
        self.careful = False
        self.lost = False
        self.waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.watchers: list[Callable[[Member], None]] = []
        self._since = (now, self.position)
        self._rate = 0.0

    @property
    def pending(self) -> bool:
        """Whether it is further than its checkpoint tells other processes."""
        return self.position > self.checkpoint.position

    @property
    def halted(self) -> bool:
        """Whether it has given up."""
        return self.state == "halted"

    @property
    def unwell(self) -> bool:
        """Whether it must go on by itself, lest it hold others up."""
        return self.failed_at is not None or self.limit is not None or self.careful or self.lost

    def rate(self, now: float) -> float:
        """Positions a second, lately."""
        return self._rate if now - self._since[0] < 5 else 0.0

    def set(self, checkpoint: Checkpoint) -> None:
        """Take up a checkpoint that somebody else wrote."""
        self.checkpoint = checkpoint
        self.position = checkpoint.position
        self.states = {}
        self.failed_at, self.attempts, self.error = None, 0, None
        self.before, self.limit, self.careful = None, None, False
        self._since = (self._since[0], self.position)
        self._tell()

    def moved(self, position: int, now: float) -> None:
        """Go on to a position that is folded and committed, and tell those who wait for it."""
        self.position = position
        if self.before is not None and position >= self.before - 1:
            self.before = None
        if self.failed_at is not None and position >= self.failed_at:
            self.failed_at, self.attempts, self.error = None, 0, None
        since, start = self._since
        if now - since >= 1:
            self._rate = max(0.0, (position - start) / (now - since))
            self._since = (now, position)
        self._tell()

    def _tell(self) -> None:
        if self.waiters:
            still = []
            for wanted, future in self.waiters:
                if wanted > self.position:
                    still.append((wanted, future))
                elif not future.done():
                    future.set_result(None)
            self.waiters = still
        for watcher in list(self.watchers):
            watcher(self)

    def stop(self, state: str, error: BaseException) -> None:
        """Go no further; those who wait are told why."""
        self.state = state
        self.states = {}
        waiters, self.waiters = self.waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(error)
