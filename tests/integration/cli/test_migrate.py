"""``foldline migrate``: a store's schema brought to the newest, by the command or by the SQL that it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from foldline.store.sqlite import migrate as sqlite_migrate
from tests.integration.cli.support import PATIENCE, Cli
from tests.servers.fixtures import temporary_database
from tests.servers.postgres import PostgresServer

RECORDED = "SELECT number, name, checksum FROM foldline_migrations ORDER BY number"


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    try:
        return [tuple(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def name_of(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]


def schema_of(server: PostgresServer, database: str, file: Path) -> list[str]:
    """What pg_dump says of a database, without the words that it makes up for each dump."""
    server.dump(database, file, "-Fp", "--schema-only")
    return [line for line in file.read_text().splitlines() if "restrict " not in line]


def test_a_file_is_made_and_then_left_as_it_is(cli: Cli) -> None:
    done = cli("migrate", "sqlite:a.db")
    assert done.stdout == "Migrated sqlite:a.db: applied 0001_store.\n"
    before = (cli.place / "a.db").read_bytes()
    assert cli("migrate", "sqlite:a.db").stdout == "Nothing to migrate: the schema of sqlite:a.db is the newest.\n"
    assert (cli.place / "a.db").read_bytes() == before
    assert cli.events("sqlite:a.db") == []
    assert [file.name for file in cli.place.iterdir()] == ["a.db"]


def test_the_store_may_come_from_the_environment(cli: Cli) -> None:
    cli("migrate", env={"FOLDLINE_STORE": "sqlite:a.db"})
    assert (cli.place / "a.db").exists()
    assert "No store was named" in cli("migrate", code=2).stderr
    assert "PRAGMA" in cli("migrate", "--print", env={"FOLDLINE_STORE": "sqlite:b.db"}).stdout
    assert not (cli.place / "b.db").exists()


def test_the_printed_sql_makes_the_same_file(cli: Cli) -> None:
    cli("migrate", "sqlite:a.db")
    script = cli("migrate", "sqlite:nowhere/b.db", "--print").stdout
    shell = [sys.executable, "-m", "apsw", "b.db"]
    subprocess.run(shell, input=script, text=True, cwd=cli.place, check=True, timeout=PATIENCE)
    for sql in (
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
        RECORDED,
        "PRAGMA application_id",
        "PRAGMA user_version",
        "PRAGMA journal_mode",
    ):
        assert rows(cli.place / "b.db", sql) == rows(cli.place / "a.db", sql)
    [(applied,)] = rows(cli.place / "b.db", "SELECT applied_at FROM foldline_migrations")
    [(by_itself,)] = rows(cli.place / "a.db", "SELECT applied_at FROM foldline_migrations")
    assert isinstance(applied, int)
    assert isinstance(by_itself, int)
    assert abs(applied - by_itself) < 60_000_000
    assert "Nothing to migrate" in cli("migrate", "sqlite:b.db").stdout
    assert cli.events("sqlite:b.db") == []
    assert len(sqlite_migrate.migrations()) == script.count("COMMIT;")


def test_what_cannot_be_migrated(cli: Cli) -> None:
    (cli.place / "letter.db").write_text("Dear reader, this is no database at all, nor was it ever meant to be one.\n")
    for url, told in (
        ("sqlite:letter.db", "not a SQLite database"),
        ("sqlite:no/a.db", "there is no directory"),
        ("memory:", "nothing to migrate"),
        ("a.db", "no store URL"),
        ("mysql://h/a", "no store URL"),
        ("sqlite:a.db?fast=1", "options"),
    ):
        done = cli("migrate", url, code=1)
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    for url, told in (("memory:", "nothing to migrate"), ("a.db", "no store URL"), ("sqlite:a.db?x=1", "options")):
        assert told in cli("migrate", url, "--print", code=1).stderr
    assert [file.name for file in cli.place.iterdir()] == ["letter.db"]


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_a_database_is_made_and_then_left_as_it_is(cli: Cli, empty_database: str) -> None:
    assert "run foldline migrate" in cli("events", "--store", empty_database, code=1).stderr
    assert cli("migrate", empty_database).stdout == f"Migrated {empty_database}: applied 0001_store.\n"
    assert "Nothing to migrate" in cli("migrate", empty_database).stdout
    assert cli.events(empty_database) == []


def test_the_printed_sql_makes_the_same_database(cli: Cli, postgres: PostgresServer, empty_database: str) -> None:
    name = name_of(empty_database)
    script = cli("migrate", "postgresql://nobody:secret@nowhere.invalid/x", "--print").stdout
    assert "secret" not in script
    postgres.psql(script, name)
    printed = postgres.psql(RECORDED, name)
    assert "0001" in script
    assert "Nothing to migrate" in cli("migrate", empty_database).stdout
    assert cli.events(empty_database) == []
    with temporary_database(postgres) as other:
        cli("migrate", other)
        assert postgres.psql(RECORDED, name_of(other)) == printed
        dumped = schema_of(postgres, name_of(other), cli.place / "schema.sql")
    assert schema_of(postgres, name, cli.place / "schema.sql") == dumped


def test_the_printed_sql_is_all_or_nothing(cli: Cli, postgres: PostgresServer, empty_database: str) -> None:
    """Run where a table of ours stands already, it changes nothing, and psql says so."""
    name = name_of(empty_database)
    postgres.psql("CREATE TABLE foldline_commands (x integer)", name)
    script = cli("migrate", "postgres://h/x", "--print").stdout
    with pytest.raises(Exception, match="already exists"):
        postgres.psql(script, name)
    tables = "SELECT string_agg(relname, ' ') FROM pg_class WHERE relkind = 'r' AND relname LIKE 'foldline%'"
    assert postgres.psql(tables, name) == "foldline_commands"


def test_without_the_driver(cli: Cli) -> None:
    (cli.place / "sitecustomize.py").write_text("import sys\nsys.modules['asyncpg'] = None\n")
    url = "postgresql://u:s3cret@127.0.0.1:1/x"
    for arguments in (("migrate", url), ("migrate", "--print", url), ("events", "--store", url), ("copy", url, "x")):
        done = cli(*arguments, code=1, env={"PYTHONPATH": str(cli.place)})
        assert done.stderr == (
            "foldline: postgresql://u:***@127.0.0.1:1/x needs asyncpg, which is not installed: "
            "run pip install 'foldline[postgres]'.\n"
        )
    assert cli("migrate", "sqlite:a.db", env={"PYTHONPATH": str(cli.place)}).stdout.startswith("Migrated")
