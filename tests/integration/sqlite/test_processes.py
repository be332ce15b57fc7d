"""One file and several processes: together, one killed in the middle, and one that waits for another."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from foldline.store.spi import ProjectionSpec, Transaction
from tests.integration.sqlite.support import appended, finish, one, opened, start


def test_two_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    tasks, count = 4, 100

    async def main() -> None:
        writers = [await start("append.py", path, name, tasks, count) for name in ("left", "right")]
        told = [line.split() for writer in writers for line in await finish(writer, 100)]
        async with opened(path) as store:
            log = (await store.read_all(limit=10_000)).events
            # Two events an append, all positions there once, and versions in the order of positions.
            assert [event.position for event in log] == list(range(1, 2 * 2 * tasks * count + 1))
            versions: dict[str, int] = {}
            for event in log:
                versions[event.stream_id] = versions.get(event.stream_id, 0) + 1
                assert event.version == versions[event.stream_id]
            assert versions == {f"{name}-{task}": count for name in ("left", "right") for task in range(tasks)} | {
                f"shared-{task}": 2 * count for task in range(tasks)
            }
            assert sorted(int(position) for _, _, position, _ in told) == [event.position for event in log[::2]]

    asyncio.run(main())


@pytest.mark.parametrize("run", range(3))
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, run: int) -> None:
    path = tmp_path / "store.db"
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def main() -> None:
        acknowledged: dict[str, int] = {}
        for life in range(3):
            writer = await start("append.py", path, f"life{life}", 8, 0)
            assert writer.stdout is not None
            lines = chance.randrange(1, 400)
            async with asyncio.timeout(60):
                for _ in range(lines):
                    name, number, _, _ = (await writer.stdout.readline()).decode().split()
                    acknowledged[name] = int(number)
                writer.send_signal(signal.SIGKILL)
                # What it managed to print before it died was acknowledged, too.
                rest = await writer.stdout.read()
                await writer.wait()
            for line in rest.decode().split("\n")[:-1]:
                name, number, _, _ = line.split()
                acknowledged[name] = int(number)
        async with opened(path) as store:
            log = (await store.read_all(limit=1_000_000)).events
            assert [event.position for event in log] == list(range(1, len(log) + 1))
            # Each append was two events in two streams, which stand together or not at all.
            assert len(log) % 2 == 0
            for first, second in zip(log[::2], log[1::2], strict=True):
                assert first.data == second.data
                assert second.stream_id == f"shared-{first.stream_id.rpartition('-')[2]}"
            for stream_id, version in acknowledged.items():
                events = await store.read_stream(stream_id)
                assert [event.version for event in events] == list(range(1, len(events) + 1))
                assert len(events) >= version
            # It goes on without repair.
            assert appended(await store.append(one("after-1"))).position == len(log) + 1

    asyncio.run(main())


def test_a_waiting_process_is_woken_by_another(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def main() -> None:
        async with opened(path) as store:
            await store.append(one("a-1"))
            checkpoint = await store.prepare(ProjectionSpec("p", "1"))
            waiter = await start("wake.py", path, 1)
            assert waiter.stdout is not None
            async with asyncio.timeout(30):
                assert await waiter.stdout.readline() == b"waiting\n"
            await store.append(one("a-1"))

            async def advance(transaction: Transaction) -> bool:
                return await transaction.advance(checkpoint, 2)

            assert await store.transact(advance)
            assert sorted(await finish(waiter, 5)) == ["log True", "view True"]

    asyncio.run(main())
