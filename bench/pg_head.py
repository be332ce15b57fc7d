"""PostgreSQL: what finding the safe position costs while 32 of 64 connections append."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import asyncpg

from bench import pg_append, pg_server, shop
from bench.plan import Figure, Figures, Job, Line, Measurement
from foldline.store.postgres.log import HEAD

APPENDING = 32
CONNECTIONS = 64
TURN = 100
"""Calls of one kind in a row, before as many of the other."""

# An append's transaction in one statement, and its floor taken before its position is drawn.
_APPEND = """\\set stream random(1000000000000000000, 8999999999999999999)
INSERT INTO foldline_events
SELECT nextval('foldline_positions'), uuidv7(), 'order-' || :stream::text, 'order', 1, 'OrderPlaced', 1, :data, '{}',
       now(), NULL, NULL, NULL
FROM foldline_positions WHERE pg_advisory_xact_lock_shared(5065423680884965376 | last_value) IS NOT NULL;
"""


def held(job: Job) -> Figures:
    """µs a call while 32 connections hold appends open, in the middle of the log."""

    async def measure(url: str) -> Figures:
        async with AsyncExitStack() as stack:
            for _ in range(APPENDING):
                connection = await _connect(stack, url)
                stack.push_async_callback(connection.execute, "ROLLBACK")
                await connection.execute("BEGIN; SELECT foldline_enter(); SELECT nextval('foldline_positions')")
            return await _calls(stack, job, url)

    with pg_server.database(job, "filled") as url:
        return asyncio.run(measure(url))


def busy(job: Job) -> Figures:
    """µs a call while 32 connections append as fast as they can, which keeps every core busy."""

    async def measure(url: str) -> Figures:
        async with AsyncExitStack() as stack:
            return await _calls(stack, job, url)

    with pg_server.database(job, "filled") as url:
        data = shop.first_event(1).data.decode()
        # Longer than it can take; it is ended when the calls have been made.
        with pg_server.pgbench_running(job, url, _APPEND, clients=APPENDING, seconds=600, data=data):
            _wait_until_appending(url)
            return asyncio.run(measure(url))


def prepare(job: Job) -> Figures:
    """A database with some events."""
    server = pg_server.server_of(job)
    url = pg_server.create(server, "filled", pg_server.EMPTY)
    asyncio.run(pg_append.append(url, pg_append.new_appends(job.size(50_000, 500), 1, 0), 256))
    pg_server.settle(url)
    return {}


def _wait_until_appending(url: str) -> None:
    """Until all writers are connected and the log grows."""
    ask = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'"
    drawn = "SELECT last_value FROM foldline_positions"
    deadline = time.monotonic() + 30
    before = pg_server.run(url, drawn)[0]
    while True:
        connected, now = pg_server.run(url, ask, drawn)
        if connected >= APPENDING and now > before:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{connected} writers are connected, and the log went from {before} to {now}")
        time.sleep(0.05)


async def _connect(stack: AsyncExitStack, url: str) -> asyncpg.Connection[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    stack.push_async_callback(connection.close)
    return connection


async def _calls(stack: AsyncExitStack, job: Job, url: str) -> Figures:
    """On one of the other 32 connections, in turns, so that both meet the same."""
    others = [await _connect(stack, url) for _ in range(CONNECTIONS - APPENDING)]
    head = await others[0].prepare(HEAD)
    nothing = await others[0].prepare("SELECT 1")
    turns = job.size(40, 2)
    spent = {"head": 0.0, "nothing": 0.0}
    for _ in range(turns):
        for name, statement in (("head", head), ("nothing", nothing)):
            started = time.perf_counter()
            for _ in range(TURN):
                await statement.fetchrow()
            spent[name] += time.perf_counter() - started
    return {name: 1e6 * seconds / (turns * TURN) for name, seconds in spent.items()}


def _line(side: str, what: str) -> Line:
    return Line(
        f"PostgreSQL, finding the safe position at 64 connections, {what}: beside SELECT 1",
        Figure(side, "head"), Figure(side, "nothing"), unit="µs",
    )  # fmt: skip


MEASUREMENT = Measurement(
    name="pg_head",
    title="PostgreSQL: the cost of finding the safe position",
    service=pg_server.running,
    preparations=(pg_append.prepare, prepare),
    sides={"held": held, "busy": busy},
    lines=(_line("held", "32 of them with an append open"), _line("busy", "32 of them appending")),
)
