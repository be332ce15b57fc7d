"""`Running`: an application at work on an open store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from foldline.app.stores import open_store
from foldline.command.bus import Bus
from foldline.command.loader import Loaded, Loader
from foldline.command.receipt import Receipt, position_of
from foldline.command.snapshots import Snapshots
from foldline.domain.aggregate import aggregate_type
from foldline.domain.codec import check
from foldline.domain.message import Command, Query, StreamId
from foldline.domain.state import copier
from foldline.errors import Fault, StoreClosed, UnknownName, ValidationFailed
from foldline.observe import Observer
from foldline.projection.query import Views
from foldline.projection.runtime import ProjectionRuntime
from foldline.store.spi import Batch, Clock, Store
from foldline.subscription import follow

if TYPE_CHECKING:
    from foldline.app.definition import App

S = TypeVar("S")
T = TypeVar("T")

CLOSING_PATIENCE = 30.0
"""How many seconds a closing application waits for the commands that it has accepted."""


class Running:
    """An application at work: executes commands, answers queries, keeps its views up to date.

    Made by `App.open`; belongs to the event loop it was opened on.
    """

    def __init__(
        self, app: App, store: Store, *, snapshots: Snapshots, projections: ProjectionRuntime, observer: Observer | None
    ) -> None:
        self.app = app
        self.store = store
        self.projections = projections
        self._loader = Loader(store, snapshots, app.codec, size=app.cache)
        self._bus = Bus(
            store=store,
            loader=self._loader,
            snapshots=snapshots,
            codec=app.codec,
            aggregates=app.aggregates.values(),
            handlers=app.handlers,
            services=app.services.of,
            ask=self.ask,
            authorize=app.authorize,
            observer=observer,
        )
        types = {one.cls: one for one in app.views.values()}
        self._views = Views(store, types, wait=projections.wait)
        self._busy = 0
        self._idle: asyncio.Event | None = None

    @property
    def views(self) -> Views:
        """The views as they are now; they may be a moment behind the last command."""
        return self._views

    def views_after(self, after: Receipt | int | str | None, timeout: float = 5.0) -> Views:
        """The views, each of which is waited for until it has reached a receipt, at most ``timeout`` seconds in all."""
        return self._views if after is None else self._views.at(_position(after), timeout)

    async def execute(
        self,
        command: Command,
        *,
        command_id: str | None = None,
        expected_version: int | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Carry out a command; see `Bus.execute` for the arguments and the errors raised."""
        if self._idle is not None:
            raise StoreClosed("The application is closing; the command was not carried out.")
        self._busy += 1
        try:
            return await self._bus.execute(
                command,
                command_id=command_id,
                expected_version=expected_version,
                actor=actor,
                correlation_id=correlation_id,
                causation_id=causation_id,
                metadata=metadata,
            )
        finally:
            self._done()

    async def ask(
        self,
        query: Query[T],
        *,
        after: Receipt | int | str | None = None,
        timeout: float = 5.0,
        actor: str | None = None,
    ) -> T:
        """The answer of a query.

        With ``after`` (a receipt or its token) every view that the answer reads has reached it first; where one has
        not within ``timeout`` seconds, ViewBehind is raised. Raises ValidationFailed, Forbidden, UnknownName.
        """
        query, _ = check(query)
        if self.app.authorize is not None and (pending := self.app.authorize(actor, query)) is not None:
            await pending
        answer = self.app.queries.get(type(query).__message_name__)
        if answer is None:
            raise UnknownName("query", type(query).__message_name__, list(self.app.queries))
        services = {kind: self.app.services.of(kind, answer.where) for kind in answer.services.values()}
        result: T = await answer.answer(query, self.views_after(after, timeout), services)
        return result

    async def load(
        self, aggregate: type[S], id: object, *, at_version: int | None = None, at: datetime | None = None
    ) -> S:
        """An aggregate's state now, at a version, or at a moment; a new one's where it has no events. A copy."""
        compiled = aggregate_type(aggregate)
        stream_id = compiled.stream_of(id)
        if at_version is None and at is None:
            known = self._loader.recall(stream_id)
            loaded = await (
                self._loader.load(compiled, stream_id)
                if known is None
                else self._loader.catch_up(compiled, stream_id, known)
            )
        else:
            loaded = await self._loader.load_past(compiled, stream_id, version=at_version, at=at)
        state: S = copier(compiled.state_type)(loaded.state)
        return state

    async def show(self, stream_id: str, *, at_version: int | None = None, at: datetime | None = None) -> Loaded | None:
        """A stream's folded state, version and position; None where no aggregate of this app has its category."""
        category = StreamId.parse(stream_id).category
        for aggregate in self.app.aggregates.values():
            if aggregate.category == category:
                return await self._loader.load_past(aggregate, stream_id, version=at_version, at=at)
        return None

    async def position(self) -> int:
        """The end of the log, as a token that queries can wait for."""
        return await self.store.head()

    def follow(self, *, after: int = 0, types: Collection[str] | None = None) -> AsyncIterator[Batch]:
        """Every event from a position on, now and as it is recorded, in batches."""
        return follow(self.store, after=after, types=types)

    def _done(self) -> None:
        self._busy -= 1
        if self._idle is not None and not self._busy:
            self._idle.set()

    async def _finish(self) -> None:
        """Refuse new commands and wait for the accepted ones."""
        self._idle = asyncio.Event()
        if self._busy:
            async with asyncio.timeout(CLOSING_PATIENCE):
                await self._idle.wait()


@asynccontextmanager
async def opened(
    app: App, url: str, *, create: bool, run_projections: bool, clock: Clock, observer: Observer | None
) -> AsyncIterator[Running]:
    """The application running on the store at a URL, until the block ends. Resources close in reverse order."""
    async with AsyncExitStack() as stack:
        for service in app.services.objects:
            if hasattr(service, "__aenter__"):
                await stack.enter_async_context(service)
        store = await stack.enter_async_context(open_store(url, create=create, clock=clock, observer=observer))
        snapshots = await stack.enter_async_context(Snapshots(store, observer=observer))
        projections = ProjectionRuntime(store, store, app.codec, app.projections.values(), observer=observer)
        if run_projections:
            await stack.enter_async_context(projections)
        running = Running(app, store, snapshots=snapshots, projections=projections, observer=observer)
        stack.push_async_callback(running._finish)
        yield running


def _position(after: Receipt | int | str) -> int:
    try:
        return position_of(after)
    except ValueError:
        raise ValidationFailed("The token", [Fault("$", f"{after!r} is no position that a receipt gave")]) from None
