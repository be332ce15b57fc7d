"""The contract, over the store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from foldline.store.memory import MemoryStore
from foldline.store.spi import Clock, Store
from foldline.testing.contract import StoreContract, utc_now


class TestMemory(StoreContract):
    """Neither durable, nor shared, nor with SQL."""

    @asynccontextmanager
    async def store_at(self, folder: Path, *, clock: Clock = utc_now) -> AsyncIterator[Store]:
        """A new one each time, for it is gone with its object."""
        store = MemoryStore(clock=clock)
        try:
            yield store
        finally:
            await store.close()
