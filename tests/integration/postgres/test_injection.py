"""Names, ids and payloads full of SQL: they come back as they were given, and leave the schema as it was."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from foldline.store.postgres import PostgresStore
from foldline.store.spi import (
    Append,
    Claim,
    Column,
    Condition,
    Expect,
    Kind,
    NewEvent,
    Op,
    Ordering,
    ProjectionSpec,
    RecordedEvent,
    Select,
    Snapshot,
    StreamAppend,
    Table,
    Transaction,
)
from tests.integration.postgres.support import appended, chance, connected, event, everything, opened, table

NASTY = (
    "'; DROP TABLE foldline_events; --",
    "\"; DROP TABLE foldline_events; --",
    "'); DELETE FROM foldline_events; --",
    "\\'; TRUNCATE foldline_events; --",
    "E'\\'' || pg_sleep(9)",
    "$$; DROP SCHEMA public CASCADE; $$",
    "$1",
    "$1::text); DROP TABLE foldline_commands; --",
    "?",
    "?? ?1 :name ::text @>",
    "%s %(x)s %% {0} {}",
    "' OR '1'='1",
    "/* */ --",
    "NULL",
    "{NULL,\"a\",b}",
    "(,\"\"\"x\\\",)",
    "[1:2]={a,b}",
    "\\x41\\u0041\\.",
    "\\N",
    "a-b-c%_\\%",
    "U&\"\\0041\"",
    "ÄÖ ß é ﬁ İ",
    "🦊\u202eoxf\u200d",
    " leading and trailing ",
    "select",
    "public.foldline_events",
    "COPY foldline_events FROM PROGRAM 'x'",
)  # fmt: skip

CONTROL = ("a\tb\nc\rd", "\x01\x1f\x7f", "\\\n\\.\n")

CATALOG = """
SELECT string_agg(said, E'\n' ORDER BY said COLLATE "C") FROM (
    SELECT format('%s %s %s %s', c.oid, c.relname, c.relkind, c.relnamespace) FROM pg_class AS c
    WHERE c.relnamespace::regnamespace::text NOT LIKE 'pg\\_%' AND ($1 OR c.relname LIKE 'foldline%')
    UNION ALL
    SELECT format('%s %s %s %s', attrelid, attname, atttypid, attnum) FROM pg_attribute
    WHERE attrelid::regclass::text LIKE 'foldline%'
    UNION ALL
    SELECT format('%s %s', oid::regprocedure, md5(prosrc)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('%s %s', tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT format('%s %s', datname, datacl) FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT format('%s %s', rolname, rolsuper) FROM pg_roles
    UNION ALL
    SELECT format('%s %s', nspname, nspacl) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
) AS everything (said)
"""


async def catalog(url: str, *, all_tables: bool = True) -> str:
    """All that is in the schema, or what is Foldline's of it."""
    async with connected(url) as connection:
        return str(await connection.fetchval(CATALOG, all_tables))


def payload(text: str) -> bytes:
    """JSON text that holds it as a key and a value, and is written in no usual way."""
    return b'{ "k" :\t%s ,%s:[ 1.00 , 1e400 ]}' % ((json.dumps(text, ensure_ascii=False).encode(),) * 2)


def test_in_the_log(database: str) -> None:
    """Stream ids, types, actors, correlations, causes, command ids, snapshots and payloads."""
    dice = chance()

    async def main() -> None:
        before = await catalog(database)
        async with opened(database) as store:
            given: dict[str, NewEvent] = {}
            # Alone, with a command id, and retried.
            for way in range(3):
                for text in NASTY:
                    stream_id = f"{text}-{way}" if way else text
                    new = given[stream_id] = fresh(dice, text, NASTY[(NASTY.index(text) + way) % len(NASTY)])
                    stream = StreamAppend(stream_id, Expect.NO_STREAM, (new,))
                    append = Append((stream,), Claim(text, text.encode()) if way == 1 else None)
                    assert not appended(await store.append(append)).replayed
                    if way == 2:
                        assert appended(await store.append(append)).replayed
            copied = [fresh(dice, text, text) for text in (*NASTY, *CONTROL) for _ in range(170)]
            copied = [new._replace(type=NASTY[number % len(NASTY)]) for number, new in enumerate(copied)]
            await store.append(Append((StreamAppend("copied", 0, copied),)))

            for stream_id, new in given.items():
                (recorded,) = await store.read_stream(stream_id)
                assert (recorded.stream_id, recorded.category) == (stream_id, stream_id.partition("-")[0])
                assert same(new, recorded)
            assert all(map(same, copied, await store.read_stream("copied")))
            for name in NASTY:
                found = (await store.read_all(limit=10_000, types=[name])).events
                assert found
                assert {one.type for one in found} == {name}
                claimed = await store.claimed(name)
                assert claimed is not None
                assert claimed.fingerprint == name.encode()
                assert claimed.outcome.versions == ((f"{name}-1", 1),)
                snapshot = Snapshot(name, 1, 1, name, name.encode())
                await store.save_snapshot(snapshot)
                await store.save_snapshot(snapshot._replace(version=2))
                assert await store.load_snapshot(name) == snapshot._replace(version=2)
            claims = await store.read_claims()
            assert {name for name, _ in claims} == set(NASTY)
            assert await everything(store) == await table(database)
        assert await catalog(database) == before

    asyncio.run(main())


def fresh(dice: random.Random, text: str, other: str) -> NewEvent:
    """An event that is full of them."""
    name = other if other.isprintable() else "Happened"
    shown = text if text.isprintable() or text in NASTY else None
    return event(payload(text))._replace(
        type=name, metadata=payload(other), actor=shown, correlation_id=shown, causation_id=shown,
        schema_version=dice.randrange(1, 9),
    )  # fmt: skip


def same(given: NewEvent, recorded: RecordedEvent) -> bool:
    """Whether an event came back as it was given."""
    return all(
        getattr(given, name) == getattr(recorded, name)
        for name in (
            "event_id",
            "type",
            "schema_version",
            "data",
            "metadata",
            "actor",
            "correlation_id",
            "causation_id",
        )
    )


def test_in_views(database: str) -> None:
    """Names of projections, tables and columns, rows, and whatever is compared with them."""

    async def main() -> None:
        before = await catalog(database, all_tables=False)
        async with opened(database) as store:
            for number, name in enumerate(NASTY):
                await view(store, name, NASTY[number - 1])
            assert set(await store.checkpoints()) == set(NASTY)
            for name in NASTY:
                assert await store.count(of(name, NASTY[NASTY.index(name) - 1])) == len(NASTY) + len(CONTROL)
        assert await catalog(database, all_tables=False) == before

    asyncio.run(main())


def of(name: str, column: str) -> Table:
    """A table of such a name, and with such columns."""
    columns = (
        Column(f"{column} key", Kind.TEXT), Column(column, Kind.TEXT, nullable=True), Column("data", Kind.JSON),
        Column("raw", Kind.BYTES),
    )  # fmt: skip
    return Table(short(f"t {name}"), columns, f"{column} key", ((column,),))


def short(name: str) -> str:
    """As long as a name may be."""
    return name.encode()[:50].decode(errors="ignore")


async def view(store: PostgresStore, name: str, column: str) -> None:
    """Keep a view under such names, fill it with such rows, and ask for them."""
    table = of(name, column)
    checkpoint = await store.prepare(ProjectionSpec(name, name, (table,)))
    rows = [(text, text, json.dumps({text: text}), text.encode()) for text in (*NASTY, *CONTROL)]

    async def work(transaction: Transaction) -> bool:
        await transaction.upsert(table, rows)
        await transaction.upsert(table, rows[:3])
        await transaction.delete(table, ["' OR '1'='1' --"])
        assert sorted(await transaction.load(table, [row[0] for row in rows])) == sorted(rows)
        for text in NASTY:
            assert await transaction.fetch("SELECT ?::text", text) == [(text,)]
        return await transaction.advance(checkpoint, 1)

    assert await store.transact(work)
    assert await store.prepare(ProjectionSpec(name, name, (table,))) == checkpoint._replace(position=1)
    for row in rows:
        text = row[0]
        for condition in (
            Condition(column, Op.EQ, text),
            Condition(f"{column} key", Op.IN, [text, "not there"]),
        ):
            assert await store.select(Select(table, (condition,))) == [row]
        for condition in (Condition(column, Op.CONTAINS, text), Condition(column, Op.STARTSWITH, text)):
            found = await store.select(Select(table, (condition,), (Ordering(f"{column} key"),)))
            assert row in found
            assert all(text.lower() in other[1].lower() for other in found)
        after = Select(table, (), (Ordering(column, True), Ordering(f"{column} key")), (text, text), 100)
        assert row not in await store.select(after)
        assert (await store.sql("SELECT ?::text AS said", [text]))[1] == [(text,)]
        assert (await store.sql("SELECT :said::text AS said", {"said": text}))[1] == [(text,)]


@pytest.mark.parametrize("text", ["a\0b", "\0"])
def test_what_postgresql_cannot_keep(database: str, text: str) -> None:
    """Is never found, and no error of the database's."""

    async def main() -> None:
        async with opened(database) as store:
            assert await store.read_stream(text) == []
            assert await store.claimed(text) is None
            assert await store.load_snapshot(text) is None
            assert (await store.read_all(types=[text])).events == []

    asyncio.run(main())
