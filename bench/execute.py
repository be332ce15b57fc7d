"""Row 2: commands to random ones of 1,000 orders that have 20 events each, by 32 workers at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from bench import loops, shop
from bench.lives import skus_of
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import open_orders, url
from foldline import App

if TYPE_CHECKING:
    from bench.peer import Shop

ORDERS = 1_000
WORKERS = 32


def commands(seed: int, orders: int) -> Iterator[tuple[int, str, int]]:
    """Which order, product and quantity, without end; alike for every side of a run."""
    rng = random.Random(seed)
    while True:
        order = rng.randrange(orders)
        yield order, rng.choice(skus_of(order, 9)), rng.randint(1, 99)


def prepare(job: Job) -> Figures:
    """Foldline's store of open orders."""
    open_orders(job.prepared / "foldline.db", job.size(ORDERS, 100))
    return {}


def prepare_peer(job: Job) -> Figures:
    """The peer's file of the same orders."""
    from bench import peer

    peer.open_orders(job.prepared / "peer.db", job.size(ORDERS, 100))
    return {}


def foldline(job: Job) -> Figures:
    """By 32 tasks, with the default cache, from a fresh opening on."""
    return execute(job, shop.app(), WORKERS, job.size(10_000, 320))


def cold(job: Job) -> Figures:
    """The same without a cache: every command reads and folds its order's events."""
    return execute(job, shop.app(cache=0), WORKERS, job.size(4_000, 320))


def claimed(job: Job) -> Figures:
    """The same with an id that the sender chose for every command, claimed in the append's transaction."""
    return execute(job, shop.app(), WORKERS, job.size(10_000, 320), claim=True)


def eventsourcing(job: Job) -> Figures:
    """`repository.get`, the aggregate's method and `save`, by 32 threads, as the library comes."""
    return get_and_save(job, WORKERS, job.size(2_000, 160))


def eventsourcing_cached(job: Job) -> Figures:
    """The same with its aggregate cache, which is off unless asked for, big enough for all the orders."""
    return get_and_save(job, WORKERS, job.size(2_000, 160), AGGREGATE_CACHE_MAXSIZE=str(2 * ORDERS))


def execute(job: Job, app: App, workers: int, pieces: int, *, claim: bool = False) -> Figures:
    """Commands a second through Foldline."""
    coming = commands(job.run, job.size(ORDERS, 100))
    return execute_at(url(job.copy("foldline.db")), app, coming, workers, pieces, claim=claim)


def execute_at(
    store: str, app: App, coming: Iterator[tuple[int, str, int]], workers: int, pieces: int, *, claim: bool = False
) -> Figures:
    """The same in a store at a URL."""

    async def measure() -> float:
        async with app.open(store) as running:

            async def one(_: int) -> None:
                order, sku, quantity = next(coming)
                command = shop.ChangeQuantity(shop.order_id(order), sku, quantity)
                await running.execute(command, command_id=str(uuid4()) if claim else None)

            return await loops.tasks(workers, pieces, one)

    return {"rate": asyncio.run(measure())}


def get_and_save(job: Job, workers: int, pieces: int, **settings: str) -> Figures:
    """Commands a second through the peer."""
    from bench import peer

    path = job.copy("peer.db")
    ids = peer.ids_of(job.prepared / "peer.db")
    with peer.open_shop(path, **settings) as app:
        return get_and_save_in(app, ids, job.run, workers, pieces)


def get_and_save_in(app: Shop, ids: list[UUID], run: int, workers: int, pieces: int) -> Figures:
    """The same in an application that is open."""
    chosen = [next(coming) for coming in [commands(run, len(ids))] for _ in range(pieces)]

    def one(piece: int) -> None:
        order, sku, quantity = chosen[piece]
        app.change_quantity(ids[order], sku, quantity)

    return {"rate": loops.threads(workers, pieces, one)}


MEASUREMENT = Measurement(
    name="execute",
    title="execute: 32 tasks, aggregates of 20 events",
    preparations=(prepare, prepare_peer),
    sides={
        "foldline": foldline,
        "eventsourcing": eventsourcing,
        "foldline cold": cold,
        "foldline claimed": claimed,
        "eventsourcing cached": eventsourcing_cached,
    },
    lines=(
        Line(
            "execute, 32 tasks, 20 events: beside eventsourcing, get + save, 32 threads",
            Figure("foldline"), Figure("eventsourcing"), 15,
        ),
        Line("… eventsourcing with its aggregate cache", Figure("foldline"), Figure("eventsourcing cached")),
        Line("… Foldline without its cache", Figure("foldline cold"), Figure("eventsourcing")),
        Line("… Foldline with command ids", Figure("foldline claimed"), Figure("eventsourcing")),
    ),
)  # fmt: skip
