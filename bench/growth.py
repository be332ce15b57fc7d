"""Row 8: commands to the same number of orders in a log of 5,000,000 events and in one of 50,000."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from bench import loops, shop
from bench.lives import skus_of
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import open_orders, url
from foldline import Running

WORKERS = 32
CHOSEN = 2_000


def prepare_big(job: Job) -> Figures:
    """250,000 orders of 20 events."""
    open_orders(job.prepared / "big.db", job.size(250_000, 2_500))
    return {}


def prepare_small(job: Job) -> Figures:
    """2,500 orders of 20 events."""
    open_orders(job.prepared / "small.db", job.size(2_500, 200))
    return {}


def big(job: Job) -> Figures:
    """Rates in the big log, which is used in place: in 250,000 orders no run meets those of another to speak of."""
    path = job.prepared / "big.db"
    return _measure(job, (path, path), job.size(250_000, 2_500))


def small(job: Job) -> Figures:
    """Rates in the small log, a copy for each opening, for else its few orders would grow from run to run."""
    paths = (job.copy("small.db", "natural.db"), job.copy("small.db", "parts.db"))
    return _measure(job, paths, job.size(2_500, 200))


def _measure(job: Job, paths: tuple[Path, Path], orders: int) -> Figures:
    """One opening for the natural run, another with other orders for first touches and what follows."""
    chosen = min(CHOSEN, orders)
    rng = random.Random(job.run)

    async def natural() -> float:
        known = rng.sample(range(orders), chosen)
        async with shop.app().open(url(paths[0])) as running:
            return await _execute(running, rng, [rng.choice(known) for _ in range(job.size(10_000, 320))])

    async def by_parts() -> tuple[float, float]:
        known = rng.sample(range(orders), chosen)
        async with shop.app().open(url(paths[1])) as running:
            first = await _execute(running, rng, known)
            return first, await _execute(running, rng, [rng.choice(known) for _ in range(job.size(8_000, 320))])

    rate = asyncio.run(natural())
    first, warm = asyncio.run(by_parts())
    return {"rate": rate, "first": first, "warm": warm}


async def _execute(running: Running, rng: random.Random, orders: list[int]) -> float:
    commands = [
        shop.ChangeQuantity(shop.order_id(order), rng.choice(skus_of(order, 9)), rng.randint(1, 99)) for order in orders
    ]

    async def one(piece: int) -> None:
        await running.execute(commands[piece])

    return await loops.tasks(WORKERS, len(commands), one)


MEASUREMENT = Measurement(
    name="growth",
    title="rate of execute at 5,000,000 stored events",
    preparations=(prepare_big, prepare_small),
    sides={"5,000,000": big, "50,000": small},
    lines=(
        Line(
            "execute at 5,000,000 stored events, 2,000 orders from a fresh opening: beside 50,000 events",
            Figure("5,000,000"), Figure("50,000"), 0.8,
        ),
        Line("… the first command to each order", Figure("5,000,000", "first"), Figure("50,000", "first")),
        Line("… the commands after it", Figure("5,000,000", "warm"), Figure("50,000", "warm")),
    ),
)  # fmt: skip
