"""The shop's rules, one aggregate at a time: what a command leads to, given what has happened."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from foldline import Command, Event, Rejected, fold
from foldline.demo.customers import Address, Customer, CustomerRegistered, MoveCustomer, RenameCustomer
from foldline.demo.orders import (
    AddLine,
    CloseOrder,
    OpenOrder,
    Order,
    OrderCancelled,
    OrderItemAdded,
    OrderLine,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    PayOrder,
    ShipOrder,
    with_line,
)
from foldline.demo.products import (
    AddProduct,
    ChangePrice,
    Product,
    ProductAdded,
    ReceiveStock,
    ReserveStock,
    StockReceived,
    StockReserved,
)
from foldline.domain.aggregate import aggregate_type
from foldline.domain.decider import run

HOME = Address("Mill Race 7", "8010", "Grauwald", "Austria")
LINE = OrderLine("awl", "Awl", 2, Decimal("12.70"))
OPEN = OpenOrder("o", "c", "Ada", "ada@example.com", (LINE,), Decimal("4.90"), "EUR", HOME, HOME)
PLACED = OrderPlaced("o", "c", "Ada", "ada@example.com", (LINE,), Decimal("4.90"), "EUR", HOME, HOME)
PAID = OrderPaid("o", "c", Decimal("30.30"), "EUR", "card")
SHIPPED = OrderShipped("o", "c", "Heron Post", "HP1")
CANCELLED = OrderCancelled("o", "c", "Changed my mind", Decimal(0))
MORE = AddLine("o", OrderLine("ink", "Ink", 1, Decimal("13.80")), Decimal("4.90"))
PAY, SHIP, CLOSE = PayOrder("o"), ShipOrder("o", "Heron Post", "HP1"), CloseOrder("o", "Changed my mind")


def decided(aggregate: type[Any], given: list[Event], command: Command) -> list[Event]:
    decider = aggregate_type(aggregate).decider
    events, _ = run(decider, command, fold(decider, given))
    return events


@pytest.mark.parametrize(
    ("given", "command", "expected"),
    [
        ([], OPEN, [PLACED]),
        ([PLACED], MORE, [OrderItemAdded("o", "c", MORE.line, Decimal("4.90"))]),
        ([PLACED], PAY, [PAID]),
        ([PLACED, PAID], SHIP, [SHIPPED]),
        ([PLACED], CLOSE, [CANCELLED]),
        ([PLACED, PAID], CLOSE, [OrderCancelled("o", "c", "Changed my mind", Decimal("30.30"))]),
    ],
)
def test_an_order_lives(given: list[Event], command: Command, expected: list[Event]) -> None:
    assert decided(Order, given, command) == expected


@pytest.mark.parametrize(
    ("given", "command", "code"),
    [
        ([PLACED], OPEN, "order-exists"),
        ([], PAY, "order-unknown"),
        ([], MORE, "order-unknown"),
        ([], CLOSE, "order-unknown"),
        ([PLACED], SHIP, "order-not-paid"),
        ([PLACED, PAID], PAY, "order-paid"),
        ([PLACED, PAID], MORE, "order-paid"),
        ([PLACED, PAID, SHIPPED], CLOSE, "order-shipped"),
        ([PLACED, PAID, SHIPPED], SHIP, "order-shipped"),
        ([PLACED, PAID, SHIPPED], MORE, "order-shipped"),
        ([PLACED, CANCELLED], PAY, "order-cancelled"),
        ([PLACED, CANCELLED], CLOSE, "order-cancelled"),
    ],
)
def test_an_order_refuses(given: list[Event], command: Command, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        decided(Order, given, command)
    assert refused.value.code == code


def test_an_order_is_neither_empty_nor_too_long() -> None:
    def opening(count: int) -> OpenOrder:
        lines = tuple(OrderLine(f"p-{number}", "A thing", 1, Decimal(1)) for number in range(count))
        return OpenOrder("o", "c", "Ada", "ada@example.com", lines, Decimal(0), "EUR", HOME, HOME)

    assert len(decided(Order, [], opening(10))) == 1
    for count, code in ((0, "order-empty"), (11, "order-too-long")):
        with pytest.raises(Rejected) as refused:
            decided(Order, [], opening(count))
        assert refused.value.code == code
    ten = decided(Order, [], opening(10))
    with pytest.raises(Rejected) as refused:
        decided(Order, ten, MORE)
    assert refused.value.code == "order-too-long"
    again = AddLine("o", OrderLine("p-3", "A thing", 4, Decimal(1)), Decimal(0))
    assert len(decided(Order, ten, again)) == 1, "more of a thing that is there is no new line"


def test_the_same_at_the_same_price_is_one_line() -> None:
    assert with_line((LINE,), LINE) == (OrderLine("awl", "Awl", 4, Decimal("12.70")),)
    dearer = OrderLine("awl", "Awl", 1, Decimal("13.20"))
    assert with_line((LINE,), dearer) == (LINE, dearer)


ADDED = ProductAdded("awl", "Awl", "Tools", Decimal("12.70"))


def test_stock_is_reserved_as_far_as_it_goes() -> None:
    given: list[Event] = [ADDED, StockReceived("awl", 5), StockReserved("awl", 2, "o-1")]
    assert decided(Product, given, ReserveStock("awl", 3, "o")) == [StockReserved("awl", 3, "o")]
    with pytest.raises(Rejected) as refused:
        decided(Product, given, ReserveStock("awl", 4, "o"))
    assert (refused.value.code, refused.value.details["available"]) == ("out-of-stock", 3)
    assert str(refused.value) == "Only 3 of Awl left; you asked for 4."


@pytest.mark.parametrize("price", ["0", "-1", "1.005", "Infinity"])
def test_a_price_is_in_whole_cents(price: str) -> None:
    for given, command in (
        ([], AddProduct("awl", "Awl", "Tools", Decimal(price))),
        ([ADDED], ChangePrice("awl", Decimal(price))),
    ):
        with pytest.raises(Rejected) as refused:
            decided(Product, list(given), command)
        assert refused.value.code == "price-invalid"


def test_what_is_not_there_is_refused() -> None:
    for aggregate, command, code in (
        (Product, ReceiveStock("awl", 1), "product-unknown"),
        (Customer, RenameCustomer("c", "Ada", "ada@example.com"), "customer-unknown"),
        (Customer, MoveCustomer("c", HOME), "customer-unknown"),
    ):
        with pytest.raises(Rejected) as refused:
            decided(aggregate, [], command)
        assert refused.value.code == code


def test_a_change_to_what_is_already_so_records_nothing() -> None:
    known = CustomerRegistered("c", "Ada", "ada@example.com", HOME)
    assert decided(Customer, [known], RenameCustomer("c", "Ada", "ada@example.com")) == []
    assert decided(Customer, [known], MoveCustomer("c", HOME)) == []
    assert decided(Product, [ADDED], ChangePrice("awl", Decimal("12.70"))) == []
