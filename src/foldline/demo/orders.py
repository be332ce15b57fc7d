"""Orders: what one customer buys at once, from the moment it is placed until it is shipped or cancelled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from foldline import Aggregate, Command, Event, Meta, Rejected, applies, handles
from foldline.demo.customers import Address, Text

MAX_LINES = 10

Method = Literal["card", "transfer", "voucher"]
Count = Annotated[int, Meta(ge=1, le=999)]


class Status(StrEnum):
    """Where an order is in its life."""

    NEW = "NEW"
    PLACED = "PLACED"
    PAID = "PAID"
    SHIPPED = "SHIPPED"
    CANCELLED = "CANCELLED"


class OrderLine(msgspec.Struct, frozen=True):
    """So many of one product, at the price it had when it was ordered."""

    product_id: str
    name: str
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        """The price of the whole line."""
        return self.unit_price * self.quantity


def with_line(lines: tuple[OrderLine, ...], line: OrderLine) -> tuple[OrderLine, ...]:
    """The lines with one more; more of the same at the same price makes its line longer.

    Shared by the aggregate and the views, so that all of them mean the same by an added item.
    """
    for index, known in enumerate(lines):
        if (known.product_id, known.unit_price) == (line.product_id, line.unit_price):
            longer = msgspec.structs.replace(known, quantity=known.quantity + line.quantity)
            return (*lines[:index], longer, *lines[index + 1 :])
    return (*lines, line)


def total_of(lines: Iterable[OrderLine]) -> Decimal:
    """What the lines cost together, without delivery."""
    return sum((line.amount for line in lines), Decimal(0))


# --- Events: each names the customer too, so that a view with a row a customer looks nothing up -----------


class OrderPlaced(Event):
    """Carries the customer's name, email and addresses as they were: an order does not change with them."""

    order_id: str
    customer_id: str
    customer_name: str
    customer_email: str
    lines: tuple[OrderLine, ...]
    delivery: Decimal
    currency: str
    billing_address: Address
    shipping_address: Address


class OrderItemAdded(Event):
    """``delivery`` is the charge for the whole order, this line included."""

    order_id: str
    customer_id: str
    line: OrderLine
    delivery: Decimal


class OrderPaid(Event):
    order_id: str
    customer_id: str
    amount: Decimal
    currency: str
    method: str


class OrderShipped(Event):
    order_id: str
    customer_id: str
    carrier: str
    tracking: str


class OrderCancelled(Event):
    order_id: str
    customer_id: str
    reason: str
    refunded: Decimal


# --- Commands that people give ------------------------------------------------------------


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wish for so many of one product."""

    product_id: Text
    quantity: Count = 1


class PlaceOrder(Command):
    """Without ``ship_to`` the parcel goes to the customer's own address."""

    order_id: Text
    customer_id: Text
    items: Annotated[tuple[Item, ...], Meta(max_length=100)]
    ship_to: Address | None = None


class AddItem(Command):
    order_id: Text
    product_id: Text
    quantity: Count = 1


class PayOrder(Command):
    order_id: Text
    method: Method = "card"


class ShipOrder(Command):
    order_id: Text
    carrier: Text
    tracking: Annotated[str, Meta(max_length=200)] = ""


class CancelOrder(Command):
    order_id: Text
    reason: Text


# --- Commands that only handlers give, with all that the decision needs --------------------


class OpenOrder(Command, internal=True):
    order_id: Text
    customer_id: Text
    customer_name: str
    customer_email: str
    lines: tuple[OrderLine, ...]
    delivery: Decimal
    currency: str
    billing_address: Address
    shipping_address: Address


class AddLine(Command, internal=True):
    order_id: Text
    line: OrderLine
    delivery: Decimal


class CloseOrder(Command, internal=True):
    order_id: Text
    reason: Text


class Order(Aggregate, id="order_id"):
    """One order and its rules."""

    status: Status = Status.NEW
    customer_id: str = ""
    lines: tuple[OrderLine, ...] = ()
    delivery: Decimal = Decimal(0)
    currency: str = ""

    @handles
    def open(self, command: OpenOrder) -> Iterator[Event]:
        if self.status is not Status.NEW:
            raise Rejected("order-exists", "This order is placed already.")
        lines: tuple[OrderLine, ...] = ()
        for line in command.lines:
            lines = with_line(lines, line)
        if not lines:
            raise Rejected("order-empty", "An order needs at least one item.")
        short_enough(lines)
        yield OrderPlaced(
            order_id=command.order_id,
            customer_id=command.customer_id,
            customer_name=command.customer_name,
            customer_email=command.customer_email,
            lines=lines,
            delivery=command.delivery,
            currency=command.currency,
            billing_address=command.billing_address,
            shipping_address=command.shipping_address,
        )

    @handles
    def add_line(self, command: AddLine) -> Iterator[Event]:
        self.changeable()
        short_enough(with_line(self.lines, command.line))
        yield OrderItemAdded(command.order_id, self.customer_id, command.line, command.delivery)

    @handles
    def pay(self, command: PayOrder) -> Iterator[Event]:
        self.living()
        if self.status is Status.PAID:
            raise Rejected("order-paid", "This order is paid already.")
        yield OrderPaid(command.order_id, self.customer_id, self.total, self.currency, command.method)

    @handles
    def ship(self, command: ShipOrder) -> Iterator[Event]:
        self.living()
        if self.status is not Status.PAID:
            raise Rejected("order-not-paid", "This order is not paid yet, so it cannot be shipped.")
        yield OrderShipped(command.order_id, self.customer_id, command.carrier, command.tracking)

    @handles
    def close(self, command: CloseOrder) -> Iterator[Event]:
        self.living()
        refunded = self.total if self.status is Status.PAID else Decimal(0)
        yield OrderCancelled(command.order_id, self.customer_id, command.reason, refunded)

    @applies
    def placed(self, event: OrderPlaced) -> None:
        self.status, self.customer_id, self.lines = Status.PLACED, event.customer_id, event.lines
        self.delivery, self.currency = event.delivery, event.currency

    @applies
    def item_added(self, event: OrderItemAdded) -> None:
        self.lines, self.delivery = with_line(self.lines, event.line), event.delivery

    @applies
    def paid(self, event: OrderPaid) -> None:
        self.status = Status.PAID

    @applies
    def shipped(self, event: OrderShipped) -> None:
        self.status = Status.SHIPPED

    @applies
    def cancelled(self, event: OrderCancelled) -> None:
        self.status = Status.CANCELLED

    @property
    def total(self) -> Decimal:
        """What the customer pays, delivery included."""
        return total_of(self.lines) + self.delivery

    def living(self) -> None:
        """Reject where the order was never placed, or where its life is over."""
        if self.status is Status.NEW:
            raise Rejected("order-unknown", "There is no order of that number.")
        if self.status is Status.SHIPPED:
            raise Rejected("order-shipped", "This order is on its way and cannot be changed any more.")
        if self.status is Status.CANCELLED:
            raise Rejected("order-cancelled", "This order is cancelled.")

    def changeable(self) -> None:
        """Reject where items can no longer be added."""
        self.living()
        if self.status is Status.PAID:
            raise Rejected("order-paid", "This order is paid, so nothing can be added to it.")


def short_enough(lines: tuple[OrderLine, ...]) -> None:
    """Reject more lines than an order may have."""
    if len(lines) > MAX_LINES:
        raise Rejected("order-too-long", f"An order has at most {MAX_LINES} different items.", limit=MAX_LINES)
