"""Asking views: filters and orders checked by the fields, pages by keyset, SQL decoded into types."""

from __future__ import annotations

import asyncio
import enum
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypedDict, assert_type
from uuid import UUID

import msgspec
import pytest

from foldline.domain.message import Event, Query
from foldline.errors import CodecError, DefinitionError, StoreError, ValidationFailed, ViewBehind
from foldline.projection.answers import QueryType, answers, query_type
from foldline.projection.filters import conditions
from foldline.projection.query import Page, Views
from foldline.projection.view import Index, View, projects, view_type
from foldline.store.spi import Condition, Op, Store, Transaction
from tests.unit.stores import STORES, open_store

both = pytest.mark.parametrize("kind", STORES)


class Status(enum.StrEnum):
    NEW = "NEW"
    PAID = "PAID"


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int


class Opened(Event):
    order_id: str


class Order(View, key="order_id", indexes=(("status", "total"),)):
    order_id: str
    customer: Annotated[str, Index()] = ""
    status: Status = Status.NEW
    total: Decimal = Decimal(0)
    count: int = 0
    ratio: float = 0.0
    gift: bool = False
    at: datetime | None = None
    day: date | None = None
    ref: UUID | None = None
    email: str | None = None
    lines: tuple[Line, ...] = ()
    note: bytes = b""

    @projects
    def opened(self, event: Opened) -> None: ...


class Other(View, key="order_id"):
    order_id: str

    @projects
    def opened(self, event: Opened) -> None: ...


ORDER = view_type(Order)
START = datetime(2026, 1, 1, tzinfo=UTC)


def order(at: int) -> Order:
    chance = random.Random(at)
    return Order(
        f"o-{at:03}",
        f"c-{chance.randrange(5)}",
        chance.choice(list(Status)),
        Decimal(chance.randrange(-500, 500)) / 4,
        chance.randrange(10),
        chance.random(),
        chance.random() < 0.5,
        None if chance.random() < 0.3 else START + timedelta(minutes=chance.randrange(50)),
        date(2026, 1, 1 + chance.randrange(28)),
        UUID(int=at),
        None if chance.random() < 0.3 else f"Someone{chance.randrange(4)}%@example.org",
        (Line("a", at),),
        bytes([at % 256]),
    )


ORDERS = [order(at) for at in range(120)]


@asynccontextmanager
async def filled(kind: str) -> AsyncIterator[tuple[Store, Views]]:
    async with open_store(kind) as store:
        await store.prepare(ORDER.spec)

        async def fill(transaction: Transaction) -> None:
            await transaction.upsert(ORDER.table, [ORDER.row(one) for one in ORDERS])

        await store.transact(fill)
        yield store, Views(store, {Order: ORDER})


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


@both
def test_get_finds_the_row_of_a_key(kind: str) -> None:
    async def main() -> None:
        async with filled(kind) as (_, views):
            found = await views.get(Order, "o-007")
            assert_type(found, Order | None)
            assert found == ORDERS[7]
            assert await views.get(Order, "o-999") is None
            with pytest.raises(ValidationFailed, match=r"order_id"):
                await views.get(Order, 7)
            with pytest.raises(DefinitionError, match="has no view Other"):
                await views.get(Other, "o-1")

    run(main)


FILTERS: list[tuple[dict[str, Any], Callable[[Order], bool]]] = [
    ({}, lambda one: True),
    ({"customer": "c-1"}, lambda one: one.customer == "c-1"),
    (
        {"customer": "c-1", "status": Status.PAID},
        lambda one: one.customer == "c-1" and one.status is Status.PAID,
    ),
    ({"status": "PAID"}, lambda one: one.status is Status.PAID),
    ({"status__ne": "PAID"}, lambda one: one.status is not Status.PAID),
    ({"status__in": [Status.NEW, "PAID"]}, lambda one: True),
    ({"status__lt": "O"}, lambda one: one.status is Status.NEW),
    ({"total__gte": 10, "total__lt": Decimal("50.25")}, lambda one: 10 <= one.total < Decimal("50.25")),
    ({"total": Decimal("12.50")}, lambda one: one.total == Decimal("12.5")),
    ({"count__gt": 3, "count__lte": 7}, lambda one: 3 < one.count <= 7),
    ({"count__in": (1, 2)}, lambda one: one.count in (1, 2)),
    ({"count__in": []}, lambda one: False),
    ({"ratio__lt": 0.5}, lambda one: one.ratio < 0.5),
    ({"gift": True}, lambda one: one.gift),
    (
        {"at__gte": START + timedelta(minutes=20)},
        lambda one: bool(one.at and one.at >= START + timedelta(minutes=20)),
    ),
    ({"at__null": True}, lambda one: one.at is None),
    ({"at": None}, lambda one: one.at is None),
    ({"at__ne": None}, lambda one: one.at is not None),
    ({"day__lte": date(2026, 1, 9)}, lambda one: bool(one.day and one.day <= date(2026, 1, 9))),
    ({"ref__eq": UUID(int=5)}, lambda one: one.ref == UUID(int=5)),
    ({"email__contains": "someONE1%@"}, lambda one: bool(one.email and "Someone1%@" in one.email)),
    ({"email__startswith": "Someone2"}, lambda one: bool(one.email and one.email.startswith("Someone2"))),
    ({"email__startswith": "someone2"}, lambda one: False),
    ({"lines__null": False}, lambda one: True),
    ({"note": b"\x05"}, lambda one: one.note == b"\x05"),
]


@both
def test_filters_find_what_they_say(kind: str) -> None:
    async def main() -> None:
        async with filled(kind) as (_, views):
            for filters, fits in FILTERS:
                expected = [one for one in ORDERS if fits(one)]
                assert await views.find(Order, **filters) == expected, filters
                assert await views.count(Order, **filters) == len(expected), filters
            assert [one.order_id for one in await views.find(Order, order_by="-order_id", limit=2)] == [
                "o-119",
                "o-118",
            ]

    run(main)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"nobody": 1}, r"\$.nobody: There is no such field; known are order_id, customer"),
        ({"total__about": 1}, r"\$.total__about: It cannot be filtered so; known are total__eq"),
        ({"count__contains": "1"}, "cannot be filtered so"),
        ({"lines": []}, "known are lines__null"),
        ({"count": "1"}, "Expected `int`, got `str`"),
        ({"count": 2**63}, "9223372036854775807"),
        ({"total__gte": "much"}, "decimal"),
        ({"ratio": float("nan")}, "NaN"),
        ({"status": "GONE"}, "GONE"),
        ({"at__gte": datetime(2026, 1, 1)}, "without a UTC offset"),  # noqa: DTZ001
        ({"customer": "\ud800"}, "surrogate"),
        ({"customer__in": "c-1"}, "Expected a list"),
        ({"count__in": range(1001)}, "1000 are the most"),
        ({"at__null": "yes"}, "Expected `bool`"),
    ],
)
def test_filters_that_do_not_fit_are_refused_with_their_path(filters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationFailed, match=said):
        conditions(ORDER, filters)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ValidationFailed) as refused:
        conditions(ORDER, {"nobody": 1, "count": "x", "customer": "c"})
    assert [fault.path for fault in refused.value.faults] == ["$.nobody", "$.count"]


def test_values_are_read_from_text_where_asked() -> None:
    given = {
        "count__gte": "5", "total": "1.50", "gift": "true", "at__null": "false", "day": "2026-01-02",
        "at__lt": "2026-01-01T00:00:00Z", "status__in": "NEW,PAID", "ref": str(UUID(int=1)), "customer": "5",
    }  # fmt: skip
    assert conditions(ORDER, given, strict=False) == (
        Condition("count", Op.GE, 5),
        Condition("total", Op.EQ, Decimal("1.50")),
        Condition("gift", Op.EQ, True),
        Condition("at", Op.NULL, False),
        Condition("day", Op.EQ, date(2026, 1, 2)),
        Condition("at", Op.LT, START),
        Condition("status", Op.IN, ("NEW", "PAID")),
        Condition("ref", Op.EQ, UUID(int=1)),
        Condition("customer", Op.EQ, "5"),
    )


def sort_key(one: Order, name: str) -> tuple[bool, Any]:
    value = getattr(one, name)
    return (value is not None, value)


@both
@pytest.mark.parametrize(
    "order_by",
    [None, "-order_id", "customer", ("status", "-total"), "-at", ("gift", "at", "order_id"), "email,-count"],
)
def test_pages_hold_every_row_once_and_in_order(kind: str, order_by: Any) -> None:
    names = [] if order_by is None else order_by.split(",") if isinstance(order_by, str) else list(order_by)
    expected = [one for one in ORDERS if one.count > 1]
    for name in reversed(names):
        expected.sort(key=lambda one: sort_key(one, name.removeprefix("-")), reverse=name.startswith("-"))

    async def main() -> None:
        async with filled(kind) as (_, views):
            for limit in (1, 7, 50, 1000):
                got: list[Order] = []
                after: str | None = None
                while True:
                    page = await views.page(Order, order_by=order_by, after=after, limit=limit, count__gt=1)
                    assert_type(page, Page[Order])
                    got += page.items
                    after = page.next
                    if after is None:
                        break
                    assert len(page.items) == limit
                    assert after.replace("-", "").replace("_", "").isalnum()
                # A stable sort leaves ties in the key's order, as the key always comes last.
                assert [one.order_id for one in got] == [one.order_id for one in expected]

    run(main)


@both
def test_a_cursor_serves_its_own_query_only(kind: str) -> None:
    async def main() -> None:
        async with filled(kind) as (_, views):
            cursor = (await views.page(Order, order_by="-total", limit=5, gift=True)).next
            assert cursor is not None
            assert (await views.page(Order, order_by="-total", limit=2, gift=True, after=cursor)).items
            uses: list[dict[str, Any]] = [
                {"order_by": "total", "gift": True},
                {"order_by": "-total", "gift": False},
                {"order_by": "-total"},
                {"gift": True},
            ]
            for use in uses:
                with pytest.raises(ValidationFailed, match="no cursor of this query"):
                    await views.page(Order, after=cursor, **use)
            flipped = ("B" if cursor[0] == "A" else "A") + cursor[1:]
            for wrong in (flipped, cursor[:-3], cursor + "AAAA", "§", "A" * 5000, "x"):
                with pytest.raises(ValidationFailed, match="no cursor of this query"):
                    await views.page(Order, order_by="-total", gift=True, after=wrong)

    run(main)


@both
def test_limits_and_orders_are_checked(kind: str) -> None:
    async def main() -> None:
        async with filled(kind) as (_, views):
            for limit in (0, -1, 1001):
                with pytest.raises(ValidationFailed, match=r"\$.limit"):
                    await views.page(Order, limit=limit)
            for order_by in ("nobody", "lines", "-", ("total", "-total")):
                with pytest.raises(ValidationFailed, match=r"\$.order_by"):
                    await views.page(Order, order_by=order_by)
            page = await views.browse(Order, {"count__gte": "9"}, order_by="-total", limit=3)
            assert all(one.count >= 9 for one in page.items)

    run(main)


class Sum(msgspec.Struct):
    customer: str
    total: Decimal
    orders: int
    last: datetime | None = None


@dataclass
class SumData:
    customer: str
    total: Decimal


class SumDict(TypedDict):
    customer: str
    orders: int


class SumTuple(NamedTuple):
    customer: str
    orders: int


def test_sql_is_decoded_into_the_type_asked_for() -> None:
    async def main() -> None:
        async with filled("sqlite") as (_, views):
            text = """
                SELECT customer, sum(total) AS total, count(*) AS orders, max("at") AS last
                FROM "order" WHERE count > ? GROUP BY 1 ORDER BY 1
            """
            sums = await views.sql(Sum, text, 3)
            assert_type(sums, list[Sum])
            for one in sums:
                mine = [each for each in ORDERS if each.count > 3 and each.customer == one.customer]
                assert one.total == sum(each.total for each in mine)
                assert one.orders == len(mine)
                assert one.last == max((each.at for each in mine if each.at), default=None)
            assert len(sums) == 5
            text = 'SELECT customer, sum(total) AS total FROM "order" GROUP BY 1 ORDER BY 1'
            assert all(isinstance(one.total, Decimal) for one in await views.sql(SumData, text))
            text = 'SELECT customer, count(*) AS orders FROM "order" GROUP BY 1 ORDER BY 1'
            as_dicts = await views.sql(SumDict, text)
            assert [*as_dicts[0]] == ["customer", "orders"]
            assert [tuple(one.values()) for one in as_dicts] == await views.sql(SumTuple, text)
            assert await views.sql(tuple[str, int], text) == await views.sql(SumTuple, text)
            assert await views.sql(dict, text) == as_dicts
            assert await views.sql(int, 'SELECT count(*) FROM "order"') == [120]
            assert await views.sql(bool, 'SELECT gift FROM "order" WHERE order_id = ?', "o-001") == [ORDERS[1].gift]
            assert await views.sql(Status, 'SELECT status FROM "order" WHERE order_id = ?', "o-001") == [
                ORDERS[1].status
            ]
            assert await views.sql(Order, 'SELECT * FROM "order" WHERE count = ? ORDER BY order_id', 4) == [
                one for one in ORDERS if one.count == 4
            ]

    run(main)


def test_sql_that_does_not_fit_says_so() -> None:
    async def main() -> None:
        async with filled("sqlite") as (_, views):
            with pytest.raises(CodecError, match="no field 'customer'"):
                await views.sql(Line, 'SELECT customer FROM "order"')
            with pytest.raises(CodecError, match=r"no Line: .*quantity"):
                await views.sql(Line, "SELECT 'a' AS sku, 'b' AS quantity")
            with pytest.raises(CodecError, match="2 columns, too many for one int"):
                await views.sql(int, "SELECT 1, 2")
            with pytest.raises(StoreError):
                await views.sql(int, 'DELETE FROM "order"')

    run(main)


@both
def test_reads_wait_for_the_position_each_view_once(kind: str) -> None:
    async def main() -> None:
        asked: list[tuple[Any, int]] = []

        async def wait(names: Any, position: int, timeout: float) -> None:
            assert 0 < timeout <= 5
            asked.append((names, position))
            if position > 10:
                raise ViewBehind("order", 10, position, timeout)

        async with filled(kind) as (store, _):
            views = Views(store, {Order: ORDER}, wait=wait)
            await views.get(Order, "o-001")
            assert asked == []
            later = views.at(7, 5)
            await later.get(Order, "o-001")
            await later.find(Order)
            await later.page(Order)
            assert await later.count(Order) == 120
            assert asked == [(["order"], 7)]
            if store.capabilities.sql:
                await later.sql(int, "SELECT 1", reads=[Order])
                await later.sql(int, "SELECT 1")
                assert asked == [(["order"], 7), (None, 7)]
            with pytest.raises(ViewBehind):
                await views.at(11, 5).count(Order)
            given = Views(store, {Order: ORDER}, after=3, deadline=time.monotonic() + 5, wait=wait)
            await given.count(Order)
            assert asked[-1] == (["order"], 3)

    run(main)


class OrdersOf(Query[Page[Order]]):
    customer: str


class CountOf(Query[int]):
    customer: str


class Pricing:
    factor = 3


@answers
async def orders_of(query: OrdersOf, views: Views) -> Page[Order]:
    return await views.page(Order, customer=query.customer)


@answers
async def count_of(query: CountOf, pricing: Pricing, views: Views) -> int:
    return pricing.factor * await views.count(Order, customer=query.customer)


def test_an_answer_is_compiled_from_its_annotations() -> None:
    found = query_type(count_of)
    assert isinstance(found, QueryType)
    assert found.query is CountOf
    assert found.returns is int
    assert found.views == ("views",)
    assert found.services == {"pricing": Pricing}
    assert query_type(orders_of).returns == Page[Order]

    async def main() -> None:
        async with filled("sqlite") as (_, views):
            expected = [one for one in ORDERS if one.customer == "c-1"]
            assert await found.answer(CountOf("c-1"), views, {Pricing: Pricing()}) == 3 * len(expected)
            assert (await query_type(orders_of).answer(OrdersOf("c-1"), views, {})).items == expected

    run(main)


def not_marked(query: CountOf) -> None: ...


@answers
def not_async(query: CountOf) -> int:
    return 0


@answers
async def no_query(query: int) -> int:
    return 0


@answers
async def several(query: CountOf | OrdersOf) -> int:
    return 0


@answers
async def unannotated(query: CountOf, views) -> int:  # type: ignore[no-untyped-def]
    return 0


@answers
async def starred(query: CountOf, *views: Views) -> int:
    return 0


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (not_marked, "decorate it with @answers"),
        (not_async, "write `async def`"),
        (no_query, "annotate it with the Query type"),
        (several, "answers several queries"),
        (unannotated, "'views' has no annotation"),
        (starred, "cannot be given by name"),
    ],
)
def test_an_answer_put_together_wrongly_says_what_to_do(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        query_type(function)


def test_a_page_is_json_with_its_cursor() -> None:
    assert msgspec.json.encode(Page([1], "x")) == b'{"items":[1],"next":"x"}'
    assert msgspec.json.decode(b'{"items":[1],"next":null}', type=Page[int]) == Page([1])
    assert sys.getsizeof(Page([1])) < 100
