"""Row 5: a view built anew from 1,000,000 events of 50,000 orders, and the memory that it takes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench import bare, shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import url, whole_orders
from foldline import Views, open_store
from foldline.projection.rebuild import rebuild

ORDERS = 50_000
PEER_ORDERS = 1_000


def prepare(job: Job) -> Figures:
    """Foldline's store, which the bare loop reads too."""
    whole_orders(job.prepared / "orders.db", job.size(ORDERS, 1_000))
    return {}


def prepare_peer(job: Job) -> Figures:
    """The peer's file: fewer orders, for at its rate a million events would take many minutes each time."""
    from bench import peer

    peer.whole_orders(job.prepared / "peer.db", job.size(PEER_ORDERS, 50))
    return {}


def foldline(job: Job) -> Figures:
    """Events a second of what `foldline projections rebuild` does, and MiB resident in this process."""

    async def measure() -> float:
        path = job.prepared / "orders.db"
        app = shop.app(view=True)
        async with open_store(url(path)) as store:
            started = time.perf_counter()
            await rebuild(store, store, app.codec, [app.projections["order_list"]])
            spent = time.perf_counter() - started
            events = await store.head()
            orders = await Views(store, {shop.OrderList: app.views["order_list"]}).count(
                shop.OrderList, status="delivered"
            )
            if orders * 20 != events:
                raise RuntimeError(f"{orders} orders were built from {events} events")
            return events / spent

    rate = asyncio.run(measure())
    return {"rate": rate, "mib": peak_mib()}


def eventsourcing(job: Job) -> Figures:
    """Events a second, one transaction with its tracking for each."""
    from bench import peer_view

    path = job.copy("peer.db")
    events, spent, orders = peer_view.rebuild(path)
    if orders * 20 != events:
        raise RuntimeError(f"{orders} orders were built from {events} events")
    return {"rate": events / spent}


def peak_mib() -> float:
    """The most memory that this process has had resident since it began, in MiB.

    Read from Linux's ``VmHWM`` where there is one: ``ru_maxrss`` would count what the parent had at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


MEASUREMENT = Measurement(
    name="rebuild",
    title="rebuild of a view over 1,000,000 events",
    preparations=(prepare, prepare_peer),
    sides={"foldline": foldline, "bare": bare.read_and_decode, "eventsourcing": eventsourcing},
    lines=(
        Line(
            "rebuild of a view, 1,000,000 events: beside bare reading and decoding of the rows",
            Figure("foldline"), Figure("bare"), 0.25, unit="events/s",
        ),
        Line(
            "… beside reading no more than decoding needs (type and data)",
            Figure("foldline"), Figure("bare", "lean"), unit="events/s",
        ),
        Line(
            "rebuild of a view: beside eventsourcing, tracking each event (rate over 20,000 events)",
            Figure("foldline"), Figure("eventsourcing"), 20, unit="events/s",
        ),
        Line(
            "memory of that rebuild, resident at most",
            Figure("foldline", "mib"), None, 250, most=True, unit="MiB",
        ),
    ),
)  # fmt: skip
