"""Import without a terminal: what happens where others write too, outcomes are unknown, or files are unkind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from foldline.app import open_store
from foldline.errors import OutcomeUnknown, StoreFull
from foldline.store.spi import Append, Expect, NewEvent, Outcome, StreamAppend
from foldline.transfer import Columns, Importing, import_events
from foldline.transfer.columns import _Occurrences
from tests.integration.cli.support import HEADER, permit_rows, write_csv

COLUMNS = Columns("case:id", "concept:name", "time:timestamp", "permit")


class Between:
    """A store in front of which something happens to the appends."""

    def __init__(self, store: Any, meddle: Callable[[int, Append], Awaitable[Outcome]]) -> None:
        self._store = store
        self._meddle = meddle
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, append: Append) -> Outcome:
        self._count += 1
        return await self._meddle(self._count, append)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(within())


async def order(store: Any) -> list[tuple[str, int, bytes]]:
    return [(one.stream_id, one.version, one.raw_id) for one in (await store.read_all(limit=100_000)).events]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = list(permit_rows(200, 6))
    random.Random(1).shuffle(rows)
    return write_csv(tmp_path / "log.csv", rows)


def test_an_unknown_outcome_is_settled_by_trying_again(log: Path) -> None:
    async def work() -> None:
        async with open_store("memory:") as store, open_store("memory:") as other:

            async def lost(number: int, append: Append) -> Outcome:
                outcome = await store.append(append)
                if number == 2:
                    raise OutcomeUnknown
                return outcome

            done = await import_events(Between(store, lost), log, COLUMNS)
            assert (done.rows, done.rejected) == (1_200, 0)
            assert done.added + done.known == 1_200
            await import_events(other, log, COLUMNS)
            assert await order(store) == await order(other)

    run(work)


def test_somebody_else_writes_to_the_streams(log: Path) -> None:
    async def work() -> None:
        async with open_store("memory:") as store:
            others = 0

            async def joined(number: int, append: Append) -> Outcome:
                nonlocal others
                if number % 7 == 3:
                    others += 1
                    event = NewEvent(UUID(int=number), "Other", 1, b"{}")
                    stream = append.streams[-1].stream_id
                    await store.append(Append((StreamAppend(stream, Expect.ANY, [event]),)))
                return await store.append(append)

            done = await import_events(Between(store, joined), log, COLUMNS)
            assert (done.added, done.rejected) == (1_200, 0)
            assert others > 1
            again = await import_events(store, log, COLUMNS)
            assert (again.added, again.known) == (0, 1_200)
            # In each stream the file's order holds, whatever came between.
            clean: dict[str, list[bytes]] = {}
            async with open_store("memory:") as other:
                await import_events(other, log, COLUMNS)
                for stream, _, raw_id in await order(other):
                    clean.setdefault(stream, []).append(raw_id)
            ours: dict[str, list[bytes]] = {}
            for stream, _, raw_id in await order(store):
                if int.from_bytes(raw_id) > 10_000:
                    ours.setdefault(stream, []).append(raw_id)
            assert ours == clean

    run(work)


def test_a_failure_in_the_middle_keeps_the_order(log: Path) -> None:
    async def work() -> None:
        async with open_store("memory:") as store:

            async def full(number: int, append: Append) -> Outcome:
                if number in (4, 5, 9):
                    raise StoreFull
                return await store.append(append)

            with pytest.raises(StoreFull):
                await import_events(Between(store, full), log, COLUMNS)
            kept = len(await order(store))
            assert 0 < kept < 1_200
            done = await import_events(store, log, COLUMNS)
            assert (done.added, done.known, done.rejected) == (1_200 - kept, kept, 0)
            async with open_store("memory:") as other:
                await import_events(other, log, COLUMNS)
                assert sorted(await order(store)) == sorted(await order(other))

    run(work)


def test_progress_is_told(log: Path) -> None:
    size = log.stat().st_size

    async def work() -> None:
        told: list[Importing] = []
        async with open_store("memory:") as store:
            await import_events(store, log, COLUMNS, progress=told.append)
        assert told[-1] == Importing(1_200, 1_200, 0, 0, size, size)

    run(work)


def test_one_stray_quote_costs_one_line(tmp_path: Path) -> None:
    lines = [",".join(HEADER)]
    lines += [f"c{number},Opened,2020-01-01T00:00:00Z,r,n" for number in range(20_000)]
    lines[7] = 'c6,Opened,2020-01-01T00:00:00Z,"5,n'
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")

    async def work() -> None:
        async with open_store("memory:") as store:
            done = await import_events(store, tmp_path / "log.csv", COLUMNS)
            assert (done.added, done.rejected) == (19_999, 1)

    run(work)


def test_random_bytes_stop_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)
    good = b"c1,Opened,2020-01-01T00:00:00Z,r,n\n"
    noise = [bytes(chance.choice(b'",\n\r\x00a\xff;') for _ in range(chance.randrange(40))) for _ in range(3_000)]
    (tmp_path / "log.csv").write_bytes(",".join(HEADER).encode() + b"\n" + b"\n".join(noise) + b'\n"\n' + good)
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(noise) + b"\n")

    async def work() -> None:
        async with open_store("memory:") as store:
            done = await import_events(store, tmp_path / "log.csv", COLUMNS)
            assert done.rows == done.added + done.rejected
            assert done.added == 1
            done = await import_events(store, tmp_path / "log.jsonl", COLUMNS)
            assert done.rows == done.rejected > 0

    run(work)


def test_occurrences_are_counted_within_a_window() -> None:
    seen = _Occurrences(4)
    assert [seen.count(row) for row in (1, 1, 2, 1, 3, 4, 1, 5, 6, 1)] == [0, 1, 0, 2, 0, 0, 3, 0, 0, 4]
    assert [seen.count(row) for row in (10, 11, 12, 13, 14, 15, 16, 17)] == [0] * 8
    assert seen.count(2) == 0
