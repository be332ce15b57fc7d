"""What a view class compiles to, and what it says when it cannot."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NewType
from uuid import UUID

import msgspec
import pytest

from foldline.domain.message import Envelope, Event
from foldline.errors import DefinitionError
from foldline.projection import projection_type
from foldline.projection.sql import Projection, sql_type, statements
from foldline.projection.view import DELETE, Delete, Index, View, ViewMeta, projects, view_type
from foldline.store.spi import Column, Kind, Transaction

OrderId = NewType("OrderId", str)


class Status(enum.StrEnum):
    NEW = "NEW"
    PAID = "PAID"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    A = 1
    B = "b"


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int = 1


class Opened(Event):
    order_id: str


class Closed(Event):
    order_id: str


class Moved(Event):
    skus: tuple[str, ...]


class Numbered(Event):
    order_id: int


class Everything(View, key="order_id", name="all_things", version=3, indexes=(("level", "total"),)):
    order_id: OrderId
    text: Annotated[str, Index()] = ""
    number: int = 0
    real: float = 0.0
    flag: bool = False
    total: Decimal = Decimal(0)
    at: datetime | None = None
    day: date | None = None
    uuid: UUID | None = None
    raw: bytes = b""
    status: Status = Status.NEW
    level: Level | None = None
    mood: Literal["good", "bad"] = "good"
    lines: tuple[Line, ...] = ()
    tags: dict[str, int] = {}
    maybe: Line | None = None
    any: Any = None

    @projects
    def opened(self, event: Opened) -> None: ...

    @projects
    def closed(self, event: Closed, envelope: Envelope) -> Delete | None:
        return DELETE


def test_a_field_becomes_a_column_of_its_type() -> None:
    found = view_type(Everything)
    assert found.name == found.table.name == "all_things"
    assert found.table.key == "order_id"
    assert found.table.columns == (
        Column("order_id", Kind.TEXT),
        Column("text", Kind.TEXT),
        Column("number", Kind.INTEGER),
        Column("real", Kind.REAL),
        Column("flag", Kind.BOOLEAN),
        Column("total", Kind.DECIMAL),
        Column("at", Kind.TIMESTAMP, True),
        Column("day", Kind.DATE, True),
        Column("uuid", Kind.UUID, True),
        Column("raw", Kind.BYTES),
        Column("status", Kind.TEXT),
        Column("level", Kind.INTEGER, True),
        Column("mood", Kind.TEXT),
        Column("lines", Kind.JSON),
        Column("tags", Kind.JSON),
        Column("maybe", Kind.JSON, True),
        Column("any", Kind.JSON, True),
    )
    assert found.table.indexes == (("text",), ("level", "total"))
    assert found.events == (Opened, Closed)
    assert found.names == {"Opened", "Closed"}
    assert projection_type(Everything) is found


def test_a_row_goes_in_and_comes_out_as_it_was() -> None:
    found = view_type(Everything)
    full = Everything(
        OrderId("o-1"),
        "t",
        2,
        1.5,
        True,
        Decimal("1.50"),
        datetime(2026, 1, 2, tzinfo=UTC),
        date(2026, 1, 2),
        UUID(int=7),
        b"\0x",
        Status.PAID,
        Level.HIGH,
        "bad",
        (Line("a", 2),),
        {"x": 1},
        Line("b"),
        [1, None],
    )
    for one in (full, Everything(OrderId("o-2"))):
        row = found.row(one)
        assert found.struct(row) == one
        assert found.row(found.struct(row)) == row, "also once its types are known to be right"
    row = found.row(full)
    assert row[10:16] == (
        "PAID",
        2,
        "bad",
        '[{"sku":"a","quantity":2}]',
        '{"x":1}',
        '{"sku":"b","quantity":1}',
    )
    assert type(row[10]) is str


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("number", "5", "Everything.number holds a str, '5', but is int"),
        ("number", True, "holds a bool"),
        ("number", 2**63, "beyond 64 bits"),
        ("real", float("nan"), "NaN"),
        ("total", Decimal("NaN"), "no number"),
        ("total", 1.5, "holds a float"),
        ("text", None, "holds None, but is no optional field"),
        ("at", datetime(2026, 1, 1), "without a UTC offset"),  # noqa: DTZ001
        ("day", datetime(2026, 1, 1, tzinfo=UTC), "holds a datetime"),
        ("status", "GONE", "none of Status"),
        ("status", [], "none of Status"),
        ("mood", "so-so", "none of"),
        ("lines", [Line("a"), 3], "does not fit"),
        ("tags", object(), "does not fit"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_named(field: str, value: Any, said: str) -> None:
    found = view_type(Everything)
    row = Everything(OrderId("o-1"))
    found.row(row)
    setattr(row, field, value)
    with pytest.raises(ValueError, match="Everything\\." + field) as error:
        found.row(row)
    assert said in str(error.value)


def test_what_means_the_same_is_taken() -> None:
    found = view_type(Everything)
    row: Any = Everything(OrderId("o-1"))
    row.text, row.number, row.real, row.total, row.status = Status.PAID, Level.HIGH, 2, 3, "PAID"
    values = found.row(row)
    assert values[1:6] == ("PAID", 2, 2.0, False, Decimal(3))
    assert [type(value) for value in values[1:6]] == [str, int, float, bool, Decimal]
    assert found.struct(values).status is Status.PAID


def test_keys_of_tells_the_rows_an_event_touches() -> None:
    class Stock(View, key="sku"):
        sku: str

        @projects(keys=lambda event: event.skus)
        def moved(self, event: Moved) -> None: ...

    found = view_type(Stock)
    assert found.name == "stock"
    assert found.keys_of(Moved(("a", "b", "a"))) == ["a", "b"]
    assert found.keys_of(Opened("o-1")) == []
    assert view_type(Everything).keys_of(Opened("o-1")) == ["o-1"]


@pytest.mark.parametrize("told", ["abc", None, [None], [1]])
def test_keys_that_are_none_are_refused(told: Any) -> None:
    class Stock(View, key="sku"):
        sku: str

        @projects(keys=lambda event: told)
        def moved(self, event: Moved) -> None: ...

    with pytest.raises(ValueError, match=r"keys= of .*moved"):
        view_type(Stock).keys_of(Moved(()))


def test_the_fingerprint_changes_with_shape_and_version_and_nothing_else() -> None:
    def made(version: int = 1, extra: Any = str, doc: str = "") -> str:
        class Doc(msgspec.Struct):
            a: int = 0

        Doc.__doc__ = doc
        namespace = {
            "__annotations__": {"order_id": str, "x": extra, "doc": Doc},
            "__module__": __name__,
            "x": None,
            "doc": None,
            "opened": projects(_opened()),
        }
        cls: Any = ViewMeta("Made", (View,), namespace, key="order_id", version=version)
        return view_type(cls).fingerprint

    same = made()
    assert made() == made(doc="Another text.") == same
    assert len({same, made(version=2), made(extra=int), made(extra=str | None), made(extra=Status)}) == 5


def _opened() -> Callable[..., None]:
    def opened(self: object, event: Opened) -> None: ...

    return opened


def test_a_class_without_key_is_a_base() -> None:
    class Base(View):
        order_id: str

        @projects
        def opened(self, event: Opened) -> None: ...

    class Child(Base, key="order_id"):
        more: str = ""

        @projects
        def closed(self, event: Closed) -> None: ...

    assert view_type(Child).events == (Opened, Closed)
    with pytest.raises(DefinitionError, match="Base is no view"):
        view_type(Base)


def no_key() -> None:
    class Bad(View, key="id"):
        order_id: str


def key_not_first() -> None:
    class Bad(View, key="order_id"):
        order_id: str = ""


def no_default() -> None:
    class Total(View):
        total: int

    class Bad(Total, key="order_id"):
        order_id: str


def no_default_among_keywords() -> None:
    class Bad(View, key="order_id", kw_only=True):
        order_id: str
        total: int


def keywords_only() -> None:
    class Bad(View, key="order_id", kw_only=True):
        order_id: str
        total: int = 0


def is_frozen() -> None:
    class Bad(View, key="order_id", frozen=True):
        order_id: str


def no_handlers() -> None:
    class Bad(View, key="order_id"):
        order_id: str


def two_handlers() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        def one(self, event: Opened) -> None: ...

        @projects
        def two(self, event: Closed | Opened) -> None: ...


def no_field_of_the_key() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        def moved(self, event: Moved) -> None: ...


def key_of_another_type() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        def numbered(self, event: Numbered) -> None: ...


def key_of_no_use() -> None:
    class Bad(View, key="order_id"):
        order_id: float


def no_event() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        def opened(self, event: str) -> None: ...


def no_annotation() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        def opened(self, event) -> None: ...  # type: ignore[no-untyped-def]


def too_many_parameters() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        def opened(self, event: Opened, more: int) -> None: ...


def is_async() -> None:
    class Bad(View, key="order_id"):
        order_id: str

        @projects
        async def opened(self, event: Opened) -> None: ...


def mixed_enum() -> None:
    class Bad(View, key="order_id"):
        order_id: str
        what: Mixed = Mixed.A


def no_column() -> None:
    class Bad(View, key="order_id"):
        order_id: str
        what: object = None


def case_only() -> None:
    class Bad(View, key="order_id"):
        order_id: str
        what: str = ""
        What: str = ""


def bad_index() -> None:
    class Bad(View, key="order_id", indexes=(("order_id", "gone"),)):
        order_id: str


def index_of_json() -> None:
    class Bad(View, key="order_id"):
        order_id: str
        what: Annotated[list[str], Index()] = []


def bad_name() -> None:
    class Bad(View, key="order_id", name="or'ders"):
        order_id: str


def reserved_name() -> None:
    class Bad(View, key="order_id", name="foldline_events"):
        order_id: str


def bad_version() -> None:
    class Bad(View, key="order_id", version=0):
        order_id: str


def unknown_type() -> None:
    class Bad(View, key="order_id"):
        order_id: str
        what: Nowhere = None  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("define", "said"),
    [
        (no_key, "Bad has no field 'id'"),
        (key_not_first, "declare it first, and without a default"),
        (no_default, "declare it first"),
        (no_default_among_keywords, "kw_only or frozen"),
        (keywords_only, "kw_only or frozen"),
        (is_frozen, "kw_only or frozen"),
        (no_handlers, "Bad projects no event"),
        (two_handlers, "projects Opened twice"),
        (no_field_of_the_key, r"Moved, which .*moved .* has no such field: .*keys="),
        (key_of_another_type, "give both one type"),
        (key_of_no_use, "a key is a str, int, UUID, date"),
        (no_event, "annotation str"),
        (no_annotation, "has no annotation"),
        (too_many_parameters, "takes more besides its event"),
        (is_async, "is async or yields"),
        (mixed_enum, "neither all text nor all whole numbers"),
        (no_column, "no column can hold"),
        (case_only, "differ only in case"),
        (bad_index, "declares the index"),
        (index_of_json, "cannot be indexed"),
        (bad_name, "1 to 63 letters"),
        (reserved_name, "begins with foldline_"),
        (bad_version, "versions count from 1"),
        (unknown_type, "cannot be resolved"),
    ],
)
def test_a_view_put_together_wrongly_says_what_to_do(define: Callable[[], None], said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as error:
        define()
    assert "Bad" in str(error.value)


class Sales(Projection, tables=("sales",)):
    setup: ClassVar[str] = "CREATE TABLE sales (day TEXT PRIMARY KEY, n INTEGER); CREATE INDEX sales_n ON sales (n);"

    @projects
    async def opened(self, event: Opened, envelope: Envelope, tx: Transaction) -> None: ...


def test_a_projection_in_sql_compiles_to_its_statements_and_routes() -> None:
    found = sql_type(Sales)
    assert found.name == "sales"
    assert found.spec.owned == ("sales",)
    assert found.spec.setup == (
        "CREATE TABLE sales (day TEXT PRIMARY KEY, n INTEGER)",
        "CREATE INDEX sales_n ON sales (n)",
    )
    assert found.routes[Opened].takes == (Envelope, Transaction)
    assert projection_type(Sales) is found


def test_statements_are_cut_where_a_database_would_cut_them() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; UPDATE b SET x = ';'; END"
    text = f"""
        -- a comment; with a semicolon
        CREATE TABLE a ("odd;name" TEXT DEFAULT 'it''s; so', begin_at TEXT); /* another; one */
        {trigger};
        CREATE FUNCTION f() RETURNS trigger AS $body$ BEGIN RETURN new; END; $body$ LANGUAGE plpgsql;
        ;
    """
    found = list(statements(text))
    assert [one.split("(")[0].split()[-1] for one in found[:1]] == ["a"]
    assert len(found) == 3
    assert found[1].endswith(trigger)
    assert list(statements("  -- nothing at all ;")) == []


def sql_not_async() -> None:
    class Bad(Projection, tables=("bad",)):
        setup: ClassVar[str] = "CREATE TABLE bad (x)"

        @projects
        def opened(self, event: Opened, tx: Transaction) -> None: ...


def sql_no_transaction() -> None:
    class Bad(Projection, tables=("bad",)):
        setup: ClassVar[str] = "CREATE TABLE bad (x)"

        @projects
        async def opened(self, event: Opened) -> None: ...


def sql_no_setup() -> None:
    class Bad(Projection, tables=("bad",)):
        @projects
        async def opened(self, event: Opened, tx: Transaction) -> None: ...


def sql_text_for_tables() -> None:
    class Bad(Projection, tables="bad"):
        setup: ClassVar[str] = "CREATE TABLE bad (x)"


@pytest.mark.parametrize(
    ("define", "said"),
    [
        (sql_not_async, "write `async def`"),
        (sql_no_transaction, "must take `tx: Transaction`"),
        (sql_no_setup, "has no setup"),
        (sql_text_for_tables, "give a tuple"),
    ],
)
def test_a_projection_in_sql_put_together_wrongly_says_what_to_do(define: Callable[[], None], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        define()
