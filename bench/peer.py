"""The same orders with eventsourcing 9.5.6, in the idioms of its documentation, on its SQLite persistence.

Its recorder opens the file in WAL mode and leaves ``synchronous`` at the SQLite library's default, which is
FULL unless it was compiled otherwise. `check_settings` makes sure that both are as Foldline's are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from eventsourcing.sqlite import SQLiteApplicationRecorder

from bench.lives import Add, Change, Close, Place, Step, interleaved, open_order


class Order(Aggregate):
    """What is in an order and what it comes to."""

    class Placed(Aggregate.Created):
        customer_id: str
        currency: str

    class ItemAdded(Aggregate.Event):
        sku: str
        quantity: int
        unit_cents: int

    class QuantityChanged(Aggregate.Event):
        sku: str
        before: int
        quantity: int
        unit_cents: int

    class Paid(Aggregate.Event):
        method: str

    class Shipped(Aggregate.Event):
        carrier: str

    class Delivered(Aggregate.Event):
        signed_by: str

    @event(Placed)
    def __init__(self, customer_id: str, currency: str) -> None:
        self.customer_id = customer_id
        self.currency = currency
        self.status = "placed"
        self.lines: dict[str, tuple[int, int]] = {}
        self.total_cents = 0

    def change_quantity(self, sku: str, quantity: int) -> None:
        """The command that is measured, with the same rules as Foldline's."""
        if self.status != "placed":
            raise ValueError(f"The order is {self.status}.")
        if not 1 <= quantity <= 99:
            raise ValueError("The quantity is not within 1 to 99.")
        line = self.lines.get(sku)
        if line is None:
            raise ValueError(f"The order has no {sku}.")
        self.quantity_changed(sku, line[0], quantity, line[1])

    @event(ItemAdded)
    def item_added(self, sku: str, quantity: int, unit_cents: int) -> None:
        self.lines[sku] = (quantity, unit_cents)
        self.total_cents += quantity * unit_cents

    @event(QuantityChanged)
    def quantity_changed(self, sku: str, before: int, quantity: int, unit_cents: int) -> None:
        self.lines[sku] = (quantity, unit_cents)
        self.total_cents += (quantity - before) * unit_cents

    @event(Paid)
    def paid(self, method: str) -> None:
        self.status = "paid"

    @event(Shipped)
    def shipped(self, carrier: str) -> None:
        self.status = "shipped"

    @event(Delivered)
    def delivered(self, signed_by: str) -> None:
        self.status = "delivered"


class Shop(Application[UUID]):
    """The application: commands as methods."""

    def change_quantity(self, order_id: UUID, sku: str, quantity: int) -> None:
        """Load, decide, save; where another thread was faster, again."""
        while True:
            order: Order = self.repository.get(order_id)
            order.change_quantity(sku, quantity)
            try:
                self.save(order)
            except IntegrityError:
                continue
            return


def open_shop(path: Path, **settings: str) -> Shop:
    """The application on a SQLite file; ``settings`` are more of its environment variables."""
    app = Shop(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"file:{path}", **settings})
    check_settings(app)
    return app


def new_order(number: int) -> Order:
    """An order with its first event, not saved yet."""
    order: Order = Order(f"customer-{number % 5_000:05}-of-the-shop", "EUR")
    return order


def take(order: Order | None, step: Step) -> Order:
    """The order after a step of its life; a new one for the first."""
    if isinstance(step, Place):
        placed: Order = Order(step.customer_id, step.currency)
        return placed
    if order is None:
        raise ValueError(f"{step} is no beginning")
    if isinstance(step, Add):
        order.item_added(step.sku, step.quantity, step.unit_cents)
    elif isinstance(step, Change):
        order.quantity_changed(step.sku, step.before, step.quantity, step.unit_cents)
    else:
        closing: dict[str, Callable[[str], Any]] = {
            "paid": order.paid, "shipped": order.shipped, "delivered": order.delivered,
        }  # fmt: skip
        closing[step.how](step.by)
    return order


def check_settings(app: Shop) -> None:
    """Raise RuntimeError unless a connection as the application makes it has WAL and synchronous=FULL."""
    if not isinstance(app.recorder, SQLiteApplicationRecorder):
        raise RuntimeError(f"eventsourcing records in {type(app.recorder).__name__}, not in SQLite")
    with app.recorder.datastore.get_connection(commit=False) as connection:
        cursor = connection.cursor()
        for pragma, wanted in (("journal_mode", "wal"), ("synchronous", 2)):
            cursor.execute(f"PRAGMA {pragma}")
            found = cursor.fetchone()[0]
            if found != wanted:
                raise RuntimeError(f"eventsourcing runs with {pragma}={found}: the comparison would not be fair")


def open_orders(path: Path, orders: int, events: int = 20) -> None:
    """A file of orders that are still being changed, with so many events each; a list of ids beside it."""
    with open_shop(path) as app:
        ids = save_open_orders(app, orders, events)
    _ids(path).write_text("\n".join(map(str, ids)))


def save_open_orders(app: Shop, orders: int, events: int = 20) -> list[UUID]:
    """The same through an application that is open; the orders' ids."""
    ids: list[UUID] = []
    for first in range(0, orders, 100):
        made = [_made(number, events) for number in range(first, min(first + 100, orders))]
        app.save(*made)
        ids += [order.id for order in made]
    return ids


def whole_orders(path: Path, orders: int) -> None:
    """A file of orders from placed to delivered, as interleaved as Foldline's."""
    with open_shop(path) as app:
        save_whole_orders(app, orders)


def save_whole_orders(app: Shop, orders: int) -> None:
    """The same through an application that is open."""
    live: dict[int, Order] = {}
    for batch in interleaved(orders, window=1_000, batch=500):
        for number, step in batch:
            live[number] = take(live.get(number), step)
        app.save(*(live[number] for number, _ in batch))
        for number, step in batch:
            if isinstance(step, Close) and step.how == "delivered":
                del live[number]


def ids_of(path: Path) -> list[UUID]:
    """The ids of the orders of `open_orders`, by their numbers."""
    return [UUID(line) for line in _ids(path).read_text().splitlines()]


def _ids(path: Path) -> Path:
    return path.with_suffix(".ids")


def _made(number: int, events: int) -> Order:
    order: Order | None = None
    for step in open_order(number, events):
        order = take(order, step)
    if order is None:
        raise ValueError("an order has at least one event")
    return order
