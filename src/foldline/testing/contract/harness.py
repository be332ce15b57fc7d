"""How the contract's tests run: pytest alone, one event loop a test, a store from the adapter, and a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import uuid_utils
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    Clock,
    Expect,
    ExpectedVersion,
    NewEvent,
    Outcome,
    RecordedEvent,
    Store,
    StreamAppend,
    VersionConflict,
)

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds that one test, or one example of a property, may take before it fails."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class StoreCase:
    """What an adapter's test class tells the contract: how its store is opened, and how one might tamper with it."""

    serial: ClassVar[bool] = True
    """Whether the store records one append after the other.

    Then the events of an append stand side by side in the log, and followers may read them as soon as it has been
    acknowledged. Where several appends are recorded at the same time (say so with False) their events may stand among
    each other's, and followers may come to them a moment later, when every append that began before has ended.
    """

    exponents: ClassVar[bool] = True
    """Whether decimal columns keep how a number is written, and not only the number and its decimal places.

    Where they do not (say so with False) ``-0.00`` comes back as ``0.00`` and ``1E+3`` as ``1000``.
    """

    def store_at(self, folder: Path, *, clock: Clock = utc_now) -> AbstractAsyncContextManager[Store]:
        """Open the store that is kept in ``folder``, and close it at the end.

        A folder that was not used before has a new, empty store. Opening a folder again, also while it is open
        or from another process, opens the same store, as far as the adapter's capabilities say that this can be.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how its store is opened: define store_at().")

    def tamper(self, folder: Path, store: Store, event: RecordedEvent) -> Sequence[Callable[[], object]]:
        """Ways in which somebody might try to change or remove a recorded event; each must raise.

        An adapter for a database tries UPDATE, DELETE and whatever else there is on a connection of its own.
        """
        return [partial(setattr, event, name, value) for name, value in (("data", b"[]"), ("version", 9))]

    def unrelated(self, folder: Path) -> AbstractAsyncContextManager[object]:
        """Hold open, until it is left, whatever others may do beside a store that has nothing to do with appending.

        An adapter for a database begins transactions on connections of their own: one that has read the events, one
        that has written something else, and one in another database of the same server, as far as there are such
        things and a writer does not exclude all others by its nature.
        """
        return nullcontext()


class Place:
    """Where a test's store is kept, to be opened as often as the test likes."""

    def __init__(self, case: StoreCase, folder: Path) -> None:
        self.case = case
        self.folder = folder

    def open(self, *, clock: Clock = utc_now) -> AbstractAsyncContextManager[Store]:
        """The store; each time the same where it is durable or shared."""
        return self.case.store_at(self.folder, clock=clock)


Test = Callable[..., Coroutine[Any, Any, None]]


def on_store(test: Test) -> Callable[..., None]:
    """Run ``async def test(self, store, …)`` with a new, empty store."""

    async def run(self: StoreCase, tmp_path: Path, **more: Any) -> None:
        async with self.store_at(tmp_path) as store:
            await test(self, store, **more)

    return _synchronous(test, run)


def on_place(test: Test) -> Callable[..., None]:
    """Run ``async def test(self, place, …)``, which opens its stores itself."""

    async def run(self: StoreCase, tmp_path: Path, **more: Any) -> None:
        await test(self, Place(self, tmp_path), **more)

    return _synchronous(test, run)


def on_examples(most: int, /, **strategies: SearchStrategy[Any]) -> Callable[[Test], Callable[..., None]]:
    """Run ``async def test(self, store, …)`` for many examples, drawn by hypothesis, on one store.

    The store is not emptied between them, so each example works in streams, tables or claims of its own.
    """

    def decorate(test: Test) -> Callable[..., None]:
        def run(self: StoreCase, tmp_path: Path) -> None:
            with asyncio.Runner() as runner:
                opened = self.store_at(tmp_path)
                store = runner.run(opened.__aenter__())

                @settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck))
                @given(**strategies)
                def example(**values: Any) -> None:
                    runner.run(within(test(self, store, **values)))

                try:
                    example()
                finally:
                    runner.run(opened.__aexit__(None, None, None))

        return _named(test, run)

    return decorate


async def within(awaitable: Coroutine[Any, Any, T]) -> T:
    """What it returns; raises TimeoutError after DEADLINE seconds."""
    async with asyncio.timeout(DEADLINE):
        return await awaitable


def _synchronous(test: Test, run: Test) -> Callable[..., None]:
    def case(self: StoreCase, tmp_path: Path, **more: Any) -> None:
        asyncio.run(within(run(self, tmp_path, **more)))

    named = _named(test, case)
    own, _, *more = inspect.signature(test).parameters.values()
    folder = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # pytest reads which fixtures and parameters a test wants from its signature.
    named.__signature__ = inspect.Signature([own, folder, *more])  # type: ignore[attr-defined]
    return named


def _named(test: Test, run: Callable[..., None]) -> Callable[..., None]:
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    run.__module__ = test.__module__
    return run


# --- Building blocks -------------------------------------------------------------------------------------------------


def new_id() -> UUID:
    """A new event id."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def event(data: bytes = b"{}", type: str = "happened", **more: Any) -> NewEvent:
    """A new event, under an id of its own."""
    return NewEvent(new_id(), type, 1, data, **more)


def events(count: int, type: str = "happened") -> tuple[NewEvent, ...]:
    """So many new events, whose data number them from 0."""
    return tuple(event(b'{"n":%d}' % number, type) for number in range(count))


def to(stream_id: str, *added: NewEvent, expected: ExpectedVersion = Expect.ANY, claim: Claim | None = None) -> Append:
    """An append to one stream."""
    return Append((StreamAppend(stream_id, expected, added),), claim)


def together(*appends: Append, claim: Claim | None = None) -> Append:
    """The streams of several appends in one."""
    return Append(tuple(stream for append in appends for stream in append.streams), claim)


async def kept(store: Store, append: Append) -> Appended:
    """Append, and be sure that it was recorded now and not before."""
    outcome = appended(await store.append(append))
    assert not outcome.replayed, f"nothing of this was recorded before, and yet it is told as a replay: {outcome}"
    return outcome


def appended(outcome: Outcome) -> Appended:
    """The outcome, which must be that all was recorded."""
    assert isinstance(outcome, Appended), outcome
    return outcome


def conflict(outcome: Outcome) -> VersionConflict:
    """The outcome, which must be a conflict."""
    assert isinstance(outcome, VersionConflict), outcome
    return outcome


async def whole_log(store: Store, after: int = 0) -> list[RecordedEvent]:
    """Every event above a position, read page by page, as a follower does."""
    found: list[RecordedEvent] = []
    while True:
        batch = await store.read_all(after=after, limit=1000)
        found += batch.events
        if batch.position <= after:
            return found
        after = batch.position


def ids(recorded: Sequence[RecordedEvent]) -> list[UUID]:
    """The events' ids."""
    return [one.event_id for one in recorded]
