"""Commands for an order and its products at once: decided in each, recorded together or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from foldline import Context, handles
from foldline.demo.customers import Customer
from foldline.demo.orders import (
    AddItem,
    AddLine,
    CancelOrder,
    CloseOrder,
    Item,
    OpenOrder,
    Order,
    OrderLine,
    PlaceOrder,
    total_of,
    with_line,
)
from foldline.demo.products import Product, ReleaseStock, ReserveStock


class Terms(msgspec.Struct, frozen=True):
    """What the shop charges for delivery: nothing from ``free_from`` on."""

    currency: str
    delivery: Decimal
    free_from: Decimal


class Pricing:
    """A service that handlers await, and aggregates never do: it stands for something outside."""

    def __init__(self, terms: Terms | None = None) -> None:
        self._terms = terms or Terms("EUR", Decimal("4.90"), Decimal("60.00"))

    async def terms(self) -> Terms:
        """The terms of today."""
        return self._terms

    async def delivery(self, lines: Iterable[OrderLine]) -> Decimal:
        """The delivery charge for an order of these lines."""
        return Decimal("0.00") if total_of(lines) >= self._terms.free_from else self._terms.delivery


@handles
async def place_order(command: PlaceOrder, ctx: Context, pricing: Pricing) -> None:
    """Open the order at today's prices, and reserve the stock."""
    await ctx.load(Order, command.order_id)  # first, so that the receipt tells the order's stream and version
    customer = await ctx.load(Customer, command.customer_id)
    address = customer.known()
    lines: tuple[OrderLine, ...] = ()
    for item in command.items:
        lines = with_line(lines, await priced(item, ctx))
    await ctx.decide(
        OpenOrder(
            order_id=command.order_id,
            customer_id=command.customer_id,
            customer_name=customer.name,
            customer_email=customer.email,
            lines=lines,
            delivery=await pricing.delivery(lines),
            currency=(await pricing.terms()).currency,
            billing_address=address,
            shipping_address=command.ship_to or address,
        )
    )
    for line in lines:
        await ctx.decide(ReserveStock(line.product_id, line.quantity, command.order_id))


@handles
async def add_item(command: AddItem, ctx: Context, pricing: Pricing) -> None:
    """Add an item at today's price, and reserve its stock."""
    order = await ctx.load(Order, command.order_id)
    order.changeable()
    line = await priced(Item(command.product_id, command.quantity), ctx)
    delivery = await pricing.delivery(with_line(order.lines, line))
    await ctx.decide(AddLine(command.order_id, line, delivery))
    await ctx.decide(ReserveStock(line.product_id, line.quantity, command.order_id))


@handles
async def cancel_order(command: CancelOrder, ctx: Context) -> None:
    """Cancel the order, and give its stock back."""
    order = await ctx.load(Order, command.order_id)
    await ctx.decide(CloseOrder(command.order_id, command.reason))
    for line in order.lines:
        await ctx.decide(ReleaseStock(line.product_id, line.quantity, command.order_id))


async def priced(item: Item, ctx: Context) -> OrderLine:
    """The item as an order's line, at the product's price."""
    product = await ctx.load(Product, item.product_id)
    product.known()
    return OrderLine(item.product_id, product.name, item.quantity, product.price)
