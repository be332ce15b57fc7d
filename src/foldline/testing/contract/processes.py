"""Several processes on one store: for adapters that say that this can be."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from foldline.store.spi import Appended, Column, Kind, ProjectionSpec, RecordedEvent, Select, Store, Table, Transaction
from foldline.subscription import follow
from foldline.testing.contract.follow import PROMPT
from foldline.testing.contract.harness import (
    DEADLINE,
    Place,
    StoreCase,
    conflict,
    event,
    events,
    kept,
    on_place,
    to,
    together,
    whole_log,
)

POINT = ProjectionSpec("point", "one", (Table("point", (Column("id", Kind.TEXT), Column("n", Kind.INTEGER)), "id"),))


class Other:
    """Another process that has the same store open, and does one thing with it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> Any:
        """The next thing that it says."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the other process ended with {await self._process.wait()}, and said why above")
        return json.loads(line)

    async def rest(self) -> list[Any]:
        """All that it still says, to its end, which must be a good one."""
        assert self._process.stdout is not None
        lines = [json.loads(line) async for line in self._process.stdout]
        assert await self._process.wait() == 0
        return lines

    async def kill(self) -> list[Any]:
        """Kill it where it stands; what it had said in whole lines."""
        assert self._process.stdout is not None
        self._process.kill()
        said = await self._process.stdout.read()
        await self._process.wait()
        return [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]


class SharedContract(StoreCase):
    """For a store that several processes may use at the same time.

    The other process finds this class by its file and name, so it must stand at the top of a module that can be
    run again, and its ``store_at`` may use nothing but the class and the folder.
    """

    @on_place
    async def test_followers_in_another_process_see_every_event_once(self, place: Place) -> None:
        """Whether they began before, while or after it was written."""
        async with place.open() as store:
            await kept(store, to("before-1", *events(5)))
            async with _other(place, "follow", 1) as early, _other(place, "follow", 100) as also:
                assert await early.line() == await also.line() == "open"

                async def write(number: int) -> None:
                    for _ in range(10):
                        await kept(store, together(to(f"a-{number}", *events(2)), to("all-1", event())))

                await asyncio.gather(*map(write, range(4)))
                async with _other(place, "follow", 7) as late:
                    assert await late.line() == "open"
                    await asyncio.gather(*map(write, range(4, 8)))
                    await kept(store, to("end-1", event(type="end")))
                    async with _other(place, "follow", 1000) as after:
                        assert await after.line() == "open"
                        wanted = [list(_seen(one)) for one in await whole_log(store)]
                        assert len(wanted) == 5 + 8 * 10 * 3 + 1
                        for follower in (early, also, late, after):
                            assert await follower.rest() == wanted

    @on_place
    async def test_what_others_hold_open_holds_no_other_process_up(self, place: Place) -> None:
        """A transaction that appends nothing, neither in a store's process nor between them."""
        async with place.open() as store:
            await kept(store, to("before-1", event()))
            async with self.unrelated(place.folder), _other(place, "follow", 100) as follower:
                assert await follower.line() == "open"
                await asyncio.gather(*(kept(store, to(f"a-{number}", *events(2))) for number in range(50)))
                await kept(store, to("end-1", event(type="end")))
                async with asyncio.timeout(PROMPT):
                    seen = await follower.rest()
            assert seen == [list(_seen(one)) for one in await whole_log(store)]
            assert len(seen) == 1 + 50 * 2 + 1

    @on_place
    async def test_processes_never_win_the_same_version(self, place: Place) -> None:
        """Each adds to the same streams on the version that it knows; no addition is lost or double."""
        async with place.open() as store:
            async with _other(place, "add", 60) as one, _other(place, "add", 60) as two:
                assert await one.line() == await two.line() == "open"
                mine = [await _add(store) for _ in range(60)]
                theirs = [*await one.rest(), *await two.rest()]
            assert sorted([*mine, *theirs]) == list(range(1, 181))
            for stream_id in ("sum-1", "sum-2"):
                assert [event.version for event in await store.read_stream(stream_id)] == list(range(1, 181))
            positions = [event.position for event in await whole_log(store)]
            assert positions == sorted(set(positions))

    @on_place
    async def test_a_wait_is_woken_by_another_process(self, place: Place) -> None:
        """For events and for checkpoints alike."""
        async with place.open() as store:
            checkpoint = await store.prepare(POINT)
            position = (await kept(store, to("a-1", event()))).position
            waits = [
                asyncio.create_task(store.wait(position, 50)),
                asyncio.create_task(store.wait_checkpoint("point", position + 1, 50)),
            ]
            async with _other(place, "touch") as other:
                assert await other.line() == "open"
                assert await other.rest() == ["done"]
            head = await store.head()
            assert await asyncio.gather(*waits) == [True, checkpoint._replace(position=head)]
            assert await store.select(Select(POINT.tables[0])) == [("x", head)]

    @on_place
    async def test_an_append_of_another_process_is_a_conflict(self, place: Place) -> None:
        """Though this process had been alone with the stream until then."""
        async with place.open() as store, place.open() as other:
            await kept(store, to("a-1", event(), expected=0))
            await kept(other, to("a-1", event(), expected=1))
            outcome = await store.append(to("a-1", event(), expected=1))
            assert outcome == ("a-1", 1, 2)
            await kept(store, to("a-1", event(), expected=2))
            assert await whole_log(store) == await whole_log(other)

    @on_place
    async def test_what_was_acknowledged_survives_a_kill(self, place: Place) -> None:
        """And of what was not, there is all or nothing. The store opens again without being mended."""
        async with _other(place, "write") as other:
            assert await other.line() == "open"
            said = [await other.line() for _ in range(40)]
            said += await other.kill()
        async with place.open() as store:
            # What it had in flight is decided by the time that followers come to an append that began later.
            last = await kept(store, to("after-1", event()))
            assert await store.wait(last.position - 1, DEADLINE)
            log = [one for one in await whole_log(store) if one.stream_id != "after-1"]
            acknowledged = set(said)
            # Each append is three events: two of one stream and one of another, all with its number.
            found = [int(one.data) for one in log]
            assert acknowledged <= set(found)
            for number in set(found):
                at = [one for one in log if int(one.data) == number]
                assert len(at) == 3, f"append {number} is there by {len(at)} events of 3"
                assert [one.position for one in at] == sorted(one.position for one in at)
            for number in range(4):
                for stream_id in (f"one-{number}", f"two-{number}"):
                    read = await store.read_stream(stream_id)
                    assert [one.version for one in read] == list(range(1, len(read) + 1))
            await kept(store, to("after-1", event(), expected=1))


@asynccontextmanager
async def _other(place: Place, *what: object) -> AsyncIterator[Other]:
    case = type(place.case)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "foldline.testing.contract.other",
        inspect.getfile(case),
        case.__qualname__,
        str(place.folder),
        *map(str, what),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        limit=2**20,
    )
    try:
        yield Other(process)
    finally:
        if process.returncode is None:
            process.kill()
        # Read to its end, so that nothing of the process is left behind.
        await process.communicate()


def _seen(one: RecordedEvent) -> tuple[object, ...]:
    return one.position, one.stream_id, one.version, str(one.event_id)


async def _add(store: Store) -> int:
    """Add one event to both streams, on the version that they are at, and tell the version that was won."""
    version = 0
    added = together(to("sum-1", event()), to("sum-2", event()))
    while True:
        streams = tuple(stream._replace(expected=version) for stream in added.streams)
        outcome = await store.append(added._replace(streams=streams))
        if isinstance(outcome, Appended):
            return outcome.versions[0][1]
        version = conflict(outcome).actual


async def act(store: Store, what: str, *arguments: str) -> AsyncGenerator[Any]:
    """What the other process does, told step by step."""
    match what:
        case "follow":
            async for batch in follow(store, batch=int(arguments[0])):
                for one in batch.events:
                    yield _seen(one)
                    if one.type == "end":
                        return
        case "add":
            for _ in range(int(arguments[0])):
                yield await _add(store)
        case "touch":
            checkpoint = await store.prepare(POINT)
            position = (await kept(store, to("a-1", event()))).position

            async def work(transaction: Transaction) -> None:
                await transaction.upsert(POINT.tables[0], [("x", position)])
                assert await transaction.advance(checkpoint, position)

            await store.transact(work)
            yield "done"
        case "write":
            acknowledged: asyncio.Queue[int] = asyncio.Queue()

            async def write(number: int) -> None:
                while True:
                    data = b"%d" % number
                    await kept(
                        store,
                        together(
                            to(f"one-{number % 4}", event(data), event(data)), to(f"two-{number % 4}", event(data))
                        ),
                    )
                    await acknowledged.put(number)
                    number += 16

            async with asyncio.TaskGroup() as group:
                for number in range(16):
                    group.create_task(write(number))
                while True:
                    yield await acknowledged.get()


def load(file: Path, name: str) -> StoreCase:
    """The test class of that name in a file, made anew."""
    spec = importlib.util.spec_from_file_location("_contract_case", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    case: Any = module
    for part in name.split("."):
        case = getattr(case, part)
    made: StoreCase = case()
    return made
