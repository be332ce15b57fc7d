"""PostgreSQL: appends by one task, by many, by several processes and ten events at a time, beside pgbench."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import ExitStack

from bench import loops, pg_server, shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import empty_at
from foldline import open_store
from foldline.store.spi import Append, Appended, Expect, StreamAppend

CLIENTS = 32
PROCESSES = 4
TENS = 10

# What foldline_events has is all there, and the same of everything: types, sizes, indexes and trigger. A real client
# would send the values, so the two that differ from row to row by their meaning are sent.
ONE = """\\set stream random(1000000000000000000, 8999999999999999999)
INSERT INTO foldline_events VALUES
"""
_ROW = (
    "(nextval('foldline_positions'), uuidv7(), 'order-' || :stream::text, 'order', {version}, 'OrderPlaced', 1,"
    " :data, '{{}}', now(), NULL, NULL, NULL)"
)


def script(rows: int) -> str:
    """One INSERT of so many rows: a new stream's first events."""
    return ONE + ",\n".join(_ROW.format(version=version) for version in range(1, rows + 1)) + ";\n"


def new_appends(appends: int, events: int, seed: int) -> list[Append]:
    """As many new streams, each with so many events; all of it made beforehand."""
    rng = random.Random(seed)
    return [
        Append(
            (
                StreamAppend(
                    f"order-{rng.randrange(10**18, 9 * 10**18)}",
                    Expect.NO_STREAM,
                    tuple(shop.first_event(number) for _ in range(events)),
                ),
            )
        )
        for number in range(appends)
    ]


def prepare(job: Job) -> Figures:
    """The database that all others are copied from."""
    server = pg_server.server_of(job)
    pg_server.run(server.url(), f"CREATE DATABASE {pg_server.EMPTY}")
    empty_at(server.url(pg_server.EMPTY))
    return {}


def one(job: Job) -> Figures:
    """Appends a second by one task."""
    return _foldline(job, 1, job.size(8_000, 200))


def many(job: Job) -> Figures:
    """Appends a second by 32 tasks."""
    return _foldline(job, CLIENTS, job.size(60_000, 960))


def tens(job: Job) -> Figures:
    """Events a second by 32 tasks, ten events of one stream an append."""
    return _foldline(job, CLIENTS, job.size(10_000, 320), TENS)


def processes(job: Job) -> Figures:
    """Events a second by 4 processes with 8 tasks each, from when the first begins until the last is done."""
    pieces = job.size(15_000, 160)
    with pg_server.database(job) as url, ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "bench.pg_writer", url, "8", str(pieces), f"{job.run * PROCESSES + number}"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for number in range(PROCESSES)
        ]  # fmt: skip
        for writer in writers:
            _line(writer)
        for writer in writers:
            if writer.stdin is not None:
                writer.stdin.close()
        spans = [tuple(map(float, _line(writer).split())) for writer in writers]
        _check(url, PROCESSES * pieces)
    return {"rate": PROCESSES * pieces / (max(end for _, end in spans) - min(begin for begin, _ in spans))}


def pgbench_one(job: Job) -> Figures:
    """Rows a second by one client."""
    return _pgbench(job, 1)


def pgbench_many(job: Job) -> Figures:
    """Rows a second by 32 clients."""
    return _pgbench(job, CLIENTS)


def pgbench_tens(job: Job) -> Figures:
    """Rows a second by 32 clients, ten rows a statement."""
    return _pgbench(job, CLIENTS, TENS)


def eventsourcing(job: Job) -> Figures:
    """`Application.save` of new aggregates with one event each, by 32 threads."""
    from bench import peer, pg_peer

    orders = [peer.new_order(number) for number in range(job.size(3_000, 160))]
    loops.settle()
    with pg_server.database(job) as url, pg_peer.open_shop(url) as app:
        return {"rate": loops.threads(CLIENTS, len(orders), lambda number: app.save(orders[number]))}


async def append(url: str, appends: list[Append], tasks: int) -> float:
    """Appends a second, from a fresh opening on."""
    async with open_store(url) as store:

        async def piece(number: int) -> None:
            outcome = await store.append(appends[number])
            if not isinstance(outcome, Appended):
                raise RuntimeError(f"not appended: {outcome}")

        return await loops.tasks(tasks, len(appends), piece)


def _foldline(job: Job, tasks: int, appends: int, events: int = 1) -> Figures:
    made = new_appends(appends, events, job.run)
    loops.settle()
    with pg_server.database(job) as url:
        rate = asyncio.run(append(url, made, tasks))
        _check(url, appends * events)
    return {"rate": rate * events}


def _pgbench(job: Job, clients: int, rows: int = 1) -> Figures:
    data = shop.first_event(1).data.decode()
    with pg_server.database(job) as url:
        rate = pg_server.pgbench(job, url, script(rows), clients=clients, seconds=job.size(4, 1), data=data)
    return {"rate": rate * rows}


def _check(url: str, events: int) -> None:
    found = pg_server.run(url, "SELECT count(*) FROM foldline_events")[0]
    if found != events:
        raise RuntimeError(f"{found} events were recorded, not {events}")


def _line(writer: subprocess.Popen[str]) -> str:
    line = writer.stdout.readline() if writer.stdout is not None else ""
    if not line:
        raise RuntimeError("a writer ended; it told why on stderr")
    return line


MEASUREMENT = Measurement(
    name="pg_append",
    title="PostgreSQL: append",
    service=pg_server.running,
    preparations=(prepare,),
    sides={
        "1 task": one,
        "pgbench 1": pgbench_one,
        "32 tasks": many,
        "pgbench 32": pgbench_many,
        "eventsourcing": eventsourcing,
        "4 x 8": processes,
        "tens": tens,
        "pgbench tens": pgbench_tens,
    },
    lines=(
        Line("PostgreSQL append, 1 task: beside pgbench, 1 client, 1 row", Figure("1 task"), Figure("pgbench 1"), 0.7),
        Line(
            "PostgreSQL append, 32 tasks, 1 event each: beside pgbench, 32 clients, 1 row",
            Figure("32 tasks"), Figure("pgbench 32"), 2,
        ),
        Line("… beside eventsourcing, Application.save, 32 threads", Figure("32 tasks"), Figure("eventsourcing"), 7),
        Line(
            "PostgreSQL append, 4 processes x 8 tasks: beside pgbench, 32 clients, 1 row",
            Figure("4 x 8"), Figure("pgbench 32"), 1,
        ),
        Line(
            "PostgreSQL append, 32 tasks, 10 events each: beside pgbench, 32 clients, 10 rows",
            Figure("tens"), Figure("pgbench tens"), 0.7, unit="events/s",
        ),
    ),
)  # fmt: skip
