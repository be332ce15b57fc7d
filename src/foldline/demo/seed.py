"""Fills an empty shop with a believable year: plans it, then gives every command at its own time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from foldline import Command, Running
from foldline.demo.catalogue import CARRIERS, FAMILY, GIVEN, REASONS, STREETS, TOWNS, WARES, Ware
from foldline.demo.customers import Address, RegisterCustomer, RenameCustomer
from foldline.demo.orders import AddItem, CancelOrder, Item, Method, PayOrder, PlaceOrder, ShipOrder
from foldline.demo.products import AddProduct, ChangePrice, ReceiveStock

LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"

HOURS = (1, 0, 0, 0, 0, 1, 3, 6, 9, 11, 12, 11, 13, 12, 10, 9, 9, 11, 14, 17, 18, 14, 8, 3)
"""How likely an order is in each hour of a day."""


class ShopClock:
    """A store's clock that tells the real time, or, while a seed moves it, the time that it was set to."""

    def __init__(self) -> None:
        self._set: datetime | None = None

    def __call__(self) -> datetime:
        return self._set or datetime.now(UTC)

    def set(self, moment: datetime | None) -> None:
        """Stand still at a moment; with None, go on with the real time."""
        self._set = moment


class Step(NamedTuple):
    """A command, and when it is given."""

    at: datetime
    command: Command


async def seed(
    running: Running,
    clock: ShopClock,
    *,
    orders: int = 3000,
    until: datetime | None = None,
    seed: int = 7,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Give the commands of a year of about that many orders; how many commands it took.

    The year ends at ``until`` (now); the same arguments give the same year. ``clock`` is the one that the
    store was opened with. ``progress`` is told how many commands are done, and of how many.
    """
    steps = plan(orders, until or datetime.now(UTC), seed)
    try:
        for done, step in enumerate(steps, start=1):
            # One after the other, for what is committed together is recorded at one and the same time.
            clock.set(step.at)
            await running.execute(step.command, actor="seed")
            if progress is not None:
                progress(done, len(steps))
    finally:
        clock.set(None)
    return len(steps)


def plan(orders: int, until: datetime, seed: int) -> list[Step]:
    """The commands of the year that ends at ``until``, in the order of their times."""
    # Invented orders need to be the same every time, not unguessable.
    return _Year(until, random.Random(seed)).steps(orders)  # nosec B311


class _Basket(NamedTuple):
    order_id: str
    items: dict[str, int]


class _Year:
    """Lives through a year of the shop and notes its commands; counts the stock, so that each is possible."""

    def __init__(self, until: datetime, rng: random.Random) -> None:
        self.until = until
        self.start = until - timedelta(days=365)
        self.rng = rng
        self.stock: dict[str, int] = {}
        self.noted: list[Step] = []
        # What is still to come, by time; the counter keeps equal times in the order they were thought of.
        self.agenda: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self.counter = itertools.count()
        self.registered: set[str] = set()
        self.order_ids: set[str] = set()

    def steps(self, orders: int) -> list[Step]:
        self.stock_up()
        customers = [self.customer(number) for number in range(1, max(8, orders // 12) + 1)]
        if not orders:
            for customer in customers:
                self.note(self.start, customer)
        # Few customers order often, most now and then.
        regularity = [1 / (rank + 12) for rank in range(len(customers))]
        for at in sorted(self.order_time() for _ in range(orders)):
            customer = self.rng.choices(customers, regularity)[0]
            self.later(at, partial(self.place, customer))
        while self.agenda and self.agenda[0][0] < self.until:
            at, _, act = heapq.heappop(self.agenda)
            act(at)
        return self.noted

    def later(self, at: datetime, act: Callable[[datetime], None]) -> None:
        heapq.heappush(self.agenda, (at, next(self.counter), act))

    def note(self, at: datetime, command: Command) -> None:
        self.noted.append(Step(at, command))

    # --- Wares ---------------------------------------------------------------------------------------------

    def stock_up(self) -> None:
        at = self.start - timedelta(days=1)
        for ware in WARES:
            self.note(at, AddProduct(ware.product_id, ware.name, ware.section, ware.price))
        for ware in WARES:
            quantity = self.rng.randint(8, 14) * (ware.weight + 3)
            self.stock[ware.product_id] = quantity
            self.note(at + timedelta(hours=3), ReceiveStock(ware.product_id, quantity))
        for ware in self.rng.sample(WARES, 9):
            dearer = (ware.price * Decimal(self.rng.choice(("1.04", "1.06", "0.9")))).quantize(Decimal("0.1"))
            when = self.start + timedelta(days=self.rng.randint(40, 330), hours=7)
            self.later(when, partial(self.reprice, ware, dearer))

    def reprice(self, ware: Ware, price: Decimal, at: datetime) -> None:
        self.note(at, ChangePrice(ware.product_id, price))

    def take(self, at: datetime, ware: Ware, wanted: int) -> int:
        """Take so many from the stock, after a delivery where there are too few; or fewer, if none comes."""
        if self.stock[ware.product_id] < wanted and ware.restocked:
            quantity = self.rng.randint(6, 12) * (ware.weight + 2)
            self.stock[ware.product_id] += quantity
            self.note(at - timedelta(seconds=1), ReceiveStock(ware.product_id, quantity))
        taken = min(wanted, self.stock[ware.product_id])
        self.stock[ware.product_id] -= taken
        return taken

    # --- Customers -----------------------------------------------------------------------------------------

    def customer(self, number: int) -> RegisterCustomer:
        rng = self.rng
        given, family = rng.choice(GIVEN), rng.choice(FAMILY)
        town, country, postcode = rng.choice(TOWNS)
        host = rng.choice(("example.com", "example.org", "example.net"))
        return RegisterCustomer(
            customer_id=f"c-{number:04}",
            name=f"{given} {family}",
            email=f"{given}.{family}.{number}@{host}".lower(),
            address=Address(f"{rng.choice(STREETS)} {rng.randint(1, 90)}", self.digits(postcode), town, country),
        )

    def digits(self, pattern: str) -> str:
        return pattern % self.rng.randint(1, 99) if "%02d" in pattern else pattern % self.rng.randint(1, 999)

    def rename(self, customer: RegisterCustomer, at: datetime) -> None:
        family = self.rng.choice(FAMILY)
        name = f"{customer.name.split(maxsplit=1)[0]} {family}"
        self.note(at, RenameCustomer(customer.customer_id, name, customer.email))

    # --- Orders --------------------------------------------------------------------------------------------

    def order_time(self) -> datetime:
        """A time in the year: more likely late in it, before the holidays, on weekdays and in the evening."""
        rng = self.rng
        while True:
            day = rng.randrange(366)
            that = (self.start + timedelta(days=day)).date()
            likely = 0.45 + 0.25 * day / 365
            likely *= 1.45 if that.month in (11, 12) else 0.8 if that.month in (7, 8) else 1.0
            likely *= 0.7 if that.weekday() >= 5 else 1.0
            at = self.on(that, rng.choices(range(24), HOURS)[0])
            if rng.random() < likely and self.start <= at < self.until:
                return at

    def on(self, day: date, hour: int) -> datetime:
        return datetime.combine(day, time(hour, self.rng.randrange(60), self.rng.randrange(60)), UTC)

    def place(self, customer: RegisterCustomer, at: datetime) -> None:
        rng = self.rng
        if customer.customer_id not in self.registered:
            self.registered.add(customer.customer_id)
            self.note(at - timedelta(minutes=rng.randint(2, 20)), customer)
            if rng.random() < 0.04:
                self.later(at + timedelta(days=rng.randint(20, 200)), partial(self.rename, customer))
        items: dict[str, int] = {}
        for _ in range(rng.choices(range(1, 7), (30, 28, 20, 12, 7, 3))[0]):
            self.choose(at, items)
        if not items:
            return
        basket = _Basket(self.order_id(), items)
        gift = self.customer(0).address if rng.random() < 0.06 else None
        wanted = tuple(Item(product_id, quantity) for product_id, quantity in items.items())
        self.note(at, PlaceOrder(basket.order_id, customer.customer_id, wanted, gift))
        self.live(at, basket)

    def choose(self, at: datetime, items: dict[str, int]) -> Item | None:
        ware = self.rng.choices(WARES, [ware.weight for ware in WARES])[0]
        if ware.product_id in items:
            return None
        few = self.rng.choices((1, 2, 3, 5), (70, 18, 8, 4))[0] if ware.price < 40 else 1
        taken = self.take(at, ware, few)
        if not taken:
            return None
        items[ware.product_id] = taken
        return Item(ware.product_id, taken)

    def live(self, at: datetime, basket: _Basket) -> None:
        """Decide what becomes of an order."""
        rng = self.rng
        added = at
        if rng.random() < 0.12:
            added = at + timedelta(minutes=rng.randint(1, 25), seconds=rng.randrange(60))
            self.later(added, lambda at: self.add(at, basket))
        fate = rng.random()
        if fate < 0.035:
            deadline = at + timedelta(days=7, minutes=rng.randrange(240))
            self.later(deadline, lambda at: self.cancel(at, basket, "Not paid within seven days"))
            return
        if fate < 0.055:
            self.later(
                added + timedelta(minutes=rng.randint(3, 600)),
                lambda at: self.cancel(at, basket, rng.choice(REASONS)),
            )
            return
        method: Method = rng.choices(("card", "transfer", "voucher"), (72, 24, 4))[0]
        by_transfer = method == "transfer"
        wait = timedelta(hours=rng.randint(14, 70)) if by_transfer else timedelta(seconds=rng.randint(40, 900))
        paid = added + wait
        self.later(paid, lambda at: self.note(at, PayOrder(basket.order_id, method)))
        if fate < 0.07:
            regret = paid + timedelta(hours=rng.randint(1, 12))
            self.later(regret, lambda at: self.cancel(at, basket, rng.choice(REASONS)))
            return
        shipped = paid + timedelta(days=rng.choices((1, 2, 3, 5), (50, 30, 15, 5))[0])
        # Parcels leave on weekdays, between nine and four.
        shipped = self.on(shipped.date(), rng.randint(9, 15))
        shipped += timedelta(days=max(0, 7 - shipped.weekday()) if shipped.weekday() >= 5 else 0)
        carrier, prefix = rng.choice(CARRIERS)
        command = ShipOrder(basket.order_id, carrier, f"{prefix}{rng.randrange(10**8):08}")
        self.later(shipped, lambda at: self.note(at, command))

    def add(self, at: datetime, basket: _Basket) -> None:
        item = self.choose(at, basket.items)
        if item is not None:
            self.note(at, AddItem(basket.order_id, item.product_id, item.quantity))

    def cancel(self, at: datetime, basket: _Basket, reason: str) -> None:
        for product_id, quantity in basket.items.items():
            self.stock[product_id] += quantity
        self.note(at, CancelOrder(basket.order_id, reason))

    def order_id(self) -> str:
        while True:
            one = "".join(self.rng.choices(LETTERS, k=6))
            if one not in self.order_ids:
                self.order_ids.add(one)
                return one
