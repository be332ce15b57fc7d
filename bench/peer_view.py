"""The same view with eventsourcing 9.5.6: a `Projection` on a materialised view that tracks every event.

The view is a subclass of the library's own SQLite tracking recorder, each of whose methods changes a row and
records the event's tracking in one transaction, as its documentation has it. Its `ProjectionRunner` needs an
application recorder that has subscriptions, which that for SQLite has not (`subscribe` raises
NotImplementedError), so `rebuild` does what the runner's loop does, on 1,000 notifications at a time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteFactory, SQLiteTrackingRecorder

from bench.peer import Order, open_shop

PAGE = 1_000


class OrderTable(SQLiteTrackingRecorder):
    """The table, with the columns and the index that Foldline's view has."""

    def construct_create_table_statements(self) -> list[str]:
        return [
            *super().construct_create_table_statements(),
            """CREATE TABLE IF NOT EXISTS order_list (
                order_id TEXT PRIMARY KEY, customer_id TEXT, currency TEXT, status TEXT, items INTEGER,
                total_cents INTEGER
            ) WITHOUT ROWID""",
            "CREATE INDEX IF NOT EXISTS order_list_customer ON order_list (customer_id)",
        ]

    def place(self, order_id: str, customer_id: str, currency: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("INSERT INTO order_list VALUES (?, ?, ?, 'placed', 0, 0)", (order_id, customer_id, currency))

    def add(self, order_id: str, items: int, cents: int, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "UPDATE order_list SET items = items + ?, total_cents = total_cents + ? WHERE order_id = ?",
                (items, cents, order_id),
            )

    def set_status(self, order_id: str, status: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("UPDATE order_list SET status = ? WHERE order_id = ?", (status, order_id))

    def rows(self) -> int:
        """How many orders there are."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT count(*) FROM order_list")
            return int(cursor.fetchone()[0])


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


def rebuild(path: Path) -> tuple[int, float, int]:
    """Project a file's whole log into an empty view in that file: the events, the seconds and the rows."""
    with open_shop(path) as app:
        view = cast(OrderTable, SQLiteFactory(app.env).tracking_recorder(OrderTable))
        projection = OrderListProjection(view)
        events = 0
        started = time.perf_counter()
        last = view.max_tracking_id(app.name) or 0
        while found := app.recorder.select_notifications(start=last, limit=PAGE, inclusive_of_start=False):
            for notification in found:
                domain_event: Any = app.mapper.to_domain_event(notification)
                projection.process_event(domain_event, Tracking(app.name, notification.id))
            events += len(found)
            last = found[-1].id
        spent = time.perf_counter() - started
        rows = view.rows()
        view.datastore.close()
        return events, spent, rows
