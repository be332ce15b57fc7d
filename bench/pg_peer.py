"""The same orders with eventsourcing 9.5.6 on its PostgreSQL persistence, and the view by its `ProjectionRunner`.

It runs with its defaults: psycopg 3, pools of 5 to 15 connections, and a lock of the whole table in each transaction
that records events, which is what keeps its followers from losing any.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL

from bench.peer import Order, Shop

PATIENCE = 600.0


class OrderTable(PostgresTrackingRecorder):
    """The table, with the columns and the index that Foldline's view has."""

    def __init__(self, datastore: Any, **more: Any) -> None:
        super().__init__(datastore, **more)
        self.sql_create_statements += [
            SQL(
                "CREATE TABLE IF NOT EXISTS order_list (order_id text PRIMARY KEY, customer_id text, currency text,"
                " status text, items bigint, total_cents bigint)"
            ),
            SQL("CREATE INDEX IF NOT EXISTS order_list_customer ON order_list (customer_id)"),
        ]

    def place(self, order_id: str, customer_id: str, currency: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO order_list VALUES (%s, %s, %s, 'placed', 0, 0)",
                (order_id, customer_id, currency),
                prepare=True,
            )

    def add(self, order_id: str, items: int, cents: int, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "UPDATE order_list SET items = items + %s, total_cents = total_cents + %s WHERE order_id = %s",
                (items, cents, order_id),
                prepare=True,
            )

    def set_status(self, order_id: str, status: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("UPDATE order_list SET status = %s WHERE order_id = %s", (status, order_id), prepare=True)

    def rows(self) -> int:
        """How many orders there are."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT count(*) AS count FROM order_list")
            found = cursor.fetchone()
            return int(found["count"]) if found is not None else 0


class OrderListProjection(Projection[OrderTable]):
    """What the view makes of each event."""

    name = "order_list"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise ValueError(f"an event that is not projected: {domain_event}")

    @process_event.register
    def _(self, domain_event: Order.Placed, tracking: Tracking) -> None:
        self.view.place(str(domain_event.originator_id), domain_event.customer_id, domain_event.currency, tracking)

    @process_event.register
    def _(self, domain_event: Order.ItemAdded, tracking: Tracking) -> None:
        items = domain_event.quantity
        self.view.add(str(domain_event.originator_id), items, items * domain_event.unit_cents, tracking)

    @process_event.register
    def _(self, domain_event: Order.QuantityChanged, tracking: Tracking) -> None:
        items = domain_event.quantity - domain_event.before
        self.view.add(str(domain_event.originator_id), items, items * domain_event.unit_cents, tracking)

    @process_event.register
    def _(self, domain_event: Order.Paid, tracking: Tracking) -> None:
        self.view.set_status(str(domain_event.originator_id), "paid", tracking)

    @process_event.register
    def _(self, domain_event: Order.Shipped, tracking: Tracking) -> None:
        self.view.set_status(str(domain_event.originator_id), "shipped", tracking)

    @process_event.register
    def _(self, domain_event: Order.Delivered, tracking: Tracking) -> None:
        self.view.set_status(str(domain_event.originator_id), "delivered", tracking)


def open_shop(url: str) -> Shop:
    """The application on a database."""
    app = Shop(env=_environment(url))
    recorder = app.recorder
    if not isinstance(recorder, PostgresApplicationRecorder):
        raise RuntimeError(f"eventsourcing records in {type(recorder).__name__}, not in PostgreSQL")
    if recorder.datastore.enable_db_functions:
        raise RuntimeError("eventsourcing records by a function, without the lock that keeps followers right")
    with recorder.datastore.transaction(commit=False) as cursor:
        for setting in ("synchronous_commit", "fsync"):
            cursor.execute(f"SHOW {setting}")
            found = cursor.fetchone()
            if found is None or found[setting] != "on":
                raise RuntimeError(f"eventsourcing runs with {setting}={found}: the comparison would not be fair")
    return app


def rebuild(url: str) -> tuple[int, float, int]:
    """Project a database's whole log into an empty view in that database: the events, the seconds and the rows."""
    with open_shop(url) as app:
        last = app.recorder.max_notification_id() or 0
    started = time.perf_counter()
    with ProjectionRunner(
        application_class=Shop, projection_class=OrderListProjection, view_class=OrderTable, env=_environment(url)
    ) as runner:
        runner.wait(last, timeout=PATIENCE)
        spent = time.perf_counter() - started
        return last, spent, runner.projection.view.rows()


def _environment(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path[1:],
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": "none is asked for",
    }
