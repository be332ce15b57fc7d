"""The contract, over each PostgreSQL that there is: a new database of a shared server for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import asyncpg
import pytest

from foldline.store.postgres import PostgresStore
from foldline.store.spi import Clock, RecordedEvent, Store
from foldline.testing.contract import (
    DurableContract,
    SharedContract,
    SqlContract,
    StoreCase,
    StoreContract,
    utc_now,
)
from tests.servers.databases import ensure_database, in_database, name_for, server_url
from tests.servers.fixtures import with_template
from tests.servers.postgres import INSTALLATIONS, PostgresServer

ROW = "SELECT * FROM foldline_events WHERE position = $1"
# The same event at a place of its own, but for what is said of it.
ELSEWHERE = (
    "INSERT INTO foldline_events SELECT (jsonb_populate_record(e, {changes})).* FROM foldline_events AS e "
    "WHERE position = $1"
)
MERGE = f"MERGE INTO foldline_events AS e USING ({ROW}) AS r ON e.position = r.position WHEN MATCHED THEN"
TAMPERING = (
    "UPDATE foldline_events SET data = '{}' WHERE position = $1",
    "UPDATE foldline_events SET actor = actor WHERE position = $1",
    "UPDATE foldline_events SET version = version + 100 WHERE position = $1",
    "UPDATE foldline_events SET position = position + 1000000",
    "WITH changed AS (UPDATE foldline_events SET type = 'x' WHERE position = $1 RETURNING 1) TABLE changed",
    "DELETE FROM foldline_events WHERE position = $1",
    "DELETE FROM ONLY foldline_events",
    "WITH gone AS (DELETE FROM foldline_events RETURNING 1) TABLE gone",
    "TRUNCATE foldline_events",
    "TRUNCATE foldline_events, foldline_commands RESTART IDENTITY CASCADE",
    f"INSERT INTO foldline_events {ROW}",
    f"INSERT INTO foldline_events {ROW} ON CONFLICT (position) DO UPDATE SET data = '[]'",
    f"INSERT INTO foldline_events {ROW} ON CONFLICT (event_id) DO UPDATE SET actor = excluded.actor",
    ELSEWHERE.format(changes="jsonb_build_object('position', 10 ^ 6, 'event_id', gen_random_uuid())"),
    ELSEWHERE.format(changes="jsonb_build_object('position', 10 ^ 6, 'version', 99)"),
    f"{MERGE} DELETE",
    f"{MERGE} UPDATE SET data = '[]'",
)
"""What somebody might try with all rights but those of changing the schema."""


class PostgresCase(StoreCase):
    """A store in a database of the shared server of one version."""

    serial = False
    exponents = False
    major: ClassVar[int]

    _made: ClassVar[set[str]] = set()

    @pytest.fixture(autouse=True)
    def _server(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
        """Has the server running, and removes the test's database."""
        server: PostgresServer = with_template(request.getfixturevalue(f"postgres{self.major}"))
        yield
        if (name := name_for(tmp_path)) in self._made:
            server.drop_database(name)

    @asynccontextmanager
    async def store_at(self, folder: Path, *, clock: Clock = utc_now) -> AsyncIterator[Store]:
        """The database that stands for that folder, made by whoever comes first."""
        store = await PostgresStore.open(await self._database(folder), clock=clock)
        try:
            yield store
        finally:
            await store.close()

    async def _database(self, folder: Path) -> str:
        server, name = server_url(self.major), name_for(folder)
        if name in self._made:
            return in_database(server, name)
        self._made.add(name)
        return await ensure_database(server, name)

    def tamper(self, folder: Path, store: Store, event: RecordedEvent) -> Sequence[Callable[[], object]]:
        """As a superuser, on a connection of its own, also where that silences ordinary triggers."""
        url = in_database(server_url(self.major), name_for(folder))
        return [
            partial(_execute, url, role, sql, event.position) for role in ("origin", "replica") for sql in TAMPERING
        ]

    @asynccontextmanager
    async def unrelated(self, folder: Path) -> AsyncIterator[None]:
        """Transactions older than every append to come, with ids of their own and a snapshot, here and elsewhere."""
        server = server_url(self.major)
        here = in_database(server, name_for(folder))
        async with AsyncExitStack() as stack:
            for url, begin in (
                (here, "BEGIN; CREATE TABLE unrelated (n int); INSERT INTO unrelated VALUES (1)"),
                (here, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM foldline_events"),
                (here, "BEGIN; SELECT pg_current_xact_id(), pg_advisory_xact_lock(1), pg_advisory_xact_lock(1, 1)"),
                (server, "BEGIN; CREATE TABLE unrelated (n int); INSERT INTO unrelated VALUES (1)"),
            ):
                connection = await asyncpg.connect(url)
                stack.push_async_callback(connection.close)
                await connection.execute(begin)
            yield


def _execute(url: str, role: str, sql: str, position: int) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(f"SET session_replication_role = {role}")
            await connection.execute(sql.replace("$1", str(position)))
        finally:
            await connection.close()

    # The test that calls this runs an event loop of its own in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


class TestPostgres18(PostgresCase, StoreContract, DurableContract, SharedContract, SqlContract):
    """Durable, shared, and with SQL."""

    major = 18


if 15 in INSTALLATIONS:

    class TestPostgres15(PostgresCase, StoreContract, DurableContract, SharedContract, SqlContract):
        """Likewise; its databases sort text as English does, so nothing may rest on an order by bytes."""

        major = 15
