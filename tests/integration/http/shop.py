"""A small shop that the HTTP tests serve."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from foldline import (
    DELETE,
    Aggregate,
    App,
    Command,
    Context,
    Event,
    Forbidden,
    Index,
    Meta,
    Page,
    Query,
    Rejected,
    View,
    Views,
    answers,
    applies,
    handles,
    projects,
)
from foldline.projection.view import Delete


class Status(StrEnum):
    """Where an order is."""

    NEW = "NEW"
    PLACED = "PLACED"
    PAID = "PAID"


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many of one thing."""

    sku: str
    quantity: Annotated[int, Meta(ge=1, le=1000)]
    price: Decimal = Decimal(0)


class OrderPlaced(Event):
    order_id: str
    customer_id: str
    lines: tuple[Line, ...]


class OrderPaid(Event):
    order_id: str


class OrderForgotten(Event):
    order_id: str
    customer_id: str


class PlaceOrder(Command):
    """Place an order."""

    order_id: str
    customer_id: str
    lines: Annotated[tuple[Line, ...], Meta(min_length=1)]


class PayOrder(Command):
    order_id: str


class ForgetOrder(Command):
    order_id: str


class Untouchable(Command):
    order_id: str


class PayTwo(Command):
    first: str
    second: str


class Order(Aggregate, id="order_id"):
    status: Status = Status.NEW
    customer_id: str = ""

    @handles
    def place(self, command: PlaceOrder) -> OrderPlaced:
        if self.status is not Status.NEW:
            raise Rejected("already-placed", "This order is already placed.", status=self.status, total=Decimal("1.5"))
        return OrderPlaced(command.order_id, command.customer_id, command.lines)

    @handles
    def pay(self, command: PayOrder) -> OrderPaid:
        if self.status is not Status.PLACED:
            raise Rejected("not-payable", f"An order that is {self.status} cannot be paid.")
        return OrderPaid(command.order_id)

    @handles
    def forget(self, command: ForgetOrder) -> OrderForgotten:
        return OrderForgotten(command.order_id, self.customer_id)

    @handles
    def touch(self, command: Untouchable) -> None:
        raise ZeroDivisionError("a secret of the server's")

    @applies
    def placed(self, event: OrderPlaced) -> None:
        self.status, self.customer_id = Status.PLACED, event.customer_id

    @applies
    def paid(self, event: OrderPaid) -> None:
        self.status = Status.PAID


@handles
async def pay_two(command: PayTwo, ctx: Context) -> None:
    await ctx.decide(PayOrder(command.first))
    await ctx.decide(PayOrder(command.second))


class OrderSummary(View, key="order_id"):
    """Orders as a list shows them."""

    order_id: str
    customer_id: Annotated[str, Index()] = ""
    status: Status = Status.NEW
    items: int = 0
    total: Decimal = Decimal(0)

    @projects
    def placed(self, event: OrderPlaced) -> None:
        self.customer_id, self.status = event.customer_id, Status.PLACED
        self.items = sum(line.quantity for line in event.lines)
        self.total = sum((line.price * line.quantity for line in event.lines), Decimal(0))

    @projects
    def paid(self, event: OrderPaid) -> None:
        self.status = Status.PAID

    @projects
    def forgotten(self, event: OrderForgotten) -> Delete:
        return DELETE


class Sold(View, key="sku"):
    """How often each thing was ordered."""

    sku: str
    times: int = 0

    @projects(keys=lambda event: [line.sku for line in event.lines])
    def placed(self, event: OrderPlaced) -> None:
        self.times += 1


class Day(msgspec.Struct, frozen=True):
    """A part of a query that no plain text can say."""

    year: int
    month: int = 1


class OrdersOf(Query[Page[OrderSummary]]):
    """The orders of a customer."""

    customer_id: str
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    after: str | None = None


class Echo(Query[dict[str, str]]):
    """Shows how parameters are read."""

    numbers: tuple[int, ...] = ()
    flag: bool | None = None
    amount: Decimal | None = None
    day: Day | None = None
    status: Status | None = None


class Broken(Query[int]):
    """Always fails."""


class Secret(Query[str]):
    """Only for the owner."""


@answers
async def orders_of(query: OrdersOf, views: Views) -> Page[OrderSummary]:
    return await views.page(OrderSummary, customer_id=query.customer_id, limit=query.limit, after=query.after)


@answers
async def echo(query: Echo, views: Views) -> dict[str, str]:
    return {name: str(getattr(query, name)) for name in query.__struct_fields__}


@answers
async def broken(query: Broken, views: Views) -> int:
    raise RuntimeError("a secret of the server's")


@answers
async def secret(query: Secret, views: Views) -> str:
    return "you own it"


def authorize(actor: str | None, message: object) -> None:
    """Secrets are for the owner."""
    if isinstance(message, Secret) and actor != "owner":
        raise Forbidden("Only the owner may ask for secrets.")


shop = App(
    "shop",
    Order,
    pay_two,
    OrderSummary,
    Sold,
    orders_of,
    echo,
    broken,
    secret,
    authorize=authorize,
)
