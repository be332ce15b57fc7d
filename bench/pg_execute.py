"""PostgreSQL: commands to random ones of 1,000 orders that have 20 events each, by 32 workers at once."""

from __future__ import annotations

from uuid import UUID

from bench import pg_append, pg_server, shop
from bench.execute import ORDERS, WORKERS, commands, execute_at, get_and_save_in
from bench.plan import Figure, Figures, Job, Line, Measurement
from bench.stores import open_orders_at


def prepare(job: Job) -> Figures:
    """Foldline's database of open orders."""
    server = pg_server.server_of(job)
    url = pg_server.create(server, "orders", pg_server.EMPTY)
    open_orders_at(url, job.size(ORDERS, 100))
    pg_server.settle(url)
    return {}


def prepare_peer(job: Job) -> Figures:
    """The peer's database of the same orders, and their ids in a file."""
    from bench import peer, pg_peer

    server = pg_server.server_of(job)
    pg_server.run(server.url(), "CREATE DATABASE peer")
    with pg_peer.open_shop(server.url("peer")) as app:
        ids = peer.save_open_orders(app, job.size(ORDERS, 100))
    (job.prepared / "peer.ids").write_text("\n".join(map(str, ids)))
    pg_server.settle(server.url("peer"))
    return {}


def foldline(job: Job) -> Figures:
    """By 32 tasks, with the default cache, from a fresh opening on."""
    return _execute(job, job.size(16_000, 320))


def claimed(job: Job) -> Figures:
    """The same with an id that the sender chose for every command, claimed in the append's transaction."""
    return _execute(job, job.size(10_000, 320), claim=True)


def eventsourcing(job: Job) -> Figures:
    """`repository.get`, the aggregate's method and `save`, by 32 threads, as the library comes."""
    from bench import pg_peer

    ids = [UUID(line) for line in (job.prepared / "peer.ids").read_text().splitlines()]
    with pg_server.database(job, "peer") as url, pg_peer.open_shop(url) as app:
        return get_and_save_in(app, ids, job.run, WORKERS, job.size(1_500, 160))


def _execute(job: Job, pieces: int, *, claim: bool = False) -> Figures:
    with pg_server.database(job, "orders") as url:
        return execute_at(url, shop.app(), commands(job.run, job.size(ORDERS, 100)), WORKERS, pieces, claim=claim)


MEASUREMENT = Measurement(
    name="pg_execute",
    title="PostgreSQL: execute, 32 tasks, aggregates of 20 events",
    service=pg_server.running,
    preparations=(pg_append.prepare, prepare, prepare_peer),
    sides={"foldline": foldline, "eventsourcing": eventsourcing, "foldline claimed": claimed},
    lines=(
        Line(
            "PostgreSQL execute, 32 tasks, 20 events: beside eventsourcing, get + save, 32 threads",
            Figure("foldline"), Figure("eventsourcing"), 15,
        ),
        Line("… Foldline with command ids", Figure("foldline claimed"), Figure("eventsourcing")),
    ),
)  # fmt: skip
