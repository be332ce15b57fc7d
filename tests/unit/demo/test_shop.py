"""The shop as a whole, on a real store: several aggregates in one append, and the views that follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from foldline import Receipt, Rejected, Running, ValidationFailed
from foldline.demo.app import shop
from foldline.demo.customers import Address, MoveCustomer, RegisterCustomer, RenameCustomer
from foldline.demo.orders import AddItem, CancelOrder, Item, Order, PayOrder, PlaceOrder, ShipOrder, Status
from foldline.demo.products import AddProduct, ChangePrice, Product, ReceiveStock
from foldline.demo.queries import (
    Customers,
    OrderOf,
    OrdersOf,
    SalesPerDay,
    SearchOrders,
    ShopFigures,
    StatisticsOf,
    Stock,
)
from foldline.demo.serve import open_shop
from foldline.errors import UnknownName

HOME = Address("Mill Race 7", "8010", "Grauwald", "Austria")
WORK = Address("Kiln Lane 3", "3001", "Isola Bassa", "Italy")


def in_shop(folder: Path, work: Callable[[Running], Awaitable[None]]) -> None:
    """Do something in a shop with two customers and two products, of each of which there are five."""

    async def live() -> None:
        async with open_shop(f"sqlite:{folder / 'shop.db'}") as running:
            await running.execute(RegisterCustomer("ada", "Ada Oakes", "ada@example.com", HOME))
            await running.execute(RegisterCustomer("ben", "Ben Quill", "ben@example.org", WORK))
            for product, price in (("awl", "12.70"), ("press", "148.00")):
                await running.execute(AddProduct(product, product.title(), "Tools", Decimal(price)))
                await running.execute(ReceiveStock(product, 5))
            await work(running)

    asyncio.run(live())


async def order(running: Running, order_id: str, *items: tuple[str, int], customer: str = "ada") -> Receipt:
    wanted = tuple(Item(product, quantity) for product, quantity in items)
    return await running.execute(PlaceOrder(order_id, customer, wanted))


def test_an_order_and_its_stock_are_recorded_together(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        receipt = await order(running, "o-1", ("awl", 2), ("press", 1))
        assert (receipt.stream, receipt.version, len(receipt.event_ids)) == ("order-o-1", 1, 3)
        assert (await running.load(Product, "awl")).available == 3
        before = await running.position()
        with pytest.raises(Rejected, match="Only 3 of Awl left") as refused:
            await order(running, "o-2", ("press", 1), ("awl", 4))
        assert refused.value.code == "out-of-stock"
        assert await running.position() == before, "nothing of a refused order is recorded"
        assert (await running.load(Order, "o-2")).status is Status.NEW

    in_shop(tmp_path, work)


def test_the_last_ones_are_sold_once(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        async def attempt(number: int) -> bool:
            try:
                await order(running, f"o-{number}", ("awl", 1), ("press", 1), customer=("ada", "ben")[number % 2])
            except Rejected as refused:
                assert refused.code == "out-of-stock"
                return False
            return True

        sold = await asyncio.gather(*(attempt(number) for number in range(40)))
        assert sum(sold) == 5
        for level in await running.ask(Stock(), after=await running.position()):
            assert (level.available, level.sold) == (0, 5)

    in_shop(tmp_path, work)


def test_adding_and_cancelling_move_stock_and_charge(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        await order(running, "o-1", ("awl", 1))
        assert (await running.load(Order, "o-1")).total == Decimal("17.60")
        await running.execute(AddItem("o-1", "press", 1))
        loaded = await running.load(Order, "o-1")
        assert (loaded.delivery, loaded.total) == (Decimal("0.00"), Decimal("160.70"))
        paid = await running.execute(PayOrder("o-1"))
        receipt = await running.execute(CancelOrder("o-1", "Changed my mind"), expected_version=paid.version)
        assert (await running.load(Product, "awl")).available == 5
        details = await running.ask(OrderOf("o-1"), after=receipt)
        assert details.payment is not None
        assert details.payment.refunded == Decimal("160.70")
        assert [moment.event for moment in details.timeline] == [
            "OrderPlaced", "OrderItemAdded", "OrderPaid", "OrderCancelled",
        ]  # fmt: skip
        ada = await running.ask(StatisticsOf("ada"), after=receipt)
        assert (ada.orders, ada.open_orders, ada.cancelled_orders, ada.spent) == (1, 0, 1, Decimal("0.00"))

    in_shop(tmp_path, work)


def test_an_order_keeps_what_it_was_placed_with(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        await order(running, "o-1", ("awl", 1))
        await running.execute(RenameCustomer("ada", "Ada Penrose", "penrose@example.com"))
        await running.execute(MoveCustomer("ada", WORK))
        receipt = await running.execute(ChangePrice("awl", Decimal("15.00")))
        details = await running.ask(OrderOf("o-1"), after=receipt)
        assert (details.customer_name, details.shipping_address, details.total) == (
            "Ada Oakes", HOME, Decimal("17.60"),
        )  # fmt: skip
        assert (await running.ask(StatisticsOf("ada"), after=receipt)).name == "Ada Penrose"
        receipt = await running.execute(PlaceOrder("o-2", "ada", (Item("awl"),), ship_to=HOME))
        details = await running.ask(OrderOf("o-2"), after=receipt)
        assert (details.billing_address, details.shipping_address) == (WORK, HOME)
        assert details.lines[0].unit_price == Decimal("15.00")

    in_shop(tmp_path, work)


def test_a_command_sent_twice_is_carried_out_once(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        command = PlaceOrder("o-1", "ada", (Item("awl", 2),))
        first = await running.execute(command, command_id="k-1")
        second = await running.execute(command, command_id="k-1")
        assert second.replayed
        assert (second.position, second.event_ids) == (first.position, first.event_ids)
        assert (await running.load(Product, "awl")).available == 3

    in_shop(tmp_path, work)


def test_the_same_product_twice_is_one_line(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        receipt = await order(running, "o-1", ("awl", 1), ("awl", 2))
        details = await running.ask(OrderOf("o-1"), after=receipt)
        assert [line.quantity for line in details.lines] == [3]
        assert (await running.load(Product, "awl")).available == 2

    in_shop(tmp_path, work)


def test_what_does_not_fit_is_refused_before_anything_is_decided(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        with pytest.raises(ValidationFailed):
            await order(running, "o-1", ("awl", 0))
        with pytest.raises(ValidationFailed):
            await running.execute(RegisterCustomer("cleo", "Cleo", "no address", HOME))
        for items, customer, code in (
            ((), "ada", "order-empty"),
            ((("glue", 1),), "ada", "product-unknown"),
            ((("awl", 1),), "nobody", "customer-unknown"),
        ):
            with pytest.raises(Rejected) as refused:
                await order(running, "o-1", *items, customer=customer)
            assert refused.value.code == code
        with pytest.raises(UnknownName):
            await running.ask(OrderOf("nothing"))
        with pytest.raises(UnknownName):
            await running.ask(StatisticsOf("nobody"))

    in_shop(tmp_path, work)


def test_orders_are_found(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        await order(running, "o-1", ("awl", 1))
        await order(running, "o-2", ("press", 1), customer="ben")
        await order(running, "o-3", ("awl", 2), customer="ben")
        await running.execute(PayOrder("o-2"))
        receipt = await running.execute(ShipOrder("o-2", "Heron Post"))
        today = datetime.now(UTC).date()

        async def found(query: SearchOrders) -> list[str]:
            page = await running.ask(query, after=receipt)
            return [one.order_id for one in page.items]

        assert await found(SearchOrders()) == ["o-3", "o-2", "o-1"]
        assert await found(SearchOrders(status=Status.SHIPPED)) == ["o-2"]
        assert await found(SearchOrders(email="EXAMPLE.ORG")) == ["o-3", "o-2"]
        assert await found(SearchOrders(at_least=Decimal("30.30"))) == ["o-3", "o-2"]
        assert await found(SearchOrders(since=today - timedelta(days=1), until=today + timedelta(days=1))) != []
        assert await found(SearchOrders(until=today - timedelta(days=2))) == []
        assert await found(SearchOrders(since=today + timedelta(days=2))) == []

        first = await running.ask(OrdersOf("ben", limit=1), after=receipt)
        second = await running.ask(OrdersOf("ben", limit=1, after=first.next), after=receipt)
        assert [one.order_id for one in (*first.items, *second.items)] == ["o-3", "o-2"]
        assert [one.name for one in (await running.ask(Customers(name="qui"))).items] == ["Ben Quill"]
        figures = await running.ask(ShopFigures(), after=receipt)
        assert (figures.orders, figures.by_status["SHIPPED"], figures.customers) == (3, 1, 2)
        days = await running.ask(SalesPerDay(today - timedelta(days=1), today + timedelta(days=1)), after=receipt)
        assert [(day.paid_orders, day.cents) for day in days] == [(1, 14800)]

    in_shop(tmp_path, work)


def test_half_of_an_order_cannot_be_asked_for() -> None:
    assert {"PlaceOrder", "AddItem", "PayOrder", "ShipOrder", "CancelOrder"} <= set(shop.commands)
    assert not {"OpenOrder", "AddLine", "CloseOrder", "ReserveStock", "ReleaseStock"} & set(shop.commands)


def test_every_view_is_the_same_when_it_is_built_anew(tmp_path: Path) -> None:
    async def work() -> None:
        async with open_shop(f"sqlite:{tmp_path / 'shop.db'}", orders=60) as running:
            head = await running.position()

            async def rows() -> list[object]:
                views = running.views_after(head)
                sales = await running.ask(SalesPerDay(date(2000, 1, 1), date(2100, 1, 1)), after=head)
                return [sales, *[await views.find(view.cls) for view in shop.views.values()]]

            before = await rows()
            assert all(before)
            for name in shop.projections:
                await running.projections.rebuild(name)
            assert await rows() == before

    asyncio.run(work())
