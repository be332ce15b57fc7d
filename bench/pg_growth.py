"""PostgreSQL: the same work in a log of 5,000,000 events and in one of 50,000."""

from __future__ import annotations

import asyncio
import random
import time

import asyncpg

from bench import loops, pg_append, pg_server, shop
from bench.lives import SKUS, skus_of
from bench.pg_append import append
from bench.plan import Figure, Figures, Job, Line, Measurement
from foldline import Running
from foldline.store.spi import Append, Expect, StreamAppend

WORKERS = 32
CHOSEN = 2_000
AT_A_TIME = 25_000
"""Orders that are made in one transaction."""

# Open orders as lives.py has them: placed, nine products, ten changes; the values are of the same kinds and sizes.
# That the versions depend on the number has one order come after the other, and not one version.
# Bind: $1, $2 the first and the last order; $3, $4, $5 the events' types; $6 how many products there are.
_FILL = """
INSERT INTO foldline_events
SELECT nextval('foldline_positions'), uuidv7(), 'order-' || o.id, 'order', v.version,
       CASE WHEN v.version = 1 THEN $3::text WHEN v.version <= 10 THEN $4::text ELSE $5::text END, 1,
       CASE WHEN v.version = 1 THEN format('{"order_id":"%s","customer_id":"c-%s","currency":"EUR"}',
                                           o.id, lpad((n.number % 5000)::text, 5, '0'))
            WHEN v.version <= 10 THEN format('{"order_id":"%s","sku":"sku-%s","quantity":%s,"unit_cents":%s}',
                                             o.id, s.sku, 1 + n.number % 9, 100 + s.place * 37)
            ELSE format('{"order_id":"%s","sku":"sku-%s","before":%s,"quantity":%s,"unit_cents":%s}',
                        o.id, s.sku, 1 + n.number % 9, 1 + (n.number + v.version) % 99, 100 + s.place * 37)
       END::json, '{}', now(), NULL, NULL, NULL
FROM generate_series($1::integer, $2::integer) AS n (number)
CROSS JOIN LATERAL (SELECT 'o-' || lpad(n.number::text, 7, '0')) AS o (id)
CROSS JOIN LATERAL generate_series(1, 20 + 0 * n.number) AS v (version)
CROSS JOIN LATERAL (SELECT (n.number * 7 + (v.version + 7) % 9 * 3) % $6::integer) AS p (place)
CROSS JOIN LATERAL (SELECT lpad(p.place::text, 4, '0'), p.place) AS s (sku, place)
"""


def prepare_big(job: Job) -> Figures:
    """250,000 orders of 20 events."""
    return _fill(job, "big", _orders(job, big=True))


def prepare_small(job: Job) -> Figures:
    """2,500 orders of 20 events."""
    return _fill(job, "small", _orders(job, big=False))


def big(job: Job) -> Figures:
    """Rates in the big log, which is used in place: in 250,000 orders no run meets those of another to speak of."""
    return asyncio.run(_measure(job, pg_server.server_of(job).url("big"), _orders(job, big=True)))


def small(job: Job) -> Figures:
    """Rates in the small log, a copy for each run, for else its few orders would grow from run to run."""
    # It is not dropped, for that would have a checkpoint begin, after which whole pages are logged anew.
    url = pg_server.create(pg_server.server_of(job), f"small_{job.run}", "small")
    return asyncio.run(_measure(job, url, _orders(job, big=False)))


def _orders(job: Job, *, big: bool) -> int:
    return job.size(250_000, 2_500) if big else job.size(2_500, 200)


def _fill(job: Job, name: str, orders: int) -> Figures:
    url = pg_server.create(pg_server.server_of(job), name, pg_server.EMPTY)

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        types = [one.__message_name__ for one in (shop.OrderPlaced, shop.ItemAdded, shop.QuantityChanged)]
        for first in range(0, orders, AT_A_TIME):
            await connection.execute(_FILL, first, min(first + AT_A_TIME, orders) - 1, *types, len(SKUS), timeout=600)
        await connection.close()

    asyncio.run(fill())
    pg_server.settle(url)
    # What comes first after a checkpoint logs whole pages: so most of them are changed once before they are measured.
    asyncio.run(append(url, _appends(random.Random(name), orders, orders * 2 // 5), 256))
    return {}


async def _measure(job: Job, url: str, orders: int) -> Figures:
    rng = random.Random(job.run)
    figures: Figures = {}
    figures["one"] = await append(url, _appends(rng, orders, job.size(4_000, 100)), 1)
    figures["many"] = await append(url, _appends(rng, orders, job.size(40_000, 320)), WORKERS)
    async with shop.app().open(url) as running:
        known = rng.sample(range(orders), min(CHOSEN, orders))
        figures["execute"] = await _execute(running, rng, [rng.choice(known) for _ in range(job.size(12_000, 320))])
        figures["first"] = await _streams(running, [rng.randrange(orders) for _ in range(job.size(2_000, 100))])
        figures["stream"] = await _streams(running, [rng.choice(known) for _ in range(job.size(4_000, 100))])
        figures["log"] = await _log(running, rng, orders * 20, job.size(30, 2))
        figures["head"] = await loops.tasks(1, job.size(3_000, 100), lambda _: running.store.head())
    return figures


def _appends(rng: random.Random, orders: int, pieces: int) -> list[Append]:
    """First events of new streams whose ids stand anywhere between those that are there."""
    made = []
    for number in range(pieces):
        stream_id = f"{shop.stream_id(rng.randrange(orders))}-{rng.getrandbits(40):010x}"
        made.append(Append((StreamAppend(stream_id, Expect.NO_STREAM, (shop.first_event(number),)),)))
    return made


async def _execute(running: Running, rng: random.Random, orders: list[int]) -> float:
    commands = [
        shop.ChangeQuantity(shop.order_id(order), rng.choice(skus_of(order, 9)), rng.randint(1, 99)) for order in orders
    ]
    return await loops.tasks(WORKERS, len(commands), lambda piece: running.execute(commands[piece]))


async def _streams(running: Running, orders: list[int]) -> float:
    """Events a second of streams read and decoded one after the other."""
    decode = running.app.codec.decode_event
    events = 0
    started = time.perf_counter()
    for order in orders:
        recorded = await running.store.read_stream(shop.stream_id(order))
        events += len([decode(one.type, one.schema_version, one.data) for one in recorded])
    if events < 20 * len(orders):
        raise RuntimeError(f"{events} events were read from {len(orders)} streams")
    return events / (time.perf_counter() - started)


async def _log(running: Running, rng: random.Random, end: int, pages: int) -> float:
    """Events a second of pages of the log, read and decoded from anywhere on."""
    decode = running.app.codec.decode_event
    size = min(10_000, end // 4)
    events = 0
    started = time.perf_counter()
    for _ in range(pages):
        batch = await running.store.read_all(after=rng.randrange(end - size), limit=size)
        events += len([decode(one.type, one.schema_version, one.data) for one in batch.events])
    if events != pages * size:
        raise RuntimeError(f"{events} events were read in {pages} pages")
    return events / (time.perf_counter() - started)


def _line(what: str, figure: str, unit: str = "/s") -> Line:
    return Line(what, Figure("5,000,000", figure), Figure("50,000", figure), 0.8, unit=unit)


MEASUREMENT = Measurement(
    name="pg_growth",
    title="PostgreSQL: rates at 5,000,000 stored events beside those at 50,000",
    service=pg_server.running,
    preparations=(pg_append.prepare, prepare_big, prepare_small),
    sides={"5,000,000": big, "50,000": small},
    lines=(
        _line("PostgreSQL at 5,000,000 stored events: append, 1 task: beside 50,000 events", "one"),
        _line("… append, 32 tasks", "many"),
        _line("… execute, 32 tasks, 2,000 orders of 20 events from a fresh opening", "execute"),
        _line("… typed read of the streams of those orders", "stream", "events/s"),
        _line("… typed read of the streams of any orders", "first", "events/s")._replace(target=None),
        _line("… typed read of the log from anywhere", "log", "events/s"),
        _line("… finding the safe position", "head"),
    ),
)
