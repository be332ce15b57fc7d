"""A dump, restored into a new cluster whose transaction ids are younger: everything goes on from where it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from foldline.store.spi import Claim, Column, Kind, ProjectionSpec, RecordedEvent, Snapshot, Table, Transaction
from tests.integration.postgres.support import (
    appended,
    connected,
    event,
    everything,
    faults_of_log,
    one,
    opened,
    table,
)
from tests.servers.fixtures import MakeServer
from tests.servers.postgres import INSTALLATIONS

ROWS = Table("counted", (Column("stream", Kind.TEXT), Column("n", Kind.INTEGER)), "stream", (("n",),))
SPEC = ProjectionSpec("counting", "1", (ROWS,))


@pytest.mark.parametrize("major", sorted(INSTALLATIONS))
def test_a_restored_store_goes_on(own_server: MakeServer, tmp_path: Path, major: int) -> None:
    """From the same version or an older one: positions, checkpoints, claims and snapshots are as they were."""
    source = own_server(major)
    url = source.create_database("old")

    async def fill() -> tuple[int, dict[str, Any]]:
        async with opened(url) as store, connected(url) as raw:
            # The old cluster's transaction ids are far ahead of the new one's.
            await raw.execute(
                "DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
            )
            for number in range(50):
                await store.append(one(f"a-{number % 7}", event(b'{ "n" :\t%d}' % number), event()))
            claimed = one("c-1")._replace(claim=Claim("claimed", b"body"))
            await store.append(claimed)
            await store.save_snapshot(Snapshot("a-1", 3, 7, "f", b"state"))
            checkpoint = await store.prepare(SPEC)
            await store.transact(lambda transaction: count(transaction, checkpoint, 60))
            # Positions were drawn and rolled back, above all that is there.
            await raw.execute("BEGIN; SELECT foldline_enter(), nextval('foldline_positions'); ROLLBACK")
            drawn = await raw.fetchval("SELECT last_value FROM foldline_positions")
            return drawn, {"append": claimed, "events": (await store.read_all(limit=1_000)).events}

    async def count(transaction: Transaction, checkpoint: Any, position: int) -> bool:
        await transaction.upsert(ROWS, [("a-1", position)])
        return await transaction.advance(checkpoint, position)

    drawn, was = asyncio.run(fill())
    source.dump("old", tmp_path / "dump")
    source.close()
    target = own_server(18)
    new = target.create_database("new")
    target.restore(tmp_path / "dump", "new")

    async def go_on() -> None:
        before = await table(new)
        events: list[RecordedEvent] = was["events"]
        async with opened(new) as store, connected(new) as raw:
            assert await raw.fetchval("SELECT pg_current_xact_id()::text::bigint") < 20_000
            end = events[-1].position
            assert tuple(await raw.fetchrow("SELECT head, held FROM foldline_head()") or ()) == (end, None)
            assert await store.head() == end
            assert (await store.read_all(limit=1_000)).events == events
            checkpoint = (await store.checkpoints())["counting"]
            assert checkpoint.position == 60
            # The same tables, so that nothing is made anew.
            assert await store.prepare(SPEC) == checkpoint
            assert await store.load(ROWS, ["a-1"]) == [("a-1", 60)]
            assert await store.load_snapshot("a-1") == Snapshot("a-1", 3, 7, "f", b"state")

            # A follower goes on from its position: what it has not seen, and what is appended now.
            follower = asyncio.ensure_future(store.wait(end, 10))
            position = appended(await store.append(one("a-1"))).position
            assert position > drawn
            assert await follower
            rest = await store.read_all(after=checkpoint.position, limit=1_000)
            assert [one.position for one in rest.events] == [
                one.position for one in await table(new) if one.position > checkpoint.position
            ]
            assert rest.position == position
            assert await store.transact(lambda transaction: count(transaction, checkpoint, position))
            assert appended(await store.append(was["append"])).replayed
            log = await table(new)
            assert log[:-1] == before
            assert faults_of_log(log) == []
            assert await everything(store) == log
            with pytest.raises(Exception, match="append-only"):
                await raw.execute("DELETE FROM foldline_events")

    asyncio.run(go_on())
