"""The lives of orders, told without any library: both sides record the same steps with the same values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

SKUS = tuple(f"sku-{number:04}" for number in range(500))
METHODS = ("card", "transfer", "voucher")
CARRIERS = ("north-post", "quick-van", "harbour-freight")


class Place(NamedTuple):
    """A customer begins an order."""

    customer_id: str
    currency: str


class Add(NamedTuple):
    """So many of a product go in, at a price in cents."""

    sku: str
    quantity: int
    unit_cents: int


class Change(NamedTuple):
    """The quantity of a line that is there changes."""

    sku: str
    before: int
    quantity: int
    unit_cents: int


class Close(NamedTuple):
    """A step towards the order's end, and who or what made it."""

    how: Literal["paid", "shipped", "delivered"]
    by: str


Step: TypeAlias = Place | Add | Change | Close


def skus_of(order: int, lines: int) -> tuple[str, ...]:
    """The products of an order, which everybody can tell from its number."""
    first = order * 7
    return tuple(SKUS[(first + line * 3) % len(SKUS)] for line in range(lines))


def open_order(order: int, events: int = 20) -> list[Step]:
    """An order that is still being changed: placed, nine lines, then quantities up to so many events."""
    return list(_filling(random.Random(order), order, lines=9, changes=events - 10))


def whole_order(order: int) -> list[Step]:
    """Twenty steps from placed to delivered."""
    rng = random.Random(order)
    end = (
        Close("paid", rng.choice(METHODS)),
        Close("shipped", rng.choice(CARRIERS)),
        Close("delivered", f"neighbour {rng.randrange(100)}"),
    )
    return [*_filling(rng, order, lines=7, changes=9), *end]


def interleaved(orders: int, window: int, batch: int) -> Iterator[list[tuple[int, Step]]]:
    """Whole orders as a shop records them: ``window`` are open, and a random ``batch`` of these go on next.

    Yields, a batch at a time, which order takes which step; no order twice in one batch.
    """
    rng = random.Random(orders)
    coming = iter(range(orders))
    live: list[tuple[int, Iterator[Step]]] = []
    while True:
        while len(live) < window and (order := next(coming, None)) is not None:
            live.append((order, iter(whole_order(order))))
        if not live:
            return
        found: list[tuple[int, Step]] = []
        ended: set[int] = set()
        for place in rng.sample(range(len(live)), min(batch, len(live))):
            order, steps = live[place]
            step = next(steps)
            found.append((order, step))
            if isinstance(step, Close) and step.how == "delivered":
                ended.add(order)
        live = [one for one in live if one[0] not in ended]
        yield found


def _filling(rng: random.Random, order: int, *, lines: int, changes: int) -> Iterator[Step]:
    yield Place(f"c-{rng.randrange(5_000):05}", "EUR")
    quantities: dict[str, int] = {}
    prices: dict[str, int] = {}
    skus = skus_of(order, lines)
    for sku in skus:
        quantities[sku], prices[sku] = rng.randint(1, 9), rng.randint(100, 20_000)
        yield Add(sku, quantities[sku], prices[sku])
    for _ in range(changes):
        sku = rng.choice(skus)
        quantity = rng.randint(1, 99)
        yield Change(sku, quantities[sku], quantity, prices[sku])
        quantities[sku] = quantity
