"""Read models: rows as columns promise, pages and filters as a reference in Python has them, tables and owners."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldline.errors import CodecError, DefinitionError, FoldlineError, StoreError
from foldline.store.spi import (
    Column,
    Condition,
    Kind,
    Op,
    Ordering,
    ProjectionSpec,
    Row,
    Select,
    Table,
    Transaction,
)
from foldline.store.sqlite import SqliteStore
from tests.integration.sqlite.support import event, one, opened, run

EVERY = Table(
    "every kind",
    (
        Column("id", Kind.TEXT),
        Column("integer", Kind.INTEGER, True),
        Column("real", Kind.REAL, True),
        Column("boolean", Kind.BOOLEAN, True),
        Column("decimal", Kind.DECIMAL, True),
        Column("timestamp", Kind.TIMESTAMP, True),
        Column("date", Kind.DATE, True),
        Column("uuid", Kind.UUID, True),
        Column("bytes", Kind.BYTES, True),
        Column('a "json"', Kind.JSON, True),
    ),
    "id",
    (("decimal", "timestamp"), ("integer",)),
)
LINES = Table(
    "lines",
    (
        Column("id", Kind.INTEGER),
        Column("name", Kind.TEXT, True),
        Column("amount", Kind.DECIMAL, True),
        Column("at", Kind.TIMESTAMP),
        Column("count", Kind.INTEGER),
    ),
    "id",
    (("name", "at"), ("count",)),
)


async def _fill(store: SqliteStore, table: Table, rows: Sequence[Row]) -> None:
    await store.reset(ProjectionSpec(table.name, "1", (table,)))

    async def work(transaction: Transaction) -> None:
        await transaction.upsert(table, rows)

    await store.transact(work)


def test_every_kind_comes_back(tmp_path: Path) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    rows: list[Row] = [
        ("a", 2**63 - 1, 1e300, True, Decimal("1.50"), datetime(2024, 2, 29, 12, 0, 0, 1, east), date(1, 1, 1),
         UUID(int=2**128 - 1), b"\x00\xff", '{"z": 1, "a": 123456789012345678901234567890}'),
        ("b", -(2**63), float("-inf"), False, Decimal("-123456789012345678901234567890.123456789"),
         datetime(1, 1, 1, tzinfo=UTC), date(9999, 12, 31), UUID(int=0), b"", "[]"),
        ("", None, None, None, None, None, None, None, None, None),
        ("ünï\U0001f389\0", 0, 5, True, 7, datetime.max.replace(tzinfo=UTC), date(2024, 2, 29), UUID(int=1), b"x",
         '"\\ud83d"'),
    ]  # fmt: skip

    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            await _fill(store, EVERY, rows)
            found = await store.load(EVERY, [row[0] for row in rows] * 2)
            assert sorted(found) == sorted(rows)
            assert str(next(row for row in found if row[0] == "a")[4]) == "1.50"
            assert await store.load(EVERY, ["a"]) == [rows[0]]
            assert await store.count(EVERY, (Condition("id", Op.IN, [row[0] for row in rows]),)) == 4
            assert await store.load(EVERY, []) == await store.load(EVERY, ["no"]) == []
            assert (await store.sql('SELECT "timestamp", decimal, boolean FROM "every kind" WHERE id = ?', ["a"]))[
                1
            ] == [("2024-02-29T06:30:00.000001Z", "1.50", 1)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("integer", 2**63), ("integer", "1"), ("integer", 1.0), ("real", float("nan")), ("boolean", 1),
        ("decimal", 1.5),
        ("decimal", Decimal("NaN")), ("decimal", Decimal("-Infinity")), ("timestamp", datetime(2024, 1, 1)),  # noqa: DTZ001
        ("date", datetime(2024, 1, 1, tzinfo=UTC)), ("uuid", "no"), ("bytes", "no"), ('a "json"', b"{}"),
        ("id", "half \ud800"), ("id", 7), ("id", None),
    ],
)  # fmt: skip
def test_what_a_column_cannot_keep_names_it(tmp_path: Path, column: str, value: object) -> None:
    good = {"id": "x"}
    row = tuple((good | {column: value}).get(one_.name) for one_ in EVERY.columns)

    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            with pytest.raises(CodecError) as caught:
                await _fill(store, EVERY, [row])
            assert column in str(caught.value)
            assert EVERY.name in str(caught.value)
            assert await store.count(EVERY) == 0

    asyncio.run(main())


# --- Against a reference ----------------------------------------------------------------------------------------------

NAMES = st.none() | st.text(st.sampled_from("aAbBß%_\\\U0010ffff\ud7ff\ue000"), max_size=3)
AMOUNTS = st.none() | st.sampled_from([Decimal(text) for text in ("-1.5", "0", "2", "2.0", "10", "1e2")])
TIMES = st.sampled_from([datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)])
COUNTS = st.integers(0, 3)
ROWS = st.lists(st.tuples(NAMES, AMOUNTS, TIMES, COUNTS), max_size=25)
VALUES = {"id": st.integers(0, 25), "name": NAMES, "amount": AMOUNTS, "at": TIMES, "count": COUNTS}
PLACES = {column.name: index for index, column in enumerate(LINES.columns)}


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    column = draw(st.sampled_from(sorted(VALUES)))
    ops = [Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE, Op.IN, Op.NULL]
    op = draw(st.sampled_from([*ops, Op.CONTAINS, Op.STARTSWITH] if column == "name" else ops))
    if op is Op.NULL:
        return Condition(column, op, draw(st.booleans()))
    if op is Op.IN:
        return Condition(column, op, draw(st.lists(VALUES[column], max_size=4)))
    return Condition(column, op, draw(VALUES[column]))


@st.composite
def orders(draw: st.DrawFn) -> tuple[Ordering, ...]:
    columns = draw(st.lists(st.sampled_from(["name", "amount", "at", "count"]), unique=True, max_size=3))
    return tuple(Ordering(column, draw(st.booleans())) for column in [*columns, "id"])


def _fits(row: Row, condition: Condition) -> bool:
    value, wanted = row[PLACES[condition.column]], condition.value
    if condition.op is Op.NULL:
        return (value is None) is wanted
    if value is None or wanted is None:
        return False
    tests: dict[Op, Callable[[], bool]] = {
        Op.EQ: lambda: value == wanted,
        Op.NE: lambda: value != wanted,
        Op.LT: lambda: value < wanted,
        Op.LE: lambda: value <= wanted,
        Op.GT: lambda: value > wanted,
        Op.GE: lambda: value >= wanted,
        Op.IN: lambda: value in wanted,
        Op.CONTAINS: lambda: _lower(wanted) in _lower(value),
        Op.STARTSWITH: lambda: value.startswith(wanted),
    }
    return tests[condition.op]()


def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def _sorted(rows: list[Row], order: tuple[Ordering, ...]) -> list[Row]:
    for ordering in reversed(order):
        place = PLACES[ordering.column]
        rows = sorted(rows, key=lambda row: (row[place] is not None, row[place]), reverse=ordering.descending)
    return rows


@settings(max_examples=150, deadline=None)
@given(ROWS, st.lists(conditions(), max_size=3), orders(), st.integers(1, 7))
def test_pages_are_what_a_list_would_give(
    values: list[tuple[Any, ...]], where: list[Condition], order: tuple[Ordering, ...], limit: int
) -> None:
    rows: list[Row] = [(number, *value) for number, value in enumerate(values)]
    expected = _sorted([row for row in rows if all(_fits(row, condition) for condition in where)], order)

    async def main(store: SqliteStore) -> None:
        await _fill(store, LINES, rows)
        assert await store.select(Select(LINES, tuple(where), order)) == expected
        assert await store.count(LINES, tuple(where)) == len(expected)
        found: list[Row] = []
        after = None
        while page := await store.select(Select(LINES, tuple(where), order, after, limit)):
            assert len(page) <= limit
            found += page
            after = tuple(page[-1][PLACES[ordering.column]] for ordering in order)
        assert found == expected

    _with_store(main)


def _with_store(main: Callable[[SqliteStore], Coroutine[Any, Any, None]]) -> None:
    with tempfile.TemporaryDirectory(prefix="foldline-") as folder:
        run(main, Path(folder) / "store.db", synchronous="NORMAL")


def test_ten_thousand_keys_and_values(tmp_path: Path) -> None:
    rows: list[Row] = [
        (number, f"n{number}", Decimal(number) / 10, datetime(2024, 1, 1, tzinfo=UTC), number)
        for number in range(12_000)
    ]

    async def main(store: SqliteStore) -> None:
        await _fill(store, LINES, rows)
        assert sorted(await store.load(LINES, range(10_000))) == rows[:10_000]
        for column in ("id", "name", "amount"):
            wanted = [row[PLACES[column]] for row in rows[1_000:11_000]]
            assert await store.count(LINES, (Condition(column, Op.IN, wanted),)) == 10_000

    run(main, tmp_path / "store.db")


@pytest.mark.parametrize(
    ("order", "index"),
    [
        ((Ordering("id"),), "INTEGER PRIMARY KEY"),
        ((Ordering("count"), Ordering("id")), "lines__count"),
        ((Ordering("count", True), Ordering("id", True)), "lines__count"),
        ((Ordering("name"), Ordering("at"), Ordering("id")), "lines__name_at"),
    ],
)
def test_pages_follow_their_index(tmp_path: Path, order: tuple[Ordering, ...], index: str) -> None:
    from foldline.store.sqlite.filters import select_sql

    path = tmp_path / "store.db"
    run(lambda store: _fill(store, LINES, []), path)
    start: dict[str, Any] = {"id": 1, "name": "n", "at": datetime(2024, 1, 1, tzinfo=UTC), "count": 1}
    text, parameters = select_sql(Select(LINES, (), order, tuple(start[ordering.column] for ordering in order), 10))
    connection = apsw.Connection(str(path))
    plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters))
    connection.close()
    assert index in plan
    assert "SEARCH" in plan
    assert "TEMP B-TREE" not in plan


# --- Tables and their owners ------------------------------------------------------------------------------------------


def _spec(name: str = "p", fingerprint: str = "1", table: str = "mine") -> ProjectionSpec:
    return ProjectionSpec(
        name, fingerprint, (Table(table, (Column("id", Kind.TEXT), Column("n", Kind.INTEGER)), "id", (("n",),)),)
    )


async def _put(store: SqliteStore, spec: ProjectionSpec) -> None:
    checkpoint = (await store.checkpoints())[spec.name]

    async def work(transaction: Transaction) -> None:
        await transaction.upsert(spec.tables[0], [("a", 1)])
        assert await transaction.advance(checkpoint, checkpoint.position + 7)

    await store.transact(work)


@pytest.mark.parametrize("change", ["", "DROP TABLE mine", "ALTER TABLE mine ADD COLUMN x TEXT", "DROP INDEX mine__n",
                                    "CREATE INDEX extra ON mine (n, id)"])  # fmt: skip
def test_tables_that_were_changed_by_hand_are_made_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "store.db"

    async def first(store: SqliteStore) -> None:
        await store.prepare(_spec())
        await _put(store, _spec())

    async def second(store: SqliteStore) -> None:
        checkpoint = await store.prepare(_spec())
        kept = change in ("", "CREATE INDEX extra ON mine (n, id)")
        assert (checkpoint.position, checkpoint.generation) == ((7, 1) if kept else (0, 2))
        assert await store.count(_spec().tables[0]) == (1 if kept else 0)
        await _put(store, _spec())

    run(first, path)
    connection = apsw.Connection(str(path))
    connection.execute(change)
    connection.close()
    run(second, path)


def test_another_fingerprint_makes_the_tables_anew(tmp_path: Path) -> None:
    async def main(store: SqliteStore) -> None:
        await store.prepare(_spec())
        await _put(store, _spec())
        old = (await store.checkpoints())["p"]
        fresh = await store.prepare(_spec("p", "2", "yours"))
        assert (fresh.position, fresh.generation, fresh.fingerprint) == (0, 2, "2")
        assert (await store.sql("SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('mine', 'yours')"))[
            1
        ] == [("yours",)]

        async def straggle(transaction: Transaction) -> bool:
            return await transaction.advance(old, 100)

        assert not await store.transact(straggle)
        assert (await store.checkpoints())["p"] == fresh
        again = await store.reset(_spec("p", "2", "yours"))
        assert again.generation == 3

    run(main, tmp_path / "store.db")


@pytest.mark.parametrize(
    "spec",
    [
        _spec("q", table="mine"),
        _spec("q", table="MINE"),
        _spec("q", table="by_hand"),
        _spec("q", table="foldline_events"),
        _spec("q", table="Foldline_x"),
        _spec("q", table="sqlite_x"),
        _spec("q", table=""),
        ProjectionSpec("q", "1", (), ("CREATE TABLE a (x)",), ("b",)),
        ProjectionSpec("q", "1", (), ("CREATE TABLE a (x)", "CREATE TABLE b (x)"), ("a",)),
        ProjectionSpec("q", "1", (), ("CREATE TABLE foldline_b (x)",), ("foldline_b",)),
        ProjectionSpec("q", "1", (), ("CREATE TABLE a (x)", "DROP TABLE foldline_events"), ("a",)),
        ProjectionSpec("q", "1", (), ("CREATE TABLE a (x)", "COMMIT"), ("a",)),
        ProjectionSpec("q", "1", (), ("CREATE TABEL a (x)",), ("a",)),
        ProjectionSpec("q", "1", (Table("t", (Column("a", Kind.TEXT), Column("A", Kind.TEXT)), "a"),)),
        ProjectionSpec("q", "1", (Table("t", (Column("a", Kind.TEXT),), "b"),)),
    ],
)
def test_tables_that_cannot_be_are_refused_and_nothing_is_made(tmp_path: Path, spec: ProjectionSpec) -> None:
    path = tmp_path / "store.db"

    async def main(store: SqliteStore) -> None:
        await store.prepare(_spec())
        connection = apsw.Connection(str(path))
        connection.execute("CREATE TABLE by_hand (x)")
        before = (await store.sql("SELECT name FROM sqlite_schema ORDER BY name"))[1]
        with pytest.raises(DefinitionError):
            await store.prepare(spec)
        assert (await store.sql("SELECT name FROM sqlite_schema ORDER BY name"))[1] == before
        assert set(await store.checkpoints()) == {"p"}
        connection.close()

    run(main, path)


# --- SQL --------------------------------------------------------------------------------------------------------------

FORBIDDEN = [
    "COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT x", "RELEASE foldline_job", "ATTACH ':memory:' AS other",
    "PRAGMA query_only = off", "PRAGMA user_version = 7", "PRAGMA writable_schema = on", "VACUUM",
    "DELETE FROM foldline_events", "UPDATE foldline_checkpoints SET position = 9", "delete from FOLDLINE_COMMANDS",
    "INSERT INTO foldline_commands VALUES ('a', x'', '[]', 1)", "DROP TABLE foldline_events",
    "DROP TRIGGER foldline_events_no_delete", "DROP INDEX foldline_events_id",
    "ALTER TABLE foldline_events RENAME TO gone",
    "CREATE TRIGGER t AFTER INSERT ON foldline_events BEGIN SELECT 1; END", "CREATE INDEX i ON foldline_events (actor)",
    "CREATE TEMP TABLE t (x)", "CREATE TABLE foldline_new (x)", "INSERT INTO sqlite_schema VALUES (1, 2, 3, 4, 5)",
    "INSERT INTO free VALUES (1); COMMIT; DELETE FROM foldline_snapshots",
    "CREATE TRIGGER t AFTER INSERT ON free BEGIN DELETE FROM foldline_snapshots; END; INSERT INTO free VALUES (1)",
]  # fmt: skip


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_sql_of_others_does_not_reach_what_is_foldlines(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "store.db"

    async def work(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO free VALUES (0)")
        await transaction.execute(sql)

    async def main(store: SqliteStore) -> None:
        await store.prepare(ProjectionSpec("p", "1", (), ("CREATE TABLE free (x)",), ("free",)))
        await store.append(one("a-1"))
        before = await store.sql("SELECT * FROM sqlite_schema")
        outcomes = await asyncio.gather(
            store.append(one("a-1")), store.transact(work), store.sql(sql), return_exceptions=True
        )
        assert isinstance(outcomes[1], FoldlineError)
        assert isinstance(outcomes[2], StoreError)
        assert await store.sql("SELECT * FROM sqlite_schema") == before
        assert (await store.sql("SELECT count(*) FROM free"))[1] == [(0,)]
        assert [event.version for event in await store.read_stream("a-1")] == [1, 2]
        assert (await store.checkpoints())["p"].position == 0

    run(main, path)


def test_reading_queries(tmp_path: Path) -> None:
    async def main(store: SqliteStore) -> None:
        await store.append(one("a-1", event(), event()))
        count = "SELECT count(*) AS n FROM foldline_events WHERE version > "
        assert await store.sql(count + "?", [1]) == (["n"], [(1,)])
        assert await store.sql(count + ":least", {"least": 0}) == (["n"], [(2,)])
        assert await store.sql("SELECT 1 AS a, 2 AS b WHERE 0") == (["a", "b"], [])
        assert (await store.sql("SELECT ?", [Decimal("1.5")]))[1] == [("1.5",)]
        assert (await store.sql("PRAGMA table_info('foldline_events')"))[1][0][1] == "position"
        for text, parameters in (
            ("SELEC 1", ()), ("SELECT * FROM missing", ()), ("SELECT ?", ()), ("SELECT 1", (2,)), ("SELECT \"no\"", ()),
            ("SELECT ?", (object(),)), ("SELECT ?", (2**64,)), ("INSERT INTO foldline_events DEFAULT VALUES", ()),
        ):  # fmt: skip
            with pytest.raises((StoreError, CodecError)):
                await store.sql(text, parameters)

    run(main, tmp_path / "store.db")


def test_what_a_projection_does_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    async def main(store: SqliteStore) -> None:
        spec = _spec()
        checkpoint = await store.prepare(spec)

        async def fails(transaction: Transaction) -> None:
            await transaction.upsert(spec.tables[0], [("a", 1)])
            assert await transaction.advance(checkpoint, 3)
            assert await transaction.load(spec.tables[0], ["a", "b"]) == [("a", 1)]
            raise LookupError

        async def catches(transaction: Transaction) -> None:
            with pytest.raises(StoreError):
                await transaction.execute("INSERT INTO mine VALUES ('a', 'no number')")
            await transaction.upsert(spec.tables[0], [("b", 2), ("c", 3), ("b", 4)])
            await transaction.delete(spec.tables[0], ["c", "d"])
            assert await transaction.fetch("SELECT n FROM mine WHERE id = ?", "b") == [(4,)]

        with pytest.raises(LookupError):
            await store.transact(fails)
        assert await store.count(spec.tables[0]) == 0
        assert (await store.checkpoints())["p"] == checkpoint
        await store.transact(catches)
        assert await store.load(spec.tables[0], ["a", "b", "c"]) == [("b", 4)]

    run(main, tmp_path / "store.db")


def test_waiting_for_a_checkpoint(tmp_path: Path) -> None:
    async def main(store: SqliteStore) -> None:
        assert await store.wait_checkpoint("p", 0, 5) is None
        checkpoint = await store.prepare(_spec())
        assert await store.wait_checkpoint("p", 0, 5) == checkpoint
        assert await store.wait_checkpoint("p", 7, 0.01) is None
        waiting = asyncio.ensure_future(store.wait_checkpoint("p", 7, 30))
        await asyncio.sleep(0)
        await _put(store, _spec())
        async with asyncio.timeout(10):
            assert await waiting == checkpoint._replace(position=7)
        assert store._watch._points == {}

    run(main, tmp_path / "store.db")
