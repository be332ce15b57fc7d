"""A query's answer has the type its class declares, and a receipt is what `after` takes."""

from decimal import Decimal
from typing import Annotated, assert_type

from foldline import (
    Aggregate,
    App,
    Command,
    Event,
    Index,
    Page,
    Query,
    Receipt,
    View,
    Views,
    answers,
    applies,
    handles,
    projects,
)


class OrderPlaced(Event):
    order_id: str
    customer_id: str


class PlaceOrder(Command):
    order_id: str
    customer_id: str


class Order(Aggregate, id="order_id"):
    customer_id: str = ""

    @handles
    def place(self, command: PlaceOrder):  # type: ignore[no-untyped-def]  # left untyped, as the quickstart has it
        yield OrderPlaced(command.order_id, command.customer_id)

    @applies
    def placed(self, event: OrderPlaced) -> None:
        self.customer_id = event.customer_id


class OrderSummary(View, key="order_id"):
    order_id: str
    customer_id: Annotated[str, Index()] = ""
    total: Decimal = Decimal(0)

    @projects
    def placed(self, event: OrderPlaced) -> None:
        self.customer_id = event.customer_id


class OrdersOf(Query[Page[OrderSummary]]):
    customer_id: str


class OrderCount(Query[int]):
    customer_id: str


@answers
async def orders_of(query: OrdersOf, views: Views) -> Page[OrderSummary]:
    return await views.page(OrderSummary, customer_id=query.customer_id, order_by="-order_id")


@answers
async def order_count(query: OrderCount, views: Views) -> int:
    return await views.count(OrderSummary, customer_id=query.customer_id)


shop = App("shop", Order, OrderSummary, orders_of, order_count)


async def main() -> None:
    async with shop.open("memory:") as running:
        receipt = await running.execute(PlaceOrder("o-1", "c-1"))
        assert_type(receipt, Receipt)
        assert_type(await running.ask(OrdersOf("c-1"), after=receipt), Page[OrderSummary])
        assert_type(await running.ask(OrderCount("c-1")), int)


def main_sync() -> None:
    with shop.open_sync("memory:") as running:
        receipt = running.execute(PlaceOrder("o-1", "c-1"))
        assert_type(receipt, Receipt)
        assert_type(running.ask(OrdersOf("c-1"), after=receipt), Page[OrderSummary])
