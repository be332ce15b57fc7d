"""The schema is the sum of its migrations: by the store, by psql, by eight at once, and as it was released."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from foldline.errors import CannotOpen
from foldline.store.postgres import PostgresStore, migrate
from foldline.store.postgres.migrate import Migration, migrations, script
from tests.integration.postgres.support import appended, finish, name_of, one, run, start
from tests.servers.postgres import PostgresServer

RELEASED = {
    1: "162423da4b9407ac22111b2c5501368eb39e5a1dff7b66fca2d6594ec67245cf",
}
"""The digests of migrations that were released: databases out there were made by them, so they never change again."""

SCHEMA = """
function foldline_enter()
function foldline_head()
function foldline_lock(integer[])
function foldline_record(integer[],foldline_events[],foldline_commands[])
function foldline_refuse()
index CREATE UNIQUE INDEX foldline_checkpoints_pkey ON foldline_checkpoints USING btree (projection)
index CREATE UNIQUE INDEX foldline_commands_id ON foldline_commands USING btree (command_id)
index CREATE UNIQUE INDEX foldline_events_id ON foldline_events USING btree (event_id)
index CREATE UNIQUE INDEX foldline_events_position ON foldline_events USING btree ("position")
index CREATE UNIQUE INDEX foldline_events_stream ON foldline_events USING btree (stream_id, version)
index CREATE UNIQUE INDEX foldline_migrations_pkey ON foldline_migrations USING btree (number)
index CREATE UNIQUE INDEX foldline_snapshots_pkey ON foldline_snapshots USING btree (stream_id)
options of foldline_checkpoints {fillfactor=50}
sequence foldline_positions 0..281474976710655
table foldline_checkpoints.fingerprint text not null
table foldline_checkpoints.generation bigint not null
table foldline_checkpoints.position bigint not null
table foldline_checkpoints.projection text collate C not null
table foldline_checkpoints.tables json not null
table foldline_commands.claimed_at timestamp with time zone not null
table foldline_commands.command_id text collate C not null
table foldline_commands.event_ids uuid[] not null
table foldline_commands.fingerprint bytea not null
table foldline_commands.position bigint not null
table foldline_commands.streams text[] not null
table foldline_commands.versions bigint[] not null
table foldline_events.actor text collate C
table foldline_events.category text collate C not null
table foldline_events.causation_id text collate C
table foldline_events.correlation_id text collate C
table foldline_events.data json not null
table foldline_events.event_id uuid not null
table foldline_events.metadata json not null
table foldline_events.position bigint not null
table foldline_events.recorded_at timestamp with time zone not null
table foldline_events.schema_version integer not null
table foldline_events.stream_id text collate C not null
table foldline_events.type text collate C not null
table foldline_events.version bigint not null
table foldline_migrations.applied_at timestamp with time zone not null
table foldline_migrations.checksum text not null
table foldline_migrations.name text not null
table foldline_migrations.number integer not null
table foldline_snapshots.fingerprint text not null
table foldline_snapshots.position bigint not null
table foldline_snapshots.state bytea not null
table foldline_snapshots.stream_id text collate C not null
table foldline_snapshots.version bigint not null
trigger foldline_events_append_only on foldline_events, A
"""
"""What there is in the schema after all migrations. Only a new migration changes it."""

CATALOG = """
SELECT format('table %s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN l.collname = 'C' THEN ' collate C' END, CASE WHEN a.attnotnull THEN ' not null' END)
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('index %s', replace(pg_get_indexdef(i.indexrelid), 'public.', '')) FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT format('options of %s %s', c.relname, c.reloptions) FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.reloptions IS NOT NULL
UNION ALL
SELECT format('sequence %s %s..%s', seqrelid::regclass, seqmin, seqmax) FROM pg_sequence
UNION ALL
SELECT format('trigger %s on %s, %s', t.tgname, t.tgrelid::regclass, t.tgenabled) FROM pg_trigger AS t
WHERE NOT t.tgisinternal
UNION ALL
SELECT format('function %s', p.oid::regprocedure) FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace
ORDER BY 1
"""


def listing(server: PostgresServer, url: str) -> str:
    """What there is in the schema, a line for each thing, in an order that is the same everywhere."""
    return "\n".join(sorted(server.psql(CATALOG, name_of(url)).splitlines()))


def dumped(server: PostgresServer, url: str, path: Path) -> str:
    """The schema as pg_dump has it, and the record of migrations, without what differs each time."""
    server.dump(name_of(url), path, "-Fp", "--schema-only", "--no-owner")
    schema = re.sub(r"^(--.*|\\(un)?restrict .*)\n", "", path.read_text(), flags=re.MULTILINE)
    return schema + server.psql("SELECT number, name, checksum FROM foldline_migrations ORDER BY 1", name_of(url))


def test_by_the_store_and_by_psql(postgres: PostgresServer, empty_database: str, tmp_path: Path) -> None:
    """Both give the same schema, to the letter, and the one that is written down here."""
    by_psql = postgres.create_database("test_by_psql")
    try:
        postgres.psql(script(), "test_by_psql")
        assert asyncio.run(PostgresStore.migrate(empty_database)) == list(migrations())
        assert dumped(postgres, empty_database, tmp_path / "a") == dumped(postgres, by_psql, tmp_path / "b")
        assert listing(postgres, empty_database) == listing(postgres, by_psql) == SCHEMA.strip()

        # Each finds nothing more to do, and a store in it works.
        assert asyncio.run(PostgresStore.migrate(by_psql)) == []
        assert appended(run(lambda store: store.append(one("a-1")), by_psql)).position == 1
    finally:
        postgres.drop_database("test_by_psql")


def test_released_migrations_have_not_changed() -> None:
    """Nor are there holes in their numbers."""
    assert [one.number for one in migrations()] == list(range(1, len(migrations()) + 1))
    assert {one.number: one.checksum for one in migrations()} == RELEASED


def test_eight_processes_migrate_one_empty_database(empty_database: str) -> None:
    """One does it, the others wait for that, and all of them work with it."""

    async def main() -> None:
        processes = [await start("migrate.py", empty_database) for _ in range(8)]
        said = [await finish(process) for process in processes]
        assert sorted(int(lines[0]) for lines in said) == [0] * 7 + [len(migrations())]
        assert sorted(int(lines[1]) for lines in said) == list(range(1, 9))

    asyncio.run(main())


@pytest.mark.parametrize("beyond", [False, True])
def test_half_of_a_migration_leaves_nothing(
    postgres: PostgresServer, empty_database: str, monkeypatch: pytest.MonkeyPatch, beyond: bool
) -> None:
    """It fails at its end; what came before it stays, and is gone on from."""
    first = migrations()[0]
    broken = Migration(2, "broken", "CREATE TABLE foldline_new (n int); SELECT 1 / 0", "x")
    known = (first, broken) if beyond else (first._replace(sql=first.sql + "; SELECT 1 / 0"),)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: known)
        with pytest.raises(CannotOpen, match="division by zero"):
            asyncio.run(PostgresStore.migrate(empty_database))
    there = "SELECT count(*) FROM pg_class WHERE relname = '{}'"
    assert postgres.psql(there.format("foldline_events"), name_of(empty_database)) == str(int(beyond))
    assert postgres.psql(there.format("foldline_new"), name_of(empty_database)) == "0"
    assert len(asyncio.run(PostgresStore.migrate(empty_database))) == len(migrations()) - beyond
    assert appended(run(lambda store: store.append(one("a-1")), empty_database)).position == 1


def test_a_migration_is_applied_to_a_store_with_events(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever opens it first, unless the URL says that this is somebody else's work."""
    run(lambda store: store.append(one("a-1")), database)
    second = Migration(len(migrations()) + 1, "more", "CREATE TABLE foldline_new (n int)", "y")
    known = (*migrations(), second)
    monkeypatch.setattr(migrate, "migrations", lambda: known)
    with pytest.raises(CannotOpen, match="1 of Foldline's migrations"):
        run(lambda store: store.head(), f"{database}?migrate=never")
    assert run(lambda store: store.head(), database) == 1
    assert postgres.psql("SELECT count(*) FROM foldline_new", name_of(database)) == "0"


def test_one_schema_of_many(postgres: PostgresServer, empty_database: str) -> None:
    """The search_path says where a store is; another schema's does not mind."""
    name = name_of(empty_database)
    postgres.psql("CREATE SCHEMA shop; CREATE TABLE public.customers (n int)", name)
    postgres.psql("CREATE ROLE test_shopper LOGIN; GRANT ALL ON SCHEMA shop TO test_shopper", name)
    try:
        postgres.psql(f'ALTER ROLE test_shopper IN DATABASE "{name}" SET search_path = shop', name)
        url = postgres.url(name, user="test_shopper")
        assert appended(run(lambda store: store.append(one("a-1")), url)).position == 1
        tables = postgres.psql("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'foldline%'", name)
        assert tables == "shop"
    finally:
        postgres.psql("DROP OWNED BY test_shopper; DROP ROLE test_shopper", name)
