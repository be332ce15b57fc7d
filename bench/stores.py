"""Foldline's stores, made in bulk before they are measured: many orders a transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench import shop
from bench.lives import interleaved, open_order
from foldline import open_store
from foldline.store.spi import Append, Appended, Expect, NewEvent, Store, StreamAppend

ORDERS_AN_APPEND = 250


def empty(path: Path) -> Path:
    """A new store with nothing in it."""
    empty_at(url(path))
    return path


def empty_at(url: str) -> None:
    """The same at a store's URL."""

    async def make() -> None:
        async with open_store(url):
            pass

    asyncio.run(make())


def open_orders(path: Path, orders: int, events: int = 20) -> None:
    """A store of orders that are still being changed, with so many events each, one order after the other."""
    open_orders_at(url(path), orders, events)


def open_orders_at(url: str, orders: int, events: int = 20) -> None:
    """The same at a store's URL."""

    async def make() -> None:
        async with open_store(url) as store:
            for first in range(0, orders, ORDERS_AN_APPEND):
                numbers = range(first, min(first + ORDERS_AN_APPEND, orders))
                await _append(store, {number: _events(number, events) for number in numbers})

    asyncio.run(make())


def whole_orders(path: Path, orders: int) -> None:
    """A store of orders from placed to delivered, about 1,000 of them open at any time."""
    whole_orders_at(url(path), orders)


def whole_orders_at(url: str, orders: int) -> None:
    """The same at a store's URL."""

    async def make() -> None:
        async with open_store(url) as store:
            for batch in interleaved(orders, window=1_000, batch=500):
                await _append(store, {number: [shop.new_event(shop.event_of(number, step))] for number, step in batch})

    asyncio.run(make())


def url(path: Path) -> str:
    """The store's URL; its defaults are what is measured."""
    return f"sqlite:{path}"


def _events(order: int, events: int) -> list[NewEvent]:
    return [shop.new_event(shop.event_of(order, step)) for step in open_order(order, events)]


async def _append(store: Store, events: dict[int, list[NewEvent]]) -> None:
    outcome = await store.append(
        Append(tuple(StreamAppend(shop.stream_id(order), Expect.ANY, new) for order, new in events.items()))
    )
    if not isinstance(outcome, Appended):
        raise RuntimeError(f"a store to measure could not be made: {outcome}")
