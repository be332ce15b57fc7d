"""Snapshots are a cache: they make long streams load fast, and change no answer, whatever they hold."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from foldline.command.loader import Loader
from foldline.command.snapshots import Snapshots
from foldline.domain.codec import Codec
from foldline.domain.schema import Registry
from foldline.errors import CodecError, StoreFull
from foldline.observe import SnapshotIgnored, SnapshotWritten
from foldline.store.spi import Snapshot, Store
from tests.unit.bank import Account, Deposit, Deposited, Withdrawn, Wrapped, account, bank, elsewhere, run
from tests.unit.stores import STORES, open_store

stores = pytest.mark.parametrize("kind", STORES)
every_three = msgspec.structs.replace(account, snapshot_every=3)


def written(facts: list[Any]) -> list[int]:
    return [fact.version for fact in facts if isinstance(fact, SnapshotWritten)]


@stores
@run
async def test_they_are_written_as_the_policy_says_and_used(kind: str) -> None:
    async with open_store(kind) as inner:
        store = Wrapped(inner)
        async with bank(cast(Store, store), snapshot_every=3) as it:
            for number in range(1, 9):
                await it.bus.execute(Deposit("a", number))
        assert written(it.facts) == [3, 6]
        async with bank(cast(Store, store), snapshot_every=3) as fresh:
            store.reads.clear()
            await fresh.bus.execute(Deposit("a", 9))
            assert store.reads == [("account-a", 6)]
            known = fresh.loader.recall("account-a")
            assert known is not None and known.state == Account(45) and known.version == 9
            assert await fresh.balance("a") == 45
        assert written(fresh.facts) == [9]


@run
async def test_a_long_append_makes_one_snapshot_and_a_short_one_none() -> None:
    async with open_store("memory") as inner:
        store = Wrapped(inner)
        async with Snapshots(cast(Store, store)) as snapshots:
            snapshots.offer(every_three, "account-a", Account(1), 0, 8, 8)
            snapshots.offer(every_three, "account-a", Account(2), 8, 8, 8)
            snapshots.offer(every_three, "account-b", Account(3), 0, 2, 9)
            snapshots.offer(every_three, "account-c", Account(4), 2, 3, 9)
        assert [(one.stream_id, one.version) for one in store.saved] == [("account-a", 8), ("account-c", 3)]


@run
async def test_no_policy_no_snapshots() -> None:
    async with open_store("memory") as inner:
        store = Wrapped(inner)
        async with bank(cast(Store, store)) as it:
            for number in range(1, 9):
                await it.bus.execute(Deposit("a", number))
        assert store.saved == []


@stores
@pytest.mark.parametrize(
    ("fingerprint", "state"),
    [("other", b'{"balance":7,"tags":[]}'), (None, b'{"balance":"x"}'), (None, b"{"), (None, b""), (None, b"\xff")],
)
@run
async def test_what_does_not_fit_is_ignored_and_replaced(kind: str, fingerprint: str | None, state: bytes) -> None:
    async with open_store(kind) as store:
        await elsewhere(store, *(Deposited("a", 1) for _ in range(4)))
        await store.save_snapshot(Snapshot("account-a", 3, 3, fingerprint or account.fingerprint(), state))
        async with bank(store, snapshot_every=3) as it:
            await it.bus.execute(Deposit("a", 1))
            await it.bus.execute(Deposit("a", 1))
            known = it.loader.recall("account-a")
            assert known is not None and known.state == Account(6)
            assert any(isinstance(fact, SnapshotIgnored) and fact.stream_id == "account-a" for fact in it.facts)
        kept = await store.load_snapshot("account-a")
        assert kept is not None and (kept.version, kept.fingerprint) == (6, account.fingerprint())


@stores
@run
async def test_a_state_that_would_come_back_as_another_is_not_kept(kind: str) -> None:
    async with open_store(kind) as store:
        async with bank(store, snapshot_every=1) as it:
            it.snapshots.offer(
                msgspec.structs.replace(account, snapshot_every=1), "account-x", Account(1, [(1, 2)]), 0, 1, 1
            )
            it.snapshots.offer(
                msgspec.structs.replace(account, snapshot_every=1), "account-y", Account(1, [object()]), 0, 1, 1
            )
            it.snapshots.offer(
                msgspec.structs.replace(account, snapshot_every=1), "account-z", Account(1, [float("nan")]), 0, 1, 1
            )
        assert written(it.facts) == []
        for stream in ("account-x", "account-y", "account-z"):
            assert await store.load_snapshot(stream) is None


@run
async def test_a_store_that_cannot_keep_them_hinders_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Wrapped):
        async def save_snapshot(self, snapshot: Snapshot, /) -> None:
            raise StoreFull if snapshot.version % 2 else ZeroDivisionError

    async with open_store("memory") as inner:
        store = Full(inner)
        async with bank(cast(Store, store), snapshot_every=1) as it:
            for _ in range(600):
                await it.bus.execute(Deposit("a", 1))
        assert await it.balance("a") == 600
    assert "not kept" in caplog.text and "ZeroDivisionError" in caplog.text


@run
async def test_a_slow_store_of_snapshots_holds_up_no_command() -> None:
    release = asyncio.Event()

    class Slow(Wrapped):
        async def save_snapshot(self, snapshot: Snapshot, /) -> None:
            await release.wait()
            await super().save_snapshot(snapshot)

    async with open_store("memory") as inner:
        store = Slow(inner)
        async with bank(cast(Store, store), snapshot_every=1) as it:
            for _ in range(400):
                await it.bus.execute(Deposit("a", 1))
            assert store.saved == []
            release.set()
        # What was accepted is written before it closes; what did not fit was let go.
        assert 200 < len(store.saved) < 400
        kept = await inner.load_snapshot("account-a")
        assert kept is not None and kept.version == store.saved[-1].version


@stores
@run
async def test_the_past_needs_no_snapshots(kind: str) -> None:
    async with open_store(kind) as store, bank(store, snapshot_every=2) as it:
        for number in range(1, 6):
            await it.bus.execute(Deposit("a", number))
        for version, balance in ((0, 0), (1, 1), (3, 6), (5, 15), (99, 15)):
            loaded = await it.loader.load_past(every_three, "account-a", version=version)
            assert (loaded.state.balance, loaded.version) == (balance, min(version, 5))
        recorded = (await it.events("a"))[-1].recorded_at
        assert (await it.loader.load_past(every_three, "account-a", at=recorded)).state.balance == 15


@run
async def test_an_event_that_cannot_be_read_is_told_with_its_place() -> None:
    async with open_store("memory") as store:
        await elsewhere(store, Deposited("a", 1), Deposited("a", "much"))  # type: ignore[arg-type]
        async with bank(store) as it:
            with pytest.raises(CodecError, match=r"Stored event Deposited .*\(stream 'account-a', version 2\)"):
                await it.bus.execute(Deposit("a", 1))


@run
async def test_an_older_state_never_replaces_a_newer_one() -> None:
    async with open_store("memory") as store:
        await elsewhere(store, Deposited("a", 1), Withdrawn("a", 1))
        codec = Codec(Registry("event", [Deposited, Withdrawn]))
        loader = Loader(store, Snapshots(store), codec, size=10)
        newer = await loader.load(account, "account-a")
        loader.remember("account-a", newer._replace(version=1))
        assert loader.recall("account-a") is newer
        assert (await loader.catch_up(account, "account-a", newer)) is newer
