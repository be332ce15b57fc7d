"""Least privilege, as the documentation shows it: a role that migrates, one that runs, and one that reads."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from asyncpg import exceptions as pg

from foldline.errors import CannotOpen, StoreError
from foldline.store.postgres import PostgresStore
from foldline.store.spi import (
    Append,
    Claim,
    Column,
    Kind,
    ProjectionSpec,
    Select,
    Snapshot,
    StreamAppend,
    Table,
    Transaction,
)
from tests.integration.postgres.support import appended, connected, event, everything, one, opened, table, with_options
from tests.servers.postgres import PostgresServer

GRANTS = """
GRANT USAGE, CREATE ON SCHEMA public TO {app};
GRANT SELECT ON foldline_migrations TO {app};
GRANT SELECT, INSERT ON foldline_events, foldline_commands TO {app};
GRANT SELECT, INSERT, UPDATE ON foldline_snapshots, foldline_checkpoints TO {app};
GRANT SELECT, USAGE ON foldline_positions TO {app};

GRANT USAGE ON SCHEMA public TO {reader};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader};
GRANT SELECT ON foldline_positions TO {reader};
"""

FORBIDDEN = (
    "UPDATE foldline_events SET data = '{}'",
    "DELETE FROM foldline_events",
    "TRUNCATE foldline_events",
    "ALTER TABLE foldline_events DISABLE TRIGGER foldline_events_append_only",
    "ALTER TABLE foldline_events DISABLE TRIGGER ALL",
    "DROP TRIGGER foldline_events_append_only ON foldline_events",
    "CREATE TRIGGER mine BEFORE INSERT ON foldline_events EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE mine AS ON INSERT TO foldline_events DO INSTEAD NOTHING",
    "ALTER TABLE foldline_events DROP CONSTRAINT foldline_events_stream",
    "DROP TABLE foldline_events CASCADE",
    "DROP INDEX foldline_events_id",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION foldline_enter() RETURNS void LANGUAGE sql AS ''",
    "DROP FUNCTION foldline_refuse() CASCADE",
    "SELECT setval('foldline_positions', 1)",
    "ALTER SEQUENCE foldline_positions RESTART",
    "UPDATE foldline_commands SET position = 0",
    "DELETE FROM foldline_commands",
    "DELETE FROM foldline_checkpoints",
    "INSERT INTO foldline_migrations VALUES (2, 'x', 'x')",
    "UPDATE foldline_migrations SET checksum = ''",
)

COUNTED = Table("counted", (Column("id", Kind.TEXT), Column("n", Kind.INTEGER)), "id", (("n",),))


class Shop(NamedTuple):
    """A database, as each of its roles opens it."""

    owner: str
    app: str
    reader: str


@pytest.fixture
def shop(postgres: PostgresServer) -> Iterator[Shop]:
    """Set up just as the documentation says."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    owner, app, reader = f"{name}_owner", f"{name}_app", f"{name}_reader"
    for role in (owner, app, reader):
        postgres.create_role(role)
    postgres.psql(f"CREATE DATABASE {name} OWNER {owner} ENCODING 'UTF8' TEMPLATE template0")
    try:
        asyncio.run(PostgresStore.migrate(postgres.url(name, user=owner)))
        postgres.psql(GRANTS.format(app=app, reader=reader), name, user=owner)
        yield Shop(*(postgres.url(name, user=role) for role in (owner, app, reader)))
    finally:
        postgres.drop_database(name)
        for role in (owner, app, reader):
            postgres.psql(f"DROP ROLE {role}")


def test_the_role_that_runs_can_do_its_work(shop: Shop) -> None:
    """Appends of every kind, following, views, snapshots, claims and queries."""

    async def main() -> None:
        async with opened(with_options(shop.app, migrate="never")) as store:
            assert appended(await store.append(one("a-1", expected=0))).position == 1
            claimed = Append(tuple(StreamAppend(f"s-{n}", 0, [event()]) for n in range(2)), Claim("c", b"c"))
            assert not appended(await store.append(claimed)).replayed
            assert appended(await store.append(claimed)).replayed
            assert (await store.claimed("c")) is not None
            assert not isinstance(await store.append(one("a-1", expected=0)), StoreError)
            large = one("large-1", *(event() for _ in range(5_100)))
            await store.append(large)
            assert appended(await store.append(large)).replayed
            assert len(await everything(store)) == 5_103
            assert await store.wait(0, 5)

            spec = ProjectionSpec("p", "1", (COUNTED,), ("CREATE TABLE mine (n int)",), ("mine",))
            checkpoint = await store.prepare(spec)

            async def work(transaction: Transaction) -> bool:
                await transaction.upsert(COUNTED, [("a", 1), ("b", 2)])
                await transaction.delete(COUNTED, ["b"])
                await transaction.execute("INSERT INTO mine VALUES (?)", 7)
                return await transaction.advance(checkpoint, 10)

            assert await store.transact(work)
            assert await store.select(Select(COUNTED)) == [("a", 1)]
            assert (await store.sql("SELECT n FROM mine"))[1] == [(7,)]
            assert (await store.wait_checkpoint("p", 10, 1)) is not None
            await store.reset(spec)
            await store.prepare(spec._replace(fingerprint="2", setup=(), owned=()))
            assert await store.count(COUNTED) == 0

            snapshot = Snapshot("a-1", 1, 1, "f", b"{}")
            await store.save_snapshot(snapshot)
            await store.save_snapshot(snapshot._replace(version=2))
            assert await store.load_snapshot("a-1") == snapshot._replace(version=2)

    asyncio.run(main())


def test_the_role_that_runs_cannot_change_history(shop: Shop) -> None:
    """Nor the schema, nor what guards it: it lacks the right, whatever the triggers are."""

    async def main() -> None:
        async with opened(shop.app) as store:
            await store.append(one("a-1"))
        async with connected(shop.app) as connection, connected(shop.owner) as owner:
            before = await table(shop.owner)
            # Refused by rights alone: without the trigger too.
            await owner.execute("ALTER TABLE foldline_events DISABLE TRIGGER foldline_events_append_only")
            for statement in FORBIDDEN:
                with pytest.raises(pg.InsufficientPrivilegeError):
                    await connection.execute(statement)
            await owner.execute("ALTER TABLE foldline_events ENABLE ALWAYS TRIGGER foldline_events_append_only")
            assert await table(shop.owner) == before
            # The owner has the rights, and is refused by the trigger.
            for statement in FORBIDDEN[:3]:
                with pytest.raises(pg.RestrictViolationError):
                    await owner.execute(statement)

    asyncio.run(main())


def test_the_role_that_reads(shop: Shop) -> None:
    """Follows and queries, and cannot append."""

    async def main() -> None:
        async with opened(shop.app) as store, opened(shop.reader) as reader:
            position = appended(await store.append(one("a-1"))).position
            assert await reader.wait(0, 5)
            assert await everything(reader) == await table(shop.owner)
            assert (await reader.sql("SELECT count(*) FROM foldline_events"))[1] == [(1,)]
            assert len(await reader.read_stream("a-1")) == 1
            for append in (one("a-1"), one("b-1", expected=0)):
                with pytest.raises(StoreError, match="lacks a right"):
                    await reader.append(append)
            assert await store.head() == position

    asyncio.run(main())


def test_the_role_that_runs_does_not_migrate(postgres: PostgresServer, empty_database: str, shop: Shop) -> None:
    """It is told who does."""
    role = shop.app.partition("//")[2].partition("@")[0]

    async def main() -> None:
        url = postgres.url(empty_database.rpartition("/")[2], user=role)
        with pytest.raises(CannotOpen, match="with a role that may"):
            await PostgresStore.open(url)
        with pytest.raises(CannotOpen, match="foldline migrate"):
            await PostgresStore.open(with_options(url, migrate="never"))

    asyncio.run(main())
