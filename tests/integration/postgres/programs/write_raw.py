"""Append to the database at URL by transactions on TASKS connections, by chance from SEED, until the input ends.

Each transaction has its transaction id long before it draws positions, keeps these for a while, and is rolled back in
one case of twenty. What is committed is printed as write.py does.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

import asyncpg

from foldline.store.postgres.connect import use_raw_codecs
from foldline.store.postgres.decide import groups_of
from foldline.store.postgres.errors import LOST
from foldline.store.postgres.log import DRAW, LOCK, RECORD, event_row
from tests.integration.postgres.support import COLUMNS, Connection, event, input_line

VERSION = "SELECT coalesce(max(version), 0) FROM foldline_events WHERE stream_id = $1"


async def record(connection: Connection, rows: list[tuple[Any, ...]], stream_id: str, chance: random.Random) -> int:
    """Record rows in the transaction, in one step or in all of its steps, and tell the last position."""
    if chance.random() < 0.5:
        return int((await connection.fetchval(RECORD, groups_of([stream_id]), rows, []))[-1])
    await connection.fetchval(LOCK, groups_of([stream_id]))
    await connection.fetchval("SELECT foldline_enter()")
    positions = await connection.fetchval(DRAW, len(rows))
    await asyncio.sleep(chance.uniform(0, 0.1))
    rows = [(position, *row[1:]) for position, row in zip(positions, rows, strict=True)]
    await connection.copy_records_to_table("foldline_events", records=rows, columns=COLUMNS)
    return int(positions[-1])


async def main(url: str, name: str, seed: int, tasks: int) -> None:
    ended = asyncio.ensure_future(input_line())
    print("ready", flush=True)

    async def work(task: int) -> None:
        chance = random.Random(f"{seed} {name} {task}")
        stream_id = f"{name}-{task}"
        while not ended.done():
            try:
                connection = await asyncpg.connect(url, timeout=20, server_settings={"application_name": "raw"})
                await use_raw_codecs(connection)
                version = await connection.fetchval(VERSION, stream_id)
                while not ended.done():
                    version += await once(connection, stream_id, version, chance)
                await connection.close()
            except LOST:
                connection.terminate()

    async def once(connection: Connection, stream_id: str, version: int, chance: random.Random) -> int:
        events = [event() for _ in range(chance.randrange(1, 6))]
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetchval("SELECT pg_current_xact_id()::text")
        await asyncio.sleep(chance.uniform(0, 0.2))
        rows = [
            event_row(one, place, stream_id, stream_id.partition("-")[0], version + place, 0)
            for place, one in enumerate(events, 1)
        ]
        position = await record(connection, rows, stream_id, chance)
        await asyncio.sleep(chance.uniform(0, 0.1))
        if chance.random() < 0.05:
            await transaction.rollback()
            return 0
        await transaction.commit()
        sys.stdout.write(f"{time.monotonic()} {position} {' '.join(str(one.event_id) for one in events)}\n")
        sys.stdout.flush()
        return len(events)

    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(work(task))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
