"""What an adapter says of itself is true: durable, shared and with SQL, or not."""

from __future__ import annotations

import asyncio

import pytest

from foldline.errors import StoreClosed, Unsupported
from foldline.store.spi import (
    Appended,
    Checkpoint,
    Claim,
    Claimed,
    Column,
    Kind,
    ProjectionSpec,
    Select,
    Snapshot,
    Store,
    Table,
    Transaction,
)
from foldline.testing.contract.harness import Place, StoreCase, event, events, kept, on_place, on_store, to, whole_log

ROWS = Table("account", (Column("id", Kind.TEXT), Column("amount", Kind.DECIMAL)), "id")
SPEC = ProjectionSpec("account", "one", (ROWS,))
IN_SQL = ProjectionSpec(
    "sales",
    "one",
    setup=("CREATE TABLE sales (day TEXT NOT NULL PRIMARY KEY, amount INTEGER NOT NULL)",),
    owned=("sales",),
)


class DurableContract(StoreCase):
    """For an adapter whose store is there when it is opened again; its folder is then the same place."""

    @on_place
    async def test_everything_is_there_when_it_is_opened_again(self, place: Place) -> None:
        """Events, claims, snapshots, rows and checkpoints."""
        claim = Claim("c", b"body")
        snapshot = Snapshot("a-1", 3, 3, "f", b"\x00state")
        async with place.open() as store:
            append = to("a-1", *events(3), expected=0, claim=claim)
            first = await kept(store, append)
            await store.save_snapshot(snapshot)
            checkpoint = await store.prepare(SPEC)

            async def work(transaction: Transaction) -> None:
                await transaction.upsert(ROWS, [("a", 1)])
                assert await transaction.advance(checkpoint, 3)

            await store.transact(work)
            log, rows = await whole_log(store), await store.select(Select(ROWS))
        async with place.open() as store:
            assert await whole_log(store) == log == await store.read_stream("a-1")
            assert await store.head() == first.position
            assert await store.wait(0, 0) is True
            assert await store.claimed("c") == Claimed(b"body", first)
            assert await store.load_snapshot("a-1") == snapshot
            assert await store.select(Select(ROWS)) == rows
            assert await store.prepare(SPEC) == checkpoint._replace(position=3)
            assert await store.wait_checkpoint("account", 3, 0) == checkpoint._replace(position=3)
            # An append whose outcome was not known is retried after a restart.
            assert await store.append(append) == first._replace(replayed=True)
            assert await store.append(append._replace(claim=None)) == first._replace(replayed=True)
            later = await kept(store, to("a-1", event(), expected=3))
            assert later.position > first.position

    @on_place
    async def test_what_was_acknowledged_while_closing_is_there(self, place: Place) -> None:
        """And of what was told that the store is closed, there is nothing."""
        async with place.open() as store:
            begun = [asyncio.create_task(_append(store, number)) for number in range(100)]
            await asyncio.sleep(0)
            await store.close()
            outcomes = await asyncio.gather(*begun, return_exceptions=True)
        acknowledged = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Appended)]
        refused = [outcome for outcome in outcomes if not isinstance(outcome, Appended)]
        assert all(isinstance(outcome, StoreClosed) for outcome in refused), refused
        async with place.open() as store:
            assert sorted({int(one.category) for one in await whole_log(store)}) == acknowledged
            assert len(await whole_log(store)) == 2 * len(acknowledged)


class SqlContract(StoreCase):
    """For an adapter whose projections may be written in SQL."""

    @on_store
    async def test_a_projection_in_sql(self, store: Store) -> None:
        """It makes its own tables, writes them with parameters, and is read with parameters."""
        await kept(store, to("a-1", *events(2)))
        checkpoint = await store.prepare(IN_SQL)
        for day, amount in (("mon", 5), ("tue", 7), ("mon", 2), ("it's; --", 1)):
            checkpoint = await _sell(store, checkpoint, day, amount)
        columns, rows = await store.sql("SELECT day, amount FROM sales WHERE amount > ? ORDER BY day", [1])
        assert columns == ["day", "amount"]
        assert rows == [("mon", 7), ("tue", 7)]
        _, [(total,)] = await store.sql("SELECT sum(amount) AS total FROM sales")
        assert int(total) == 15
        columns, rows = await store.sql("SELECT day FROM sales WHERE day = ?", ("it's; --",))
        assert (columns, rows) == (["day"], [("it's; --",)])
        assert (await store.sql("SELECT day, amount AS n FROM sales WHERE amount > 99"))[0] == ["day", "n"]

    @on_store
    async def test_sql_that_fails_leaves_nothing(self, store: Store) -> None:
        """Neither rows nor checkpoint, and the projection goes on from where it was."""
        checkpoint = await _sell(store, await store.prepare(IN_SQL), "mon", 5)

        async def work(transaction: Transaction) -> None:
            assert await transaction.advance(checkpoint, 50)
            await transaction.execute("DELETE FROM sales")
            await transaction.execute("INSERT INTO sales (day) VALUES (?)", "no amount")

        with pytest.raises(Exception, match=r"(?i)amount"):
            await store.transact(work)
        assert (await store.sql("SELECT * FROM sales"))[1] == [("mon", 5)]
        await _sell(store, checkpoint, "mon", 1)
        assert (await store.sql("SELECT * FROM sales"))[1] == [("mon", 6)]

    @on_store
    async def test_it_is_made_anew_like_any_other(self, store: Store) -> None:
        """By reset(), and by prepare() under another fingerprint."""
        before = await _sell(store, await store.prepare(IN_SQL), "mon", 5)
        assert await store.prepare(IN_SQL) == before
        fresh = await store.reset(IN_SQL)
        assert (fresh.position, fresh.generation > before.generation) == (0, True)
        # Asked often enough that every connection of the store's knows the table as it was.
        for columns, rows in await asyncio.gather(*(store.sql("SELECT * FROM sales") for _ in range(32))):
            assert (columns, rows) == (["day", "amount"], [])
        changed = IN_SQL._replace(fingerprint="two", setup=("CREATE TABLE sales (day TEXT NOT NULL, n INTEGER)",))
        await store.prepare(changed)
        for columns, rows in await asyncio.gather(*(store.sql("SELECT * FROM sales") for _ in range(32))):
            assert (columns, rows) == (["day", "n"], [])

    @on_store
    async def test_reading_sql_cannot_write(self, store: Store) -> None:
        """Neither a projection's tables nor the log."""
        await kept(store, to("a-1", event()))
        await _sell(store, await store.prepare(IN_SQL), "mon", 5)
        for text in (
            "DELETE FROM sales",
            "UPDATE sales SET amount = 1",
            "INSERT INTO sales VALUES ('tue', 1)",
            "DROP TABLE sales",
            "CREATE TABLE other (id INTEGER)",
            "SELECT 1; DELETE FROM sales",
            "no SQL at all",
        ):
            with pytest.raises(Exception):  # noqa: B017  (which error it is differs with the database)
                await store.sql(text)
                pytest.fail(f"this was not refused: {text}")
        assert (await store.sql("SELECT * FROM sales"))[1] == [("mon", 5)]
        assert len(await whole_log(store)) == 1


class CapabilitiesContract(StoreCase):
    """The declaration is true: each capability has its part of the contract, and this class runs just those."""

    @on_store
    async def test_the_contract_covers_what_is_declared(self, store: Store) -> None:
        """An adapter cannot leave out a part of the contract that it declares, nor declare less than it runs."""
        from foldline.testing.contract.processes import SharedContract

        declared = store.capabilities
        for name, part, says in (
            ("durable", DurableContract, declared.durable),
            ("sql", SqlContract, declared.sql),
            ("shared", SharedContract, declared.shared),
        ):
            assert isinstance(self, part) is says, f"{name} is declared as {says}: " + (
                f"inherit {part.__name__} too" if says else f"do not inherit {part.__name__}, or declare it"
            )

    @on_place
    async def test_what_is_not_durable_is_gone(self, place: Place) -> None:
        """A store that is opened again has what it had before, or nothing at all where it does not say so."""
        async with place.open() as store:
            durable = store.capabilities.durable
            await kept(store, to("a-1", *events(2)))
        async with place.open() as store:
            assert len(await whole_log(store)) == (2 if durable else 0)

    @on_store
    async def test_sql_works_or_is_refused_as_unsupported(self, store: Store) -> None:
        """In every place where it could be used."""
        await store.prepare(SPEC)

        async def execute(transaction: Transaction) -> None:
            await transaction.execute("DELETE FROM account")

        async def fetch(transaction: Transaction) -> int:
            return len(await transaction.fetch("SELECT id FROM account"))

        for use in (
            lambda: store.transact(execute),
            lambda: store.transact(fetch),
            lambda: store.sql("SELECT id FROM account"),
            lambda: store.prepare(IN_SQL),
            lambda: store.reset(IN_SQL),
        ):
            if store.capabilities.sql:
                await use()
            else:
                with pytest.raises(Unsupported):
                    await use()
        assert ("sales" in await store.checkpoints()) is store.capabilities.sql


async def _append(store: Store, number: int) -> object:
    return await store.append(to(f"{number}-x", *events(2)))


async def _sell(store: Store, checkpoint: Checkpoint, day: str, amount: int) -> Checkpoint:
    """Add to a day's sales, and move the projection on by one."""

    async def work(transaction: Transaction) -> None:
        known = await transaction.fetch("SELECT amount FROM sales WHERE day = ?", day)
        if known:
            await transaction.execute("UPDATE sales SET amount = amount + ? WHERE day = ?", amount, day)
        else:
            await transaction.execute("INSERT INTO sales (day, amount) VALUES (?, ?)", day, amount)
        assert await transaction.advance(checkpoint, checkpoint.position + 1)

    await store.transact(work)
    return checkpoint._replace(position=checkpoint.position + 1)
