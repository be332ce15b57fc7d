"""Snapshots: the newest is kept, and none is made up."""

from __future__ import annotations

import asyncio

from foldline.store.spi import Snapshot, Store
from foldline.testing.contract.harness import StoreCase, event, kept, on_store, to


class SnapshotContract(StoreCase):
    """A cache of folded states, one a stream."""

    @on_store
    async def test_a_snapshot_is_kept(self, store: Store) -> None:
        """As it is: its state is bytes, of any kind, and its stream need not exist."""
        assert await store.load_snapshot("a-1") is None
        snapshot = Snapshot("a-1", 3, 17, "fingerprint", bytes(range(256)))
        await store.save_snapshot(snapshot)
        assert await store.load_snapshot("a-1") == snapshot
        assert await store.load_snapshot("a-2") is None
        large = Snapshot("a-2", 1, 1, "", b"\x00" * 2**20)
        await store.save_snapshot(large)
        assert await store.load_snapshot("a-2") == large
        assert await store.load_snapshot("a-1") == snapshot

    @on_store
    async def test_the_newest_is_kept(self, store: Store) -> None:
        """One that comes late does not replace it, and one of the same version does."""
        for version, state, wanted in (
            (5, b"a", b"a"),
            (4, b"b", b"a"),
            (6, b"c", b"c"),
            (6, b"d", b"d"),
            (1, b"e", b"d"),
        ):
            await store.save_snapshot(Snapshot("a-1", version, 10 * version, "same", state))
            found = await store.load_snapshot("a-1")
            assert found is not None and found.state == wanted

    @on_store
    async def test_one_of_other_code_is_replaced(self, store: Store) -> None:
        """Even by an older one, for the code that writes it could not use the newer."""
        await store.save_snapshot(Snapshot("a-1", 9, 90, "new code", b"new"))
        old = Snapshot("a-1", 7, 70, "old code", b"old")
        await store.save_snapshot(old)
        assert await store.load_snapshot("a-1") == old

    @on_store
    async def test_many_at_once_leave_the_newest(self, store: Store) -> None:
        """In whichever order they come, and beside appends."""
        snapshots = [Snapshot("a-1", version, version, "f", b"%d" % version) for version in (7, 3, 32, 1, 20, 31)]
        await asyncio.gather(*map(store.save_snapshot, snapshots), *(kept(store, to("a-1", event())) for _ in range(8)))
        assert await store.load_snapshot("a-1") == snapshots[2]
