"""Store URLs: which store each opens, what may be shown of it, and what is no URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from foldline.app import App, open_store
from foldline.app.stores import migrate_store, migration_script, shown
from foldline.errors import CannotOpen
from foldline.store.memory import MemoryStore
from foldline.store.postgres import PostgresStore
from foldline.store.sqlite import SqliteStore


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(within())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:shop.db", "sqlite:shop.db"),
        ("sqlite:a:b@c.db", "sqlite:a:b@c.db"),
        ("memory:", "memory:"),
        ("", ""),
        ("shop.db", "shop.db"),
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h:5432/db?user=a@b", "postgresql://h:5432/db?user=a@b"),
        ("postgresql://[::1]:5432/db?user=a@b", "postgresql://[::1]:5432/db?user=a@b"),
        ("postgresql://h1:1,h2:2/db?user=a@b", "postgresql://h1:1,h2:2/db?user=a@b"),
        ("postgresql://u:pw@h/db", "postgresql://u:***@h/db"),
        ("postgres://u:pw@h:1/db?sslmode=require", "postgres://u:***@h:1/db?sslmode=require"),
        ("postgresql://:pw@h", "postgresql://:***@h"),
        ("postgresql://u:@h", "postgresql://u:***@h"),
        ("postgresql://u:pw@[::1]:5432/d", "postgresql://u:***@[::1]:5432/d"),
        ("postgresql://u:pw@h1:1,h2:2/db", "postgresql://u:***@h1:1,h2:2/db"),
        ("postgresql://u:pw@h/db?application_name=a@b", "postgresql://u:***@h/db?application_name=a@b"),
        ("postgresql://h/db?user=u&password=pw&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("postgresql://h/db?PASSWORD=p@w", "postgresql://h/db?PASSWORD=***"),
        ("postgresql://u:pw@h/db?sslpassword=key", "postgresql://u:***@h/db?sslpassword=***"),
        # Not well-formed, but people write them, and logs keep them.
        ("postgresql://u:p@w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p:w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p/w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p?w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p#w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:12?w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:12/3@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u@corp:pw@h/db", "postgresql://u@corp:***@h/db"),
        ("postgresql:u:pw@h/db", "postgresql:***@h/db"),
        ("u:pw@h/db", "u:***@h/db"),
        ("mysql://u:pw@h/db", "mysql://u:***@h/db"),
        ("host=h password=pw user=u", "host=h password=*** user=u"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:",
        "shop.db",
        "memory:here",
        "sqlite:x.db?fast=1",
        "mysql://u:s3cret@h/db",
        "postgresql:x",
        "postgresql:u:s3cret@h/db",
        "postgresql",
        "postgresql://u:s3/cret@h/db",
        "postgresql://u:s3?cret@h/db",
        "postgresql://u:s3#cret@h/db",
        "postgresql://u:s3[cret@h/db",
        "postgresql://u:s3\u2100cret@h/db",
        "postgresql://u:s3cret@127.0.0.1:99999/db",
        "postgresql://u:s3cret@127.0.0.1:x/db",
        "postgresql://u:s3cret@127.0.0.1:1/db?pool_size=no",
        "postgresql://u:s3cret@127.0.0.1:1/db?sslmode=no",
        "postgresql://u:s3cret@127.0.0.1:1/db",
    ],
)
def test_a_bad_url_is_told(url: str) -> None:
    async def work() -> None:
        with pytest.raises(CannotOpen) as caught:
            async with open_store(url):
                pass
        told = str(caught.value)
        assert "\n" not in told
        assert "s3" not in told and "cret" not in told
        with pytest.raises(CannotOpen):
            await migrate_store(url)

    run(work)


def test_each_scheme_opens_its_store(tmp_path: Path, database: str) -> None:
    async def work() -> None:
        for url, kind in (
            ("memory:", MemoryStore),
            (f"sqlite:{tmp_path}/a.db", SqliteStore),
            (f"sqlite://{tmp_path}/b.db?synchronous=normal", SqliteStore),
            (database, PostgresStore),
            (database.replace("postgresql://", "postgres://"), PostgresStore),
        ):
            async with open_store(url) as store:
                assert type(store) is kind
                assert await store.head() == 0

    run(work)


def test_a_store_that_must_be_there(tmp_path: Path, empty_database: str) -> None:
    async def work() -> None:
        file = f"sqlite:{tmp_path}/a.db"
        for url, told in (
            ("memory:", "gone with its process"),
            (file, "There is no store"),
            (empty_database, "run foldline migrate"),
        ):
            with pytest.raises(CannotOpen, match=told):
                async with open_store(url, create=False):
                    pass
            with pytest.raises(CannotOpen, match=told):
                async with App("none").open(url, create=False):
                    pass
        for url in (file, empty_database):
            # None of that has made it.
            assert await migrate_store(url) == ["0001_store"]
            assert await migrate_store(url) == []
            async with open_store(url, create=False) as store:
                assert await store.head() == 0

    run(work)


def test_a_script_needs_no_store() -> None:
    assert "foldline_events" in migration_script("postgresql://nowhere.invalid/db")
    assert "foldline_events" in migration_script("sqlite:no/such/folder/x.db")
    for url in ("memory:", "mysql://h/db"):
        with pytest.raises(CannotOpen):
            migration_script(url)
