"""Products: what is sold, for how much, and how many are left."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

from foldline import Aggregate, Command, Event, Meta, Rejected, applies, handles
from foldline.demo.customers import Text

Quantity = Annotated[int, Meta(ge=1, le=10_000)]


class ProductAdded(Event):
    product_id: str
    name: str
    section: str
    price: Decimal


class PriceChanged(Event):
    product_id: str
    price: Decimal


class StockReceived(Event):
    product_id: str
    quantity: int


class StockReserved(Event):
    product_id: str
    quantity: int
    order_id: str


class StockReleased(Event):
    product_id: str
    quantity: int
    order_id: str


class AddProduct(Command):
    product_id: Text
    name: Text
    section: Text
    price: Decimal


class ChangePrice(Command):
    product_id: Text
    price: Decimal


class ReceiveStock(Command):
    product_id: Text
    quantity: Quantity


class ReserveStock(Command, internal=True):
    product_id: Text
    quantity: Quantity
    order_id: Text


class ReleaseStock(Command, internal=True):
    product_id: Text
    quantity: Quantity
    order_id: Text


class Product(Aggregate, id="product_id", snapshot_every=100):
    """One product and its stock. Its stream grows by an event an order, so it keeps snapshots."""

    name: str = ""
    price: Decimal = Decimal(0)
    available: int = 0

    @handles
    def add(self, command: AddProduct) -> Iterator[Event]:
        if self.name:
            raise Rejected("product-exists", f"{self.name} is sold under this number already.")
        positive(command.price)
        yield ProductAdded(command.product_id, command.name, command.section, command.price)

    @handles
    def change_price(self, command: ChangePrice) -> Iterator[Event]:
        self.known()
        positive(command.price)
        if command.price != self.price:
            yield PriceChanged(command.product_id, command.price)

    @handles
    def receive(self, command: ReceiveStock) -> Iterator[Event]:
        self.known()
        yield StockReceived(command.product_id, command.quantity)

    @handles
    def reserve(self, command: ReserveStock) -> Iterator[Event]:
        self.known()
        if command.quantity > self.available:
            raise Rejected(
                "out-of-stock",
                f"{self.name} is sold out."
                if not self.available
                else f"Only {self.available} of {self.name} left; you asked for {command.quantity}.",
                product_id=command.product_id,
                available=self.available,
            )
        yield StockReserved(command.product_id, command.quantity, command.order_id)

    @handles
    def release(self, command: ReleaseStock) -> Iterator[Event]:
        self.known()
        yield StockReleased(command.product_id, command.quantity, command.order_id)

    @applies
    def added(self, event: ProductAdded) -> None:
        self.name, self.price = event.name, event.price

    @applies
    def repriced(self, event: PriceChanged) -> None:
        self.price = event.price

    @applies
    def more(self, event: StockReceived | StockReleased) -> None:
        self.available += event.quantity

    @applies
    def less(self, event: StockReserved) -> None:
        self.available -= event.quantity

    def known(self) -> None:
        """Reject where no such product was added."""
        if not self.name:
            raise Rejected("product-unknown", "There is no product of that number.")


def positive(price: Decimal) -> None:
    """Reject a price that is not above zero, or not in whole cents."""
    if not price.is_finite() or price <= 0 or price != round(price, 2):
        raise Rejected("price-invalid", "A price is above zero and in whole cents.", price=str(price))
