"""Opening: every reason not to, told in a line that names the file; and the schema that opening makes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import apsw
import pytest

from foldline.errors import CannotOpen, NotAStore, StoreError, StoreReadOnly, StoreTooNew
from foldline.store.sqlite import SqliteStore
from foldline.store.sqlite.migrate import APPLICATION_ID, migrations
from tests.integration.sqlite.support import appended, finish, one, opened, run, start


async def _refused(path: Path | str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await SqliteStore.open(path)
    message = str(caught.value)
    assert str(path).partition("\0")[0] in message
    assert "\n" not in message
    return caught.value


def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is a letter and not a database.\n" * 50)
    (tmp_path / "short").write_text("no")
    os.mkfifo(tmp_path / "pipe")

    async def main() -> None:
        assert "is a directory" in str(await _refused(tmp_path))
        assert "there is no directory" in str(await _refused(tmp_path / "no" / "where.db"))
        assert "not a regular file" in str(await _refused(tmp_path / "pipe"))
        assert type(await _refused(tmp_path / "text" / "below.db")) is CannotOpen
        assert type(await _refused(tmp_path / "text")) is NotAStore
        assert type(await _refused(tmp_path / "short")) is NotAStore
        assert type(await _refused(str(tmp_path / "a\0b"))) is CannotOpen

    asyncio.run(main())
    assert (tmp_path / "short").read_text() == "no"


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    other, marked = tmp_path / "other.db", tmp_path / "marked.db"
    for path, sql in ((other, "CREATE TABLE notes (text)"), (marked, "PRAGMA application_id = 42")):
        connection = apsw.Connection(str(path))
        connection.execute(sql)
        connection.close()
    before = {path: path.read_bytes() for path in (other, marked)}

    async def main() -> None:
        assert type(await _refused(other)) is NotAStore
        assert type(await _refused(marked)) is NotAStore

    asyncio.run(main())
    assert {path: path.read_bytes() for path in (other, marked)} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["marked.db", "other.db"]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "with space, 100% & ünïcode?.db"
    path.touch()
    run(lambda store: store.append(one("a-1")), path)
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA application_id").get == APPLICATION_ID
    assert connection.execute("PRAGMA user_version").get == migrations()[-1].number
    assert connection.execute("PRAGMA journal_mode").get == "wal"
    connection.close()


def test_a_newer_store_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    run(lambda store: store.head(), path)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    assert type(asyncio.run(_refused(path))) is StoreTooNew


def test_a_migration_that_was_another_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    run(lambda store: store.head(), path)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE foldline_migrations SET checksum = 'other'")
    connection.close()
    assert "another content" in str(asyncio.run(_refused(path)))


def test_the_schema_is_the_sum_of_the_migrations(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    run(lambda store: store.head(), path)
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    made = apsw.Connection(str(path))
    summed = apsw.Connection(":memory:")
    for migration in migrations():
        summed.execute(migration.sql)
    assert made.execute(schema).fetchall() == summed.execute(schema).fetchall()
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))
    assert made.execute("SELECT number, checksum FROM foldline_migrations ORDER BY number").fetchall() == [
        (migration.number, migration.checksum) for migration in migrations()
    ]
    made.close()


def test_what_cannot_be_read_or_written_is_told_apart(tmp_path: Path) -> None:
    # The other user must get as far as the file.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    path = tmp_path / "store.db"
    run(lambda store: store.append(one("a-1")), path)

    def set_modes(file: int, folder: int) -> None:
        path.chmod(file)
        tmp_path.chmod(folder)

    async def attempt(file: int, folder: int) -> str:
        set_modes(file, folder)
        try:
            process = await start("open.py", path, 65534)
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            return (await finish(process))[-1]
        finally:
            set_modes(0o644, 0o755)

    assert asyncio.run(attempt(0o444, 0o555)).startswith("StoreReadOnly")
    assert asyncio.run(attempt(0o666, 0o555)).startswith("StoreReadOnly")
    assert asyncio.run(attempt(0o000, 0o755)).startswith("CannotOpen")
    assert issubclass(StoreReadOnly, StoreError)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(CannotOpen, match="upgrade apsw"):
        asyncio.run(SqliteStore.open(tmp_path / "store.db"))
    assert not (tmp_path / "store.db").exists()


def test_many_processes_may_make_a_file_at_the_same_moment(tmp_path: Path) -> None:
    async def main() -> None:
        for attempt in range(3):
            path = tmp_path / f"{attempt}.db"
            processes = [await start("open.py", path) for _ in range(4)]
            for process in processes:
                assert process.stdout is not None
                async with asyncio.timeout(30):
                    assert await process.stdout.readline() == b"ready\n"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
            assert [await finish(process) for process in processes] == [["opened"]] * 4
            async with opened(path) as store:
                assert appended(await store.append(one("a-1"))).position == 1

    asyncio.run(main())


def test_closing_leaves_one_file(tmp_path: Path) -> None:
    run(lambda store: store.append(one("a-1")), tmp_path / "store.db")
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]
