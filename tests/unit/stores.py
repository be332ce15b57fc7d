"""The stores that the read side's tests run over."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import uuid_utils

from foldline.store.memory import MemoryStore
from foldline.store.spi import Store
from foldline.store.sqlite import SqliteStore

STORES = ("memory", "sqlite")


def uuid7() -> UUID:
    """A new event id."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


@asynccontextmanager
async def open_two() -> AsyncIterator[tuple[Store, Store]]:
    """One SQLite file opened twice, as two processes would."""
    with tempfile.TemporaryDirectory(prefix="foldline-") as folder:
        path = str(Path(folder) / "test.db")
        one, two = await SqliteStore.open(path), await SqliteStore.open(path)
        try:
            yield one, two
        finally:
            await one.close()
            await two.close()


@asynccontextmanager
async def open_store(kind: str) -> AsyncIterator[Store]:
    """A new, empty store, closed and gone at the end."""
    if kind == "memory":
        store: Store = MemoryStore()
        try:
            yield store
        finally:
            await store.close()
        return
    with tempfile.TemporaryDirectory(prefix="foldline-") as folder:
        store = await SqliteStore.open(str(Path(folder) / "test.db"))
        try:
            yield store
        finally:
            await store.close()
