"""Row 4: a stream of 1,000 events, read as typed events and folded to a state."""

from __future__ import annotations

import asyncio
import time

from bench import shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import open_orders, url

EVENTS = 1_000
STREAMS = 20


def prepare(job: Job) -> Figures:
    """Foldline's store of long orders, without snapshots."""
    open_orders(job.prepared / "foldline.db", STREAMS, EVENTS)
    return {}


def prepare_peer(job: Job) -> Figures:
    """The peer's file of the same orders, without snapshots too."""
    from bench import peer

    peer.open_orders(job.prepared / "peer.db", STREAMS, EVENTS)
    return {}


def foldline(job: Job) -> Figures:
    """Events a second: `read_stream` and every event decoded to its type."""

    async def measure() -> float:
        async with shop.app().open(url(job.prepared / "foldline.db")) as running:
            decode = running.app.codec.decode_event
            rounds = job.size(20, 1)
            started = time.perf_counter()
            for _ in range(rounds):
                for order in range(STREAMS):
                    recorded = await running.store.read_stream(shop.stream_id(order))
                    events = [decode(one.type, one.schema_version, one.data) for one in recorded]
                    if len(events) != EVENTS or events[-1] is None:
                        raise RuntimeError(f"{len(events)} events were read")
            return rounds * STREAMS * EVENTS / (time.perf_counter() - started)

    return {"rate": asyncio.run(measure())}


def load(job: Job) -> Figures:
    """Events a second: `Running.load` of the folded order, with nothing remembered between loads."""

    async def measure() -> float:
        async with shop.app(cache=0).open(url(job.prepared / "foldline.db")) as running:
            rounds = job.size(20, 1)
            started = time.perf_counter()
            for _ in range(rounds):
                for order in range(STREAMS):
                    state = await running.load(shop.Order, shop.order_id(order))
                    if len(state.lines) != 9:
                        raise RuntimeError(f"the state is {state}")
            return rounds * STREAMS * EVENTS / (time.perf_counter() - started)

    return {"rate": asyncio.run(measure())}


def eventsourcing(job: Job) -> Figures:
    """Events a second: `repository.get`, which reads, decodes and folds."""
    from bench import peer

    path = job.prepared / "peer.db"
    ids = peer.ids_of(path)
    rounds = job.size(3, 1)
    with peer.open_shop(path) as app:
        started = time.perf_counter()
        for _ in range(rounds):
            for id_ in ids:
                order: peer.Order = app.repository.get(id_)
                if order.version != EVENTS:
                    raise RuntimeError(f"the order is at version {order.version}")
        return {"rate": rounds * len(ids) * EVENTS / (time.perf_counter() - started)}


MEASUREMENT = Measurement(
    name="reading",
    title="typed read of a 1,000-event stream",
    preparations=(prepare, prepare_peer),
    sides={"foldline": foldline, "foldline load": load, "eventsourcing": eventsourcing},
    lines=(
        Line(
            "typed read of a 1,000-event stream: beside eventsourcing, repository.get",
            Figure("foldline"), Figure("eventsourcing"), 8, unit="events/s",
        ),
        Line(
            "… folded to the aggregate's state as well, as repository.get does",
            Figure("foldline load"), Figure("eventsourcing"), unit="events/s",
        ),
    ),
)  # fmt: skip
