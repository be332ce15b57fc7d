"""Row 1: one event an append, each to a new stream, by 32 writers at once; all events made beforehand."""

from __future__ import annotations

import asyncio

from bench import bare, loops, shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import url
from foldline import open_store
from foldline.store.spi import Append, Appended, Expect, StreamAppend

WRITERS = 32


def foldline(job: Job) -> Figures:
    """Appends a second by 32 tasks."""
    appends = [
        Append((StreamAppend(shop.stream_id(number), Expect.NO_STREAM, (shop.first_event(number),)),))
        for number in range(job.size(96_000, 960))
    ]
    loops.settle()

    async def measure() -> float:
        async with open_store(url(job.here / "foldline.db")) as store:

            async def one(number: int) -> None:
                outcome = await store.append(appends[number])
                if not isinstance(outcome, Appended):
                    raise RuntimeError(f"not appended: {outcome}")

            return await loops.tasks(WRITERS, len(appends), one)

    return {"rate": asyncio.run(measure())}


def eventsourcing(job: Job) -> Figures:
    """`Application.save` of new aggregates with one event each, by 32 threads."""
    from bench import peer

    orders = [peer.new_order(number) for number in range(job.size(8_000, 160))]
    loops.settle()
    with peer.open_shop(job.here / "peer.db") as app:
        return {"rate": loops.threads(WRITERS, len(orders), lambda number: app.save(orders[number]))}


MEASUREMENT = Measurement(
    name="append",
    title="append: 32 tasks, 1 event each",
    sides={"foldline": foldline, "bare": bare.append, "eventsourcing": eventsourcing},
    lines=(
        Line(
            "append, 32 tasks, 1 event each: beside bare apsw, 32 rows a transaction",
            Figure("foldline"), Figure("bare"), 0.6,
        ),
        Line(
            "append, 32 tasks, 1 event each: beside eventsourcing, Application.save, 32 threads",
            Figure("foldline"), Figure("eventsourcing"), 8,
        ),
    ),
)  # fmt: skip
