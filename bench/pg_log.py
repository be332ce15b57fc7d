"""PostgreSQL: typed reading of streams and of the whole log, and a view built anew from it, beside a bare loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import msgspec

from bench import pg_append, pg_server, shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.rebuild import peak_mib
from bench.stores import open_orders_at, whole_orders_at
from foldline import Views, open_store
from foldline.projection.rebuild import CATCH_UP, rebuild
from foldline.store.postgres.connect import use_raw_codecs

STREAMS = 20
EVENTS = 1_000
ORDERS = 50_000
PEER_ORDERS = 250
PAGE = CATCH_UP
"""Rows that are read at a time, on every side as many as a rebuild reads."""

_COLUMNS = (
    "position, event_id, stream_id, category, version, type, schema_version, data, metadata, recorded_at,"
    " correlation_id, causation_id, actor"
)
_STREAM = f"SELECT {_COLUMNS} FROM foldline_events WHERE stream_id = $1 ORDER BY version"
_LOG = f"SELECT {_COLUMNS} FROM foldline_events WHERE position > $1 ORDER BY position LIMIT $2"
_LEAN = "SELECT position, type, data FROM foldline_events WHERE position > $1 ORDER BY position LIMIT $2"


def prepare(job: Job) -> Figures:
    """A database of long orders, and one whose log is long."""
    server = pg_server.server_of(job)
    streams = pg_server.create(server, "streams", pg_server.EMPTY)
    open_orders_at(streams, STREAMS, EVENTS)
    pg_server.settle(streams)
    log = pg_server.create(server, "log", pg_server.EMPTY)
    whole_orders_at(log, job.size(ORDERS, 500))
    pg_server.settle(log)
    return {}


def prepare_peer(job: Job) -> Figures:
    """The peer's database: fewer orders, for at its rate a million events would take a quarter of an hour."""
    from bench import peer, pg_peer

    server = pg_server.server_of(job)
    pg_server.run(server.url(), "CREATE DATABASE peer")
    with pg_peer.open_shop(server.url("peer")) as app:
        peer.save_whole_orders(app, job.size(PEER_ORDERS, 20))
    pg_server.settle(server.url("peer"))
    return {}


def stream(job: Job) -> Figures:
    """Events a second: `read_stream` and every event decoded to its type."""

    async def measure() -> float:
        async with shop.app().open(pg_server.server_of(job).url("streams")) as running:
            decode = running.app.codec.decode_event
            rounds = job.size(20, 1)
            started = time.perf_counter()
            for _ in range(rounds):
                for order in range(STREAMS):
                    recorded = await running.store.read_stream(shop.stream_id(order))
                    _check([decode(one.type, one.schema_version, one.data) for one in recorded])
            return rounds * STREAMS * EVENTS / (time.perf_counter() - started)

    return {"rate": asyncio.run(measure())}


def bare_stream(job: Job) -> Figures:
    """Events a second: asyncpg's rows as they come, and the data decoded to its type."""

    async def measure() -> float:
        connection = await asyncpg.connect(pg_server.server_of(job).url("streams"))
        decoders = _decoders()
        rounds = job.size(20, 1)
        started = time.perf_counter()
        for _ in range(rounds):
            for order in range(STREAMS):
                rows = await connection.fetch(_STREAM, shop.stream_id(order))
                _check([decoders[row[5]](row[7]) for row in rows])
        spent = time.perf_counter() - started
        await connection.close()
        return rounds * STREAMS * EVENTS / spent

    return {"rate": asyncio.run(measure())}


def log(job: Job) -> Figures:
    """Events a second of the whole log: `read_all`, and every event decoded to its type."""

    async def measure() -> float:
        async with shop.app().open(pg_server.server_of(job).url("log")) as running:
            decode = running.app.codec.decode_event
            events = after = 0
            started = time.perf_counter()
            while (batch := await running.store.read_all(after=after, limit=PAGE)).position > after:
                decoded = [decode(one.type, one.schema_version, one.data) for one in batch.events]
                events += len(decoded)
                after = batch.position
            return events / (time.perf_counter() - started)

    return {"rate": asyncio.run(measure())}


def bare_log(job: Job) -> Figures:
    """The same by asyncpg: whole rows and typed events; ``raw`` has Foldline's codecs, ``lean`` less columns."""

    async def measure() -> Figures:
        connection = await asyncpg.connect(pg_server.server_of(job).url("log"))
        figures = {"rate": await _read(connection, _LOG, 5, 7), "lean": await _read(connection, _LEAN, 1, 2)}
        await use_raw_codecs(connection)
        figures["raw"] = await _read(connection, _LOG, 5, 7)
        await connection.close()
        return figures

    return asyncio.run(measure())


def rebuilt(job: Job) -> Figures:
    """Events a second of what `foldline projections rebuild` does, and MiB resident in this process."""
    url = pg_server.server_of(job).url("log")
    pg_server.run(url, "CHECKPOINT")

    async def measure() -> float:
        app = shop.app(view=True)
        async with open_store(url) as store:
            started = time.perf_counter()
            await rebuild(store, store, app.codec, [app.projections["order_list"]])
            spent = time.perf_counter() - started
            views = Views(store, {shop.OrderList: app.views["order_list"]})
            orders = await views.count(shop.OrderList, status="delivered")
            if orders != job.size(ORDERS, 500):
                raise RuntimeError(f"{orders} orders were built")
            return orders * 20 / spent

    rate = asyncio.run(measure())
    return {"rate": rate, "mib": peak_mib()}


def eventsourcing(job: Job) -> Figures:
    """Events a second, one transaction with its tracking for each."""
    from bench import pg_peer

    with pg_server.database(job, "peer") as url:
        events, spent, orders = pg_peer.rebuild(url)
    if orders * 20 != events:
        raise RuntimeError(f"{orders} orders were built from {events} events")
    return {"rate": events / spent}


def _decoders() -> dict[str, Callable[[str | bytes], object]]:
    return {one.__message_name__: msgspec.json.Decoder(one).decode for one in shop.EVENTS}


async def _read(connection: asyncpg.Connection[asyncpg.Record], query: str, name: int, data: int) -> float:
    decoders = _decoders()
    events = after = 0
    started = time.perf_counter()
    while rows := await connection.fetch(query, after, PAGE):
        decoded = [decoders[row[name]](row[data]) for row in rows]
        events += len(decoded)
        after = rows[-1][0]
    return events / (time.perf_counter() - started)


def _check(events: list[object]) -> None:
    if len(events) != EVENTS or events[-1] is None:
        raise RuntimeError(f"{len(events)} events were read")


MEASUREMENT = Measurement(
    name="pg_log",
    title="PostgreSQL: reading, and rebuild of a view over 1,000,000 events",
    service=pg_server.running,
    preparations=(pg_append.prepare, prepare, prepare_peer),
    sides={
        "stream": stream,
        "bare stream": bare_stream,
        "log": log,
        "bare log": bare_log,
        "rebuild": rebuilt,
        "eventsourcing": eventsourcing,
    },
    lines=(
        Line(
            "PostgreSQL typed read of a 1,000-event stream: beside bare asyncpg and msgspec",
            Figure("stream"), Figure("bare stream"), 0.6, unit="events/s",
        ),
        Line(
            "PostgreSQL typed read of the log, 1,000,000 events: beside bare asyncpg and msgspec",
            Figure("log"), Figure("bare log"), 0.6, unit="events/s",
        ),
        Line(
            "… with Foldline's codecs in the bare loop as well",
            Figure("log"), Figure("bare log", "raw"), unit="events/s",
        ),
        Line(
            "… beside reading no more than decoding needs (position, type and data)",
            Figure("log"), Figure("bare log", "lean"), unit="events/s",
        ),
        Line(
            "PostgreSQL rebuild of a view, 1,000,000 events: beside that bare read of the log",
            Figure("rebuild"), Figure("bare log"), 0.4, unit="events/s",
        ),
        Line(
            "… beside eventsourcing, tracking each event (rate over 5,000 events)",
            Figure("rebuild"), Figure("eventsourcing"), 40, unit="events/s",
        ),
        Line("… memory of that rebuild, resident at most", Figure("rebuild", "mib"), unit="MiB"),
    ),
)  # fmt: skip
