"""A small bank, and a bus over any store, for the tests of the write side."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple, ParamSpec

import msgspec

from foldline import Aggregate, Command, Event, Meta, Rejected, applies, handles
from foldline.command.bus import Bus
from foldline.command.handler import handler_type
from foldline.command.loader import Loader
from foldline.command.snapshots import Snapshots
from foldline.domain.aggregate import aggregate_type
from foldline.domain.codec import Codec, encode
from foldline.domain.schema import Registry
from foldline.errors import DefinitionError
from foldline.observe import Fact
from foldline.store.spi import Append, Expect, NewEvent, Outcome, RecordedEvent, Snapshot, Store, StreamAppend
from tests.unit.stores import uuid7

P = ParamSpec("P")


class Deposited(Event):
    id: str
    amount: int
    tags: tuple[Any, ...] = ()


class Withdrawn(Event):
    id: str
    amount: int


class Deposit(Command):
    id: str
    amount: Annotated[int, Meta(ge=1)]
    tags: tuple[Any, ...] = ()


class Withdraw(Command):
    id: str
    amount: Annotated[int, Meta(ge=1)]


class Settle(Command):
    """Brings the balance to nothing; nothing happens where it is."""

    id: str


class Spoil(Command):
    """Yields what cannot be recorded."""

    id: str


class Account(Aggregate, id="id"):
    balance: int = 0
    tags: list[Any] = []

    @handles
    def deposit(self, command: Deposit) -> Iterator[Event]:
        self.tags.append("touched by deciding")
        self.tags.pop()
        yield Deposited(command.id, command.amount, command.tags)

    @handles
    def withdraw(self, command: Withdraw) -> Iterator[Event]:
        yield Withdrawn(command.id, command.amount)
        if self.balance < 0:
            raise Rejected("overdrawn", balance=self.balance)

    @handles
    def settle(self, command: Settle) -> Iterator[Event]:
        if self.balance:
            yield Withdrawn(command.id, self.balance)

    @handles
    def spoil(self, command: Spoil) -> Iterator[Event]:
        yield Deposited(command.id, 1)
        yield Deposited(command.id, "much")  # type: ignore[arg-type]

    @applies
    def deposited(self, event: Deposited) -> None:
        amount: object = event.amount
        self.balance += amount if isinstance(amount, int) else 0
        self.tags.extend(event.tags)

    @applies
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount


account = aggregate_type(Account)


class Bank(NamedTuple):
    """A bus with what it stands on."""

    bus: Bus
    store: Store
    loader: Loader
    snapshots: Snapshots
    facts: list[Fact]

    async def events(self, id_: str) -> list[RecordedEvent]:
        """An account's events."""
        return await self.store.read_stream(f"account-{id_}")

    async def balance(self, id_: str) -> int:
        """An account's balance, by its events alone."""
        loaded = await self.loader.load_past(account, f"account-{id_}")
        result: int = loaded.state.balance
        return result


@asynccontextmanager
async def bank(
    store: Store,
    *handlers: Callable[..., Any],
    services: Iterable[object] = (),
    size: int = 100,
    snapshot_every: int | None = None,
    **options: Any,
) -> AsyncIterator[Bank]:
    """A bus over a store; ``services`` are found by their exact class."""
    facts: list[Fact] = []
    known = {type(one): one for one in services}

    def service(kind: type, where: str) -> Any:
        if kind not in known:
            raise DefinitionError(f"{where} asks for a {kind.__name__}")
        return known[kind]

    async def ask(query: Any) -> Any:
        return f"answer to {query!r}"

    codec = Codec(Registry("event", [Deposited, Withdrawn]))
    aggregate = msgspec.structs.replace(account, snapshot_every=snapshot_every)
    async with Snapshots(store, observer=facts.append) as snapshots:
        loader = Loader(store, snapshots, codec, size=size)
        bus = Bus(
            store=store,
            loader=loader,
            snapshots=snapshots,
            codec=codec,
            aggregates=[aggregate],
            handlers=[handler_type(one) for one in handlers],
            services=service,
            ask=ask,
            observer=facts.append,
            **options,
        )
        yield Bank(bus, store, loader, snapshots, facts)


async def elsewhere(store: Store, *events: Event, id_: str = "a") -> None:
    """Record events as another process would: this one's caches know nothing of it."""
    new = [NewEvent(uuid7(), type(one).__message_name__, 1, encode(one)) for one in events]
    await store.append(Append((StreamAppend(f"account-{id_}", Expect.ANY, new),)))


def run(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make an async test a plain one, with a deadline."""

    @functools.wraps(test)
    def plain(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return plain


class Wrapped:
    """A store whose calls a test can look at and change; what it does not change goes through."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.appends: list[Append] = []
        self.reads: list[tuple[str, int]] = []
        self.saved: list[Snapshot] = []
        self.before_append: Callable[[Append], Awaitable[None]] | None = None
        self.after_append: Callable[[Append, Outcome], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, append: Append, /) -> Outcome:
        """Note it, and do as the test says before and after."""
        self.appends.append(append)
        if self.before_append is not None:
            await self.before_append(append)
        outcome = await self.inner.append(append)
        if self.after_append is not None:
            self.after_append(append, outcome)
        return outcome

    async def read_stream(self, stream_id: str, /, *, after: int = 0, **options: Any) -> list[RecordedEvent]:
        """Note what was read."""
        self.reads.append((stream_id, after))
        return await self.inner.read_stream(stream_id, after=after, **options)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Note what was saved."""
        self.saved.append(snapshot)
        await self.inner.save_snapshot(snapshot)
