"""The application that Foldline is measured with: orders with lines, and a view with one row an order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from uuid_utils.compat import uuid7

from bench.lives import Add, Change, Place, Step
from foldline import Aggregate, App, Command, Event, Index, Meta, Rejected, View, applies, handles, projects
from foldline.store.spi import NewEvent


class OrderPlaced(Event):
    order_id: str
    customer_id: str
    currency: str


class ItemAdded(Event):
    order_id: str
    sku: str
    quantity: int
    unit_cents: int


class QuantityChanged(Event):
    order_id: str
    sku: str
    before: int
    quantity: int
    unit_cents: int


class OrderPaid(Event):
    order_id: str
    method: str


class OrderShipped(Event):
    order_id: str
    carrier: str


class OrderDelivered(Event):
    order_id: str
    signed_by: str


EVENTS: tuple[type[Event], ...] = (
    OrderPlaced,
    ItemAdded,
    QuantityChanged,
    OrderPaid,
    OrderShipped,
    OrderDelivered,
)


class ChangeQuantity(Command):
    """The command of every measurement that executes one."""

    order_id: str
    sku: str
    quantity: Annotated[int, Meta(ge=1, le=99)]


class Line(msgspec.Struct, frozen=True):
    """So many of one product."""

    quantity: int
    unit_cents: int


class Order(Aggregate, id="order_id"):
    """What is in an order and what it comes to."""

    customer_id: str = ""
    status: str = "new"
    lines: dict[str, Line] = {}
    total_cents: int = 0

    @handles
    def change_quantity(self, command: ChangeQuantity) -> Iterator[QuantityChanged]:
        if self.status != "placed":
            raise Rejected("not_open", f"The order is {self.status}.")
        line = self.lines.get(command.sku)
        if line is None:
            raise Rejected("no_such_line", f"The order has no {command.sku}.")
        yield QuantityChanged(command.order_id, command.sku, line.quantity, command.quantity, line.unit_cents)

    @applies
    def placed(self, event: OrderPlaced) -> None:
        self.customer_id = event.customer_id
        self.status = "placed"

    @applies
    def added(self, event: ItemAdded) -> None:
        self.lines[event.sku] = Line(event.quantity, event.unit_cents)
        self.total_cents += event.quantity * event.unit_cents

    @applies
    def changed(self, event: QuantityChanged) -> None:
        self.lines[event.sku] = Line(event.quantity, event.unit_cents)
        self.total_cents += (event.quantity - event.before) * event.unit_cents

    @applies
    def paid(self, event: OrderPaid) -> None:
        self.status = "paid"

    @applies
    def shipped(self, event: OrderShipped) -> None:
        self.status = "shipped"

    @applies
    def delivered(self, event: OrderDelivered) -> None:
        self.status = "delivered"


class OrderList(View, key="order_id"):
    """A row an order, as a list of orders shows it."""

    order_id: str
    customer_id: Annotated[str, Index()] = ""
    currency: str = ""
    status: str = ""
    items: int = 0
    total_cents: int = 0

    @projects
    def placed(self, event: OrderPlaced) -> None:
        self.customer_id = event.customer_id
        self.currency = event.currency
        self.status = "placed"

    @projects
    def added(self, event: ItemAdded) -> None:
        self.items += event.quantity
        self.total_cents += event.quantity * event.unit_cents

    @projects
    def changed(self, event: QuantityChanged) -> None:
        self.items += event.quantity - event.before
        self.total_cents += (event.quantity - event.before) * event.unit_cents

    @projects
    def paid(self, event: OrderPaid) -> None:
        self.status = "paid"

    @projects
    def shipped(self, event: OrderShipped) -> None:
        self.status = "shipped"

    @projects
    def delivered(self, event: OrderDelivered) -> None:
        self.status = "delivered"


def app(*, cache: int | None = None, view: bool = False) -> App:
    """The application, with its default cache unless told otherwise; a view would run beside."""
    parts = (Order, OrderList) if view else (Order,)
    return App("bench", *parts) if cache is None else App("bench", *parts, cache=cache)


def order_id(number: int) -> str:
    """What an order is called."""
    return f"o-{number:07}"


def stream_id(number: int) -> str:
    """Where its events are."""
    return f"order-{order_id(number)}"


def event_of(order: int, step: Step) -> Event:
    """A step of an order's life as its event."""
    id_ = order_id(order)
    if isinstance(step, Place):
        return OrderPlaced(id_, step.customer_id, step.currency)
    if isinstance(step, Add):
        return ItemAdded(id_, step.sku, step.quantity, step.unit_cents)
    if isinstance(step, Change):
        return QuantityChanged(id_, step.sku, step.before, step.quantity, step.unit_cents)
    closing = {"paid": OrderPaid, "shipped": OrderShipped, "delivered": OrderDelivered}
    return closing[step.how](id_, step.by)


_encode = msgspec.json.Encoder().encode


def new_event(event: Event) -> NewEvent:
    """The event as a store takes it."""
    return NewEvent(uuid7(), type(event).__message_name__, 1, _encode(event))


def first_event(number: int) -> NewEvent:
    """An order's first event, with an id of its own: about 100 bytes of JSON."""
    return new_event(OrderPlaced(order_id(number), f"customer-{number % 5_000:05}-of-the-shop", "EUR"))
