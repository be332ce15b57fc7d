"""The contract, over a SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import apsw

from foldline.store.spi import Clock, RecordedEvent, Store
from foldline.store.sqlite import SqliteStore
from foldline.testing.contract import DurableContract, SharedContract, SqlContract, StoreContract, utc_now


class TestSqlite(StoreContract, DurableContract, SharedContract, SqlContract):
    """Durable, shared, and with SQL."""

    @asynccontextmanager
    async def store_at(self, folder: Path, *, clock: Clock = utc_now) -> AsyncIterator[Store]:
        """The file in that folder."""
        store = await SqliteStore.open(folder / "test.db", clock=clock)
        try:
            yield store
        finally:
            await store.close()

    def tamper(self, folder: Path, store: Store, event: RecordedEvent) -> Sequence[Callable[[], object]]:
        """On a connection of its own, past everything of ours but what is in the file."""
        row = "SELECT * FROM foldline_events WHERE position = ?1"
        return [
            partial(_execute, folder / "test.db", sql, event.position)
            for sql in (
                "UPDATE foldline_events SET data = '{}' WHERE position = ?1",
                "UPDATE foldline_events SET actor = actor WHERE position = ?1",
                "UPDATE OR REPLACE foldline_events SET version = version + 1 WHERE position = ?1",
                "DELETE FROM foldline_events WHERE position = ?1",
                "DELETE FROM foldline_events",
                f"INSERT INTO foldline_events {row}",
                f"INSERT INTO foldline_events {row} ON CONFLICT DO UPDATE SET data = '[]'",
            )
        ]

    @asynccontextmanager
    async def unrelated(self, folder: Path) -> AsyncIterator[None]:
        """A transaction that has read the events and keeps its snapshot; a writing one would exclude all others."""
        connection = apsw.Connection(str(folder / "test.db"))
        try:
            connection.execute("BEGIN; SELECT count(*) FROM foldline_events").fetchall()
            yield
            assert connection.in_transaction
        finally:
            connection.close()


def _execute(path: Path, sql: str, position: int) -> None:
    connection = apsw.Connection(str(path))
    try:
        connection.execute(sql, (position,) if "?1" in sql else ()).fetchall()
    finally:
        connection.close()
