"""PostgreSQL: how long after its append is acknowledged an event is in the view, at 1,000 appends a second."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time

from bench import loops, pg_append, pg_server, shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from foldline import Running
from foldline.store.spi import Append, Appended, Expect, StreamAppend

RATE = 1_000
WARMING = 1.0
"""Seconds at the beginning, in which connections are made, that are not counted."""


def here(job: Job) -> Figures:
    """The projection runs in the process that appends and waits."""
    with pg_server.database(job) as url:
        return asyncio.run(_measure(job, url, run_projections=True))


def elsewhere(job: Job) -> Figures:
    """The projection runs in another process."""
    with pg_server.database(job) as url:
        with subprocess.Popen(
            [sys.executable, "-m", "bench.pg_projector", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as projector:
            if projector.stdout is None or not projector.stdout.readline():
                raise RuntimeError("the process that projects ended; it told why on stderr")
            figures = asyncio.run(_measure(job, url, run_projections=False))
            if projector.stdin is not None:
                projector.stdin.close()
        return figures


async def _measure(job: Job, url: str, *, run_projections: bool) -> Figures:
    count = int(RATE * job.size(11, 2))
    appends = [
        Append((StreamAppend(shop.stream_id(number), Expect.NO_STREAM, (shop.first_event(number),)),))
        for number in range(count)
    ]
    loops.settle()
    async with shop.app(view=True).open(url, run_projections=run_projections) as running:
        times = [(0.0, 0.0)] * count

        async def one(number: int) -> None:
            times[number] = await _append_and_wait(running, appends[number])

        rate = await loops.paced(RATE, count, one)
        shown = await running.views.count(shop.OrderList)
        if shown != count:
            raise RuntimeError(f"{shown} of {count} orders are in the view")
    counted = times[int(RATE * WARMING) :]
    seen = sorted(view for _, view in counted)
    return {
        "p50": 1e3 * statistics.median(seen),
        "p99": 1e3 * seen[int(len(seen) * 0.99)],
        "most": 1e3 * seen[-1],
        "append": 1e3 * sorted(append for append, _ in counted)[int(len(seen) * 0.99)],
        "rate": rate,
    }


async def _append_and_wait(running: Running, append: Append) -> tuple[float, float]:
    """Seconds until the append was acknowledged, and from then until the view had it."""
    called = time.perf_counter()
    outcome = await running.store.append(append)
    acknowledged = time.perf_counter()
    if not isinstance(outcome, Appended):
        raise RuntimeError(f"not appended: {outcome}")
    # What ask(…, after=receipt) does before it reads.
    await running.projections.wait(("order_list",), outcome.position, 30.0)
    return acknowledged - called, time.perf_counter() - acknowledged


def _lines(side: str, where: str) -> tuple[Line, ...]:
    return (
        Line(
            f"PostgreSQL, from acknowledged to visible at 1,000 appends/s, {where}: p99",
            Figure(side, "p99"), None, 50, most=True, unit="ms",
        ),
        Line("… median", Figure(side, "p50"), unit="ms"),
        Line("… the append itself, p99", Figure(side, "append"), unit="ms"),
        Line("… appends begun", Figure(side, "rate")),
    )  # fmt: skip


MEASUREMENT = Measurement(
    name="pg_latency",
    title="PostgreSQL: from append acknowledged to view visible, at 1,000 appends/s",
    service=pg_server.running,
    preparations=(pg_append.prepare,),
    sides={"here": here, "elsewhere": elsewhere},
    lines=(*_lines("here", "projected in the same process"), *_lines("elsewhere", "projected in another process")),
)
