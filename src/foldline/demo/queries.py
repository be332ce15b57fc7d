"""What can be asked of the shop, and from which views it is answered."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from foldline import Meta, Page, Query, Views, answers
from foldline.demo.checkout import Pricing, Terms
from foldline.demo.orders import Status
from foldline.demo.views import CustomerStatistics, OrderDetails, OrderSummary, StockLevel
from foldline.errors import UnknownName

Limit = Annotated[int, Meta(ge=1, le=100)]


class OrdersOf(Query[Page[OrderSummary]]):
    """A customer's orders, the latest first."""

    customer_id: str
    after: str | None = None
    limit: Limit = 20


class SearchOrders(Query[Page[OrderSummary]]):
    """Orders that fit all that is given, the latest first. Both days of the range are included, in UTC."""

    status: Status | None = None
    email: str = ""
    at_least: Decimal | None = None
    since: date | None = None
    until: date | None = None
    after: str | None = None
    limit: Limit = 20


class OrderOf(Query[OrderDetails]):
    """One order with all that belongs to it."""

    order_id: str


class StatisticsOf(Query[CustomerStatistics]):
    """What a customer has ordered so far."""

    customer_id: str


class Customers(Query[Page[CustomerStatistics]]):
    """Customers whose name holds the text, by name."""

    name: str = ""
    after: str | None = None
    limit: Limit = 20


class Stock(Query[list[StockLevel]]):
    """All products, by name."""


class DeliveryTerms(Query[Terms]):
    """What delivery costs."""


class Figures(msgspec.Struct, frozen=True):
    """The shop in numbers: how many orders are in which status, and how many of each there are in all."""

    orders: int
    by_status: dict[str, int]
    customers: int
    sold_out: int


class ShopFigures(Query[Figures]):
    """The shop in numbers."""


class Takings(msgspec.Struct, frozen=True):
    """What one day brought in."""

    day: str
    paid_orders: int
    cents: int


class SalesPerDay(Query[list[Takings]]):
    """The takings of each day on which there were any, in order; both days are included."""

    since: date
    until: date


@answers
async def orders_of(query: OrdersOf, views: Views) -> Page[OrderSummary]:
    return await views.page(
        OrderSummary,
        customer_id=query.customer_id,
        order_by="-placed_at",
        after=query.after,
        limit=query.limit,
    )


@answers
async def search_orders(query: SearchOrders, views: Views) -> Page[OrderSummary]:
    filters: dict[str, Any] = {}
    if query.status is not None:
        filters["status"] = query.status
    if query.email:
        filters["customer_email__contains"] = query.email
    if query.at_least is not None:
        filters["total__gte"] = query.at_least
    if query.since is not None:
        filters["placed_at__gte"] = datetime.combine(query.since, time(), UTC)
    if query.until is not None:
        filters["placed_at__lt"] = datetime.combine(query.until + timedelta(days=1), time(), UTC)
    return await views.page(OrderSummary, order_by="-placed_at", after=query.after, limit=query.limit, **filters)


@answers
async def order_of(query: OrderOf, views: Views) -> OrderDetails:
    found = await views.get(OrderDetails, query.order_id)
    if found is None:
        raise UnknownName("order", query.order_id)
    return found


@answers
async def statistics_of(query: StatisticsOf, views: Views) -> CustomerStatistics:
    found = await views.get(CustomerStatistics, query.customer_id)
    if found is None:
        raise UnknownName("customer", query.customer_id)
    return found


@answers
async def customers(query: Customers, views: Views) -> Page[CustomerStatistics]:
    filters = {"name__contains": query.name} if query.name else {}
    return await views.page(CustomerStatistics, order_by="name", after=query.after, limit=query.limit, **filters)


@answers
async def stock(query: Stock, views: Views) -> list[StockLevel]:
    return await views.find(StockLevel, order_by="name")


@answers
async def delivery_terms(query: DeliveryTerms, pricing: Pricing) -> Terms:
    return await pricing.terms()


@answers
async def shop_figures(query: ShopFigures, views: Views) -> Figures:
    known = [status for status in Status if status is not Status.NEW]
    by_status = {status.value: await views.count(OrderSummary, status=status) for status in known}
    return Figures(
        orders=sum(by_status.values()),
        by_status=by_status,
        customers=await views.count(CustomerStatistics),
        sold_out=await views.count(StockLevel, available=0),
    )


@answers
async def sales_per_day(query: SalesPerDay, views: Views) -> list[Takings]:
    return await views.sql(
        Takings,
        "SELECT day, paid_orders, cents FROM daily_sales WHERE day BETWEEN ? AND ? ORDER BY day",
        query.since.isoformat(),
        query.until.isoformat(),
    )
