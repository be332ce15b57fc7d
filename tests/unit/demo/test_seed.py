"""The seeded year: the same every time, possible, spread out, and in agreement with itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from foldline.demo.orders import Item, PlaceOrder, total_of
from foldline.demo.seed import plan
from foldline.demo.serve import open_shop
from foldline.demo.views import OrderDetails, OrderSummary, StockLevel

UNTIL = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_same_arguments_plan_the_same_year() -> None:
    assert plan(300, UNTIL, 7) == plan(300, UNTIL, 7)
    assert plan(300, UNTIL, 7) != plan(300, UNTIL, 8)


def test_a_year_holds_about_as_many_orders_as_asked_for() -> None:
    steps = plan(3000, UNTIL, 7)
    placed = [step.at for step in steps if isinstance(step.command, PlaceOrder)]
    assert 2900 <= len(placed) <= 3000
    assert UNTIL - timedelta(days=365) <= min(placed) < UNTIL - timedelta(days=350)
    assert UNTIL - timedelta(days=2) < max(placed) < UNTIL
    assert len({moment.date() for moment in placed}) > 350


def test_a_seeded_shop_agrees_with_itself(tmp_path: Path) -> None:
    async def work() -> None:
        url = f"sqlite:{tmp_path / 'shop.db'}"
        told: list[tuple[int, int]] = []
        async with open_shop(url, orders=250, until=UNTIL, progress=lambda *done: told.append(done)) as running:
            assert told[-1][0] == told[-1][1] == len(told)
            head = await running.position()
            views = running.views_after(head)
            orders = await views.find(OrderSummary)
            details = {one.order_id: one for one in await views.find(OrderDetails)}
            assert len(orders) == len(details) > 230
            reserved: Counter[str] = Counter()
            for order in orders:
                one = details[order.order_id]
                assert order.total == one.total == total_of(one.lines) + one.delivery
                assert order.items == sum(line.quantity for line in one.lines)
                assert order.status == one.status
                assert order.placed_at == one.timeline[0].at
                assert one.version == len(one.timeline)
                times = [moment.at for moment in one.timeline]
                assert times == sorted(times)
                assert UNTIL - timedelta(days=366) <= times[0] <= times[-1] <= UNTIL
                if order.status != "CANCELLED":
                    reserved.update({line.product_id: line.quantity for line in one.lines})
            for level in await views.find(StockLevel):
                assert level.available >= 0
                assert level.sold == reserved[level.product_id]
                assert level.price > Decimal(0)
            assert len({order.placed_at for order in orders}) > 0.9 * len(orders), "the times are spread out"
            assert {"PAID", "SHIPPED", "CANCELLED"} <= {order.status for order in orders}

        async with open_shop(url, orders=250) as running:
            assert await running.position() == head, "a shop that has events is left as it is"

    asyncio.run(work())


def test_a_shop_without_orders_can_take_its_first(tmp_path: Path) -> None:
    async def work() -> None:
        async with open_shop(f"sqlite:{tmp_path / 'shop.db'}", orders=0) as running:
            head = await running.position()
            levels = await running.views_after(head).find(StockLevel)
            assert levels
            assert all(level.available for level in levels)
            receipt = await running.execute(PlaceOrder("first", "c-0001", (Item(levels[0].product_id),)))
            assert await running.views_after(receipt).count(OrderSummary) == 1

    asyncio.run(work())
