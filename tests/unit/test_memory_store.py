"""What the store in memory does beyond the contract."""

from __future__ import annotations

import asyncio

import pytest

from foldline.errors import DefinitionError
from foldline.observe import AppendsCommitted, Fact
from foldline.store.memory import MemoryStore
from foldline.store.spi import Transaction
from foldline.testing.contract.harness import appended, event, events, to


def test_work_that_asks_the_store_is_refused() -> None:
    """Though nothing would have to wait here: what works in memory must work on a database, too."""

    async def main() -> None:
        store = MemoryStore()

        async def work(transaction: Transaction) -> int:
            return await store.head()

        with pytest.raises(DefinitionError):
            await store.transact(work)
        assert await store.head() == 0

    asyncio.run(main())


def test_an_observer_is_told_of_every_append_that_added_something() -> None:
    """Once for each, and not for a retry."""

    async def main() -> list[Fact]:
        facts: list[Fact] = []
        store = MemoryStore(observer=facts.append)
        append = to("a-1", *events(3))
        for added in (append, append, to("b-1", event())):
            appended(await store.append(added))
        return facts

    assert asyncio.run(main()) == [AppendsCommitted(1, 3, 0.0), AppendsCommitted(1, 1, 0.0)]
