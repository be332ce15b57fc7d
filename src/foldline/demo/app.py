"""The shop as an application: its parts and its one service."""

from __future__ import annotations

from foldline import App
from foldline.demo import queries
from foldline.demo.checkout import Pricing, add_item, cancel_order, place_order
from foldline.demo.customers import Customer
from foldline.demo.orders import Order
from foldline.demo.products import Product
from foldline.demo.views import CustomerStatistics, DailySales, OrderDetails, OrderSummary, StockLevel

shop = App(
    "valleyfold",
    Customer,
    Product,
    Order,
    place_order,
    add_item,
    cancel_order,
    OrderSummary,
    OrderDetails,
    CustomerStatistics,
    StockLevel,
    DailySales,
    queries.orders_of,
    queries.search_orders,
    queries.order_of,
    queries.statistics_of,
    queries.customers,
    queries.stock,
    queries.delivery_terms,
    queries.shop_figures,
    queries.sales_per_day,
    services=[Pricing()],
)
