"""Projections: their tables made, owned and made anew, and waiting for them to catch up (G6)."""

from __future__ import annotations

import asyncio
import time

import pytest

from foldline.errors import DefinitionError, StoreError
from foldline.store.spi import (
    Column,
    Kind,
    ProjectionSpec,
    Select,
    Store,
    Table,
    Transaction,
)
from foldline.testing.contract.follow import PROMPT
from foldline.testing.contract.harness import StoreCase, on_store
from foldline.testing.contract.views import ACCOUNTS, SPEC, account_rows, advance, do, filled


class ProjectionContract(StoreCase):
    """A projection's tables, from their making to their making anew."""

    @on_store
    async def test_a_new_projection_begins_at_the_start(self, store: Store) -> None:
        """With its tables made and empty."""
        assert await store.checkpoints() == {}
        checkpoint = await store.prepare(SPEC)
        assert (checkpoint.projection, checkpoint.position, checkpoint.fingerprint) == ("account", 0, "one")
        assert await store.checkpoints() == {"account": checkpoint}
        assert await store.prepare(SPEC) == checkpoint
        assert await account_rows(store) == []

    @on_store
    async def test_a_projection_that_is_as_it_was_is_left_alone(self, store: Store) -> None:
        """Preparing it again changes nothing."""
        checkpoint = await filled(store, ("a", 1))
        assert await store.prepare(SPEC) == checkpoint
        assert await account_rows(store) == [("a", 1)]

    @on_store
    async def test_a_reset_empties_and_fences(self, store: Store) -> None:
        """Its generation grows, so that one who had it before can commit nothing."""
        before = await filled(store, ("a", 1))
        fresh = await store.reset(SPEC)
        assert (fresh.position, fresh.fingerprint) == (0, "one")
        assert fresh.generation > before.generation
        assert await account_rows(store) == []
        assert await advance(store, before, 9) is False
        assert await advance(store, before._replace(position=0), 9) is False
        assert await advance(store, fresh, 1) is True

    @on_store
    async def test_a_changed_projection_is_made_anew(self, store: Store) -> None:
        """Under its new shape, from the start."""
        before = await filled(store, ("a", 1))
        changed = Table(
            "account", (Column("id", Kind.INTEGER), Column("name", Kind.TEXT, nullable=True)), "id", (("name",),)
        )
        more = Table("account_more", (Column("id", Kind.UUID),), "id")
        fresh = await store.prepare(ProjectionSpec("account", "two", (changed, more)))
        assert (fresh.position, fresh.fingerprint) == (0, "two")
        assert fresh.generation > before.generation
        assert await store.select(Select(changed)) == await store.select(Select(more)) == []
        await do(store, lambda transaction: transaction.upsert(changed, [(1, None)]))
        again = await store.prepare(SPEC)
        assert again.generation > fresh.generation
        assert await account_rows(store) == []
        # What it does not have any more is free for others.
        await store.prepare(ProjectionSpec("other", "x", (more,)))

    @on_store
    async def test_a_table_belongs_to_one_projection(self, store: Store) -> None:
        """Another that wants it is refused, and changes nothing."""
        checkpoint = await filled(store, ("a", 1))
        thief = ProjectionSpec("thief", "x", (Table("mine", (Column("id", Kind.TEXT),), "id"), ACCOUNTS))
        for take in (store.prepare, store.reset):
            with pytest.raises(DefinitionError):
                await take(thief)
        assert await store.checkpoints() == {"account": checkpoint}
        assert await account_rows(store) == [("a", 1)]
        await store.prepare(thief._replace(tables=thief.tables[:1]))

    @on_store
    async def test_a_refused_reset_changes_nothing(self, store: Store) -> None:
        """A projection that would take another's table keeps its own."""
        await filled(store, ("a", 1))
        own = Table("own", (Column("id", Kind.TEXT),), "id")
        spec = ProjectionSpec("second", "x", (own,))
        before = await store.prepare(spec)
        await do(store, lambda transaction: transaction.upsert(own, [("kept",)]))
        with pytest.raises(DefinitionError):
            await store.prepare(ProjectionSpec("second", "y", (own, ACCOUNTS)))
        assert await store.select(Select(own)) == [("kept",)]
        assert await store.prepare(spec) == before

    @on_store
    async def test_what_is_not_there_is_said(self, store: Store) -> None:
        """A table that nothing prepared, and a column that a table does not have."""
        with pytest.raises(StoreError):
            await store.load(ACCOUNTS, ["a"])
        with pytest.raises(StoreError):
            await store.select(Select(ACCOUNTS))
        with pytest.raises(StoreError):
            await do(store, lambda transaction: transaction.upsert(ACCOUNTS, [("a", 1)]))


class WaitContract(StoreCase):
    """Waiting for a read model to catch up."""

    @on_store
    async def test_a_wait_for_a_view_ends_at_once_where_it_is_reached(self, store: Store) -> None:
        """With the checkpoint; with None where there is no such projection."""
        checkpoint = await filled(store)
        for position in (0, checkpoint.position - 1, checkpoint.position):
            assert await store.wait_checkpoint("account", position, 30) == checkpoint
            assert await store.wait_checkpoint("account", position, 0) == checkpoint
        assert await store.wait_checkpoint("nobody", 0, 30) is None

    @on_store
    async def test_a_wait_for_a_view_ends_when_its_time_is_over(self, store: Store) -> None:
        """With None, and not before."""
        checkpoint = await filled(store)
        assert await store.wait_checkpoint("account", checkpoint.position + 1, 0) is None
        began = time.monotonic()
        assert await store.wait_checkpoint("account", checkpoint.position + 1, 0.15) is None
        assert 0.1 < time.monotonic() - began < PROMPT

    @on_store
    async def test_a_wait_for_a_view_is_woken_when_it_is_reached(self, store: Store) -> None:
        """By its own projection, not by another's, and not before; then its rows are there."""
        checkpoint = await filled(store)
        at = checkpoint.position
        other = await store.prepare(ProjectionSpec("other", "x", (Table("other", (Column("id", Kind.TEXT),), "id"),)))
        began = time.monotonic()
        waits = [asyncio.create_task(store.wait_checkpoint("account", at + 2, 50)) for _ in range(10)]
        await asyncio.sleep(0)
        assert await advance(store, other, 1000)
        assert await advance(store, checkpoint, at + 1)
        assert await store.wait_checkpoint("account", at + 1, 0) == checkpoint._replace(position=at + 1)
        assert not any(wait.done() for wait in waits)

        async def work(transaction: Transaction) -> None:
            await transaction.upsert(ACCOUNTS, [("new", 1)])
            assert await transaction.advance(checkpoint._replace(position=at + 1), at + 3)

        await store.transact(work)
        assert await asyncio.gather(*waits) == [checkpoint._replace(position=at + 3)] * 10
        assert await store.load(ACCOUNTS, ["new"]) == [("new", 1)]
        assert time.monotonic() - began < PROMPT

    @on_store
    async def test_work_that_fails_wakes_nobody(self, store: Store) -> None:
        """For what it had advanced to was not committed."""
        checkpoint = await filled(store)

        async def work(transaction: Transaction) -> None:
            assert await transaction.advance(checkpoint, checkpoint.position + 1)
            raise LookupError

        wait = asyncio.create_task(store.wait_checkpoint("account", checkpoint.position + 1, 0.2))
        await asyncio.sleep(0)
        with pytest.raises(LookupError):
            await store.transact(work)
        assert await wait is None
