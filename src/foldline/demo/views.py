"""What the shop's pages read: tables that the events fold into, each shaped for one screen."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from foldline import Envelope, Index, Projection, Transaction, View, projects
from foldline.demo.customers import Address, CustomerMoved, CustomerRegistered, CustomerRenamed
from foldline.demo.orders import (
    OrderCancelled,
    OrderItemAdded,
    OrderLine,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    Status,
    total_of,
    with_line,
)
from foldline.demo.products import PriceChanged, ProductAdded, StockReceived, StockReleased, StockReserved

ZERO = Decimal("0.00")


class OrderSummary(View, key="order_id", indexes=(("status", "placed_at"), ("customer_id", "placed_at"))):
    """A line of the order list. Name and email are those that the order was placed under."""

    order_id: str
    customer_id: str = ""
    customer_name: str = ""
    customer_email: Annotated[str, Index()] = ""
    items: int = 0
    goods: Decimal = ZERO
    total: Annotated[Decimal, Index()] = ZERO
    currency: str = ""
    status: Status = Status.PLACED
    placed_at: Annotated[datetime | None, Index()] = None
    changed_at: datetime | None = None

    @projects
    def placed(self, event: OrderPlaced, envelope: Envelope) -> None:
        self.customer_id, self.customer_name = event.customer_id, event.customer_name
        self.customer_email = event.customer_email
        self.items = sum(line.quantity for line in event.lines)
        self.goods, self.currency = total_of(event.lines), event.currency
        self.total = self.goods + event.delivery
        self.placed_at = self.changed_at = envelope.recorded_at

    @projects
    def item_added(self, event: OrderItemAdded, envelope: Envelope) -> None:
        self.items += event.line.quantity
        self.goods += event.line.amount
        self.total = self.goods + event.delivery
        self.changed_at = envelope.recorded_at

    @projects
    def paid(self, event: OrderPaid, envelope: Envelope) -> None:
        self.status, self.changed_at = Status.PAID, envelope.recorded_at

    @projects
    def shipped(self, event: OrderShipped, envelope: Envelope) -> None:
        self.status, self.changed_at = Status.SHIPPED, envelope.recorded_at

    @projects
    def cancelled(self, event: OrderCancelled, envelope: Envelope) -> None:
        self.status, self.changed_at = Status.CANCELLED, envelope.recorded_at


class Payment(msgspec.Struct, frozen=True):
    """What was paid, how and when; and what was paid back."""

    amount: Decimal
    method: str
    at: datetime
    refunded: Decimal = ZERO


class Shipment(msgspec.Struct, frozen=True):
    """With whom the parcel travels, and since when."""

    carrier: str
    tracking: str
    at: datetime


class Moment(msgspec.Struct, frozen=True):
    """One entry of a timeline: an event, in words."""

    at: datetime
    event: str
    text: str
    version: int
    position: int
    amount: Decimal | None = None


class OrderDetails(View, key="order_id"):
    """Everything an order's page shows, in one row; what is nested is kept as JSON."""

    order_id: str
    customer_id: str = ""
    customer_name: str = ""
    customer_email: str = ""
    status: Status = Status.PLACED
    lines: tuple[OrderLine, ...] = ()
    goods: Decimal = ZERO
    delivery: Decimal = ZERO
    total: Decimal = ZERO
    currency: str = ""
    billing_address: Address | None = None
    shipping_address: Address | None = None
    payment: Payment | None = None
    shipment: Shipment | None = None
    timeline: tuple[Moment, ...] = ()
    version: int = 0

    @projects
    def placed(self, event: OrderPlaced, envelope: Envelope) -> None:
        self.customer_id, self.customer_name = event.customer_id, event.customer_name
        self.customer_email, self.currency = event.customer_email, event.currency
        self.billing_address, self.shipping_address = event.billing_address, event.shipping_address
        self.price(event.lines, event.delivery)
        self.note(envelope, f"Placed by {event.customer_name}", self.total)

    @projects
    def item_added(self, event: OrderItemAdded, envelope: Envelope) -> None:
        self.price(with_line(self.lines, event.line), event.delivery)
        self.note(envelope, f"Added {event.line.quantity} × {event.line.name}", event.line.amount)  # noqa: RUF001

    @projects
    def paid(self, event: OrderPaid, envelope: Envelope) -> None:
        self.status = Status.PAID
        self.payment = Payment(event.amount, event.method, envelope.recorded_at)
        self.note(envelope, f"Paid by {event.method}", event.amount)

    @projects
    def shipped(self, event: OrderShipped, envelope: Envelope) -> None:
        self.status = Status.SHIPPED
        self.shipment = Shipment(event.carrier, event.tracking, envelope.recorded_at)
        parcel = f", parcel {event.tracking}" if event.tracking else ""
        self.note(envelope, f"Shipped with {event.carrier}{parcel}")

    @projects
    def cancelled(self, event: OrderCancelled, envelope: Envelope) -> None:
        self.status = Status.CANCELLED
        if self.payment is not None:
            self.payment = msgspec.structs.replace(self.payment, refunded=event.refunded)
        self.note(envelope, f"Cancelled: {event.reason}", -event.refunded if event.refunded else None)

    def price(self, lines: tuple[OrderLine, ...], delivery: Decimal) -> None:
        """Take over the lines and add them up."""
        self.lines, self.goods, self.delivery = lines, total_of(lines), delivery
        self.total = self.goods + delivery

    def note(self, envelope: Envelope, text: str, amount: Decimal | None = None) -> None:
        """Add an entry to the timeline."""
        at, version = envelope.recorded_at, envelope.version
        moment = Moment(at, envelope.type, text, version, envelope.position, amount)
        self.timeline, self.version = (*self.timeline, moment), version


class CustomerStatistics(View, key="customer_id"):
    """A customer as they are called today, with what they have ordered so far."""

    customer_id: str
    name: Annotated[str, Index()] = ""
    email: str = ""
    city: str = ""
    country: str = ""
    orders: int = 0
    open_orders: int = 0
    cancelled_orders: int = 0
    spent: Decimal = ZERO
    last_order_at: datetime | None = None

    @projects
    def registered(self, event: CustomerRegistered) -> None:
        self.name, self.email = event.name, event.email
        self.city, self.country = event.address.city, event.address.country

    @projects
    def renamed(self, event: CustomerRenamed) -> None:
        self.name, self.email = event.name, event.email

    @projects
    def moved(self, event: CustomerMoved) -> None:
        self.city, self.country = event.address.city, event.address.country

    @projects
    def placed(self, event: OrderPlaced, envelope: Envelope) -> None:
        self.orders += 1
        self.open_orders += 1
        self.last_order_at = envelope.recorded_at

    @projects
    def paid(self, event: OrderPaid) -> None:
        self.spent += event.amount

    @projects
    def shipped(self, event: OrderShipped) -> None:
        self.open_orders -= 1

    @projects
    def cancelled(self, event: OrderCancelled) -> None:
        self.open_orders -= 1
        self.cancelled_orders += 1
        self.spent -= event.refunded


class StockLevel(View, key="product_id"):
    """A product, its price, and how many can still be ordered."""

    product_id: str
    name: Annotated[str, Index()] = ""
    section: str = ""
    price: Decimal = ZERO
    available: int = 0
    sold: int = 0

    @projects
    def added(self, event: ProductAdded) -> None:
        self.name, self.section, self.price = event.name, event.section, event.price

    @projects
    def repriced(self, event: PriceChanged) -> None:
        self.price = event.price

    @projects
    def received(self, event: StockReceived) -> None:
        self.available += event.quantity

    @projects
    def reserved(self, event: StockReserved) -> None:
        self.available -= event.quantity
        self.sold += event.quantity

    @projects
    def released(self, event: StockReleased) -> None:
        self.available += event.quantity
        self.sold -= event.quantity


class DailySales(Projection, tables=("daily_sales",)):
    """Takings a day, less the refunds made on it. In SQL, for its key is when an event was recorded."""

    setup = """
        CREATE TABLE daily_sales (
            day TEXT PRIMARY KEY,               -- as 2026-11-21, in UTC
            paid_orders INTEGER NOT NULL,
            cents BIGINT NOT NULL
        )
    """

    @projects
    async def paid(self, event: OrderPaid, envelope: Envelope, tx: Transaction) -> None:
        await self.book(tx, envelope, 1, event.amount)

    @projects
    async def cancelled(self, event: OrderCancelled, envelope: Envelope, tx: Transaction) -> None:
        if event.refunded:
            await self.book(tx, envelope, 0, -event.refunded)

    async def book(self, tx: Transaction, envelope: Envelope, orders: int, amount: Decimal) -> None:
        """Add to the day's row."""
        await tx.execute(
            "INSERT INTO daily_sales (day, paid_orders, cents) VALUES (?, ?, ?) ON CONFLICT (day) DO UPDATE "
            "SET paid_orders = daily_sales.paid_orders + excluded.paid_orders, "
            "cents = daily_sales.cents + excluded.cents",
            envelope.recorded_at.date().isoformat(),
            orders,
            int(amount * 100),
        )
