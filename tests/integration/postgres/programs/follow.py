"""Follow the log at URL until the position that the input says; print, or keep in the database, what is seen.

As ``printed`` it begins at 0 and prints each event and when it came. As ``kept`` it goes on from its checkpoint, and
writes what it sees to a table in the transaction that moves the checkpoint on; so it may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

from foldline.store.postgres import PostgresStore
from foldline.store.spi import RecordedEvent, Transaction
from tests.integration.postgres.support import KEPT, follow, input_line

INSERT = "INSERT INTO seen (position, event_id, stream_id, version, at) SELECT *, ? FROM unnest({})".format(
    "?::bigint[], ?::uuid[], ?::text[], ?::bigint[]"
)


async def main(url: str, kind: str) -> None:
    store = await PostgresStore.open(url)
    until: asyncio.Future[int] = asyncio.ensure_future(last_position())
    checkpoint = await store.prepare(KEPT)

    async def keep(events: Sequence[RecordedEvent]) -> None:
        nonlocal checkpoint
        before, at = checkpoint, time.monotonic()

        async def work(transaction: Transaction) -> bool:
            columns = [
                [one.position for one in events], [one.event_id for one in events],
                [one.stream_id for one in events], [one.version for one in events],
            ]  # fmt: skip
            await transaction.execute(INSERT, at, *columns)
            return await transaction.advance(before, events[-1].position)

        if not await store.transact(work):
            # The commit was kept though its answer was lost, and so what was done again was refused.
            found = (await store.checkpoints())[KEPT.name]
            if found.position != events[-1].position:
                raise RuntimeError(f"{checkpoint} moved to {found}")
        checkpoint = before._replace(position=events[-1].position)

    async def show(events: Sequence[RecordedEvent]) -> None:
        at = time.monotonic()
        for one in events:
            sys.stdout.write(f"{one.position} {one.event_id} {one.stream_id} {one.version} {at}\n")
        sys.stdout.flush()

    print(f"ready {time.monotonic()}", flush=True)
    await follow(store, keep if kind == "kept" else show, checkpoint.position if kind == "kept" else 0, until)
    await store.close()


async def last_position() -> int:
    return int(await input_line() or 0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
