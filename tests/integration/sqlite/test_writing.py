"""Group commit: one transaction for all that waits, in which each of them has a fate of its own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest
from uuid_utils.compat import uuid7

from foldline.errors import CodecError, DefinitionError, EventIdReused, StoreBusy, StoreClosed, StoreError
from foldline.observe import AppendsCommitted, Fact
from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    ClaimReused,
    Expect,
    NewEvent,
    ProjectionSpec,
    StreamAppend,
    Transaction,
    VersionConflict,
)
from tests.integration.sqlite.support import appended, event, one, opened, run


class OddError(BaseException):
    """What nobody expects a projection to raise."""


def test_appends_of_one_turn_of_the_loop_share_a_transaction(tmp_path: Path) -> None:
    facts: list[Fact] = []

    async def main() -> None:
        async with opened(tmp_path / "store.db", observer=facts.append) as store:
            outcomes = await asyncio.gather(*(store.append(one(f"a-{n % 10}")) for n in range(100)))
            assert [appended(outcome).position for outcome in outcomes] == list(range(1, 101))

    asyncio.run(main())
    assert [(fact.appends, fact.events) for fact in facts if isinstance(fact, AppendsCommitted)] == [(100, 100)]


@pytest.mark.parametrize("poison", ["", "id", "value", "guess", "sql"])
def test_each_append_of_a_group_has_its_own_fate(tmp_path: Path, poison: str) -> None:
    """What cannot be kept makes the group start over, with the same fate for all the others."""
    known, twice = event(), event()

    async def break_out(transaction: Transaction) -> None:
        await transaction.execute("INSERT OR ROLLBACK INTO mine SELECT * FROM mine")

    async def misuse(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO mine VALUES (2)")
        raise LookupError("of the work itself")

    async def fine(transaction: Transaction) -> str:
        await transaction.execute("INSERT INTO mine VALUES (3)")
        return "fine"

    async def main() -> None:
        path = tmp_path / "store.db"
        async with opened(path) as store:
            spec = ProjectionSpec(
                "p", "1", (), ("CREATE TABLE mine (a PRIMARY KEY)", "INSERT INTO mine VALUES (1)"), ("mine",)
            )
            await store.prepare(spec)
            await store.append(Append((StreamAppend("a-1", Expect.NO_STREAM, (known,)),), Claim("first", b"1")))
        async with opened(path) as store:  # anew, so that it remembers nothing
            poisons = {
                "id": store.append(one("b-9", known)),
                "value": store.append(one("b-9", event()._replace(schema_version=2**64))),
                "guess": store.append(one("a-1", expected=0)),
                "sql": store.transact(break_out),
            }
            jobs = [
                store.append(one("b-1", expected=Expect.NO_STREAM)),
                store.append(one("b-1", expected=1)),
                store.append(one("b-1", expected=1)),
                store.append(one("b-1", expected=7)),
                store.append(one("a-1", known, expected=0)),
                store.append(one("c-1", twice)),
                store.transact(misuse),
                store.transact(fine),
                store.append(Append((StreamAppend("b-1", 2, (event(),)), StreamAppend("d-1", 0, (event(), event()))))),
                store.append(Append((StreamAppend("b-1", 3, (event(),)), StreamAppend("d-1", 0, (event(),))))),
                store.append(Append((StreamAppend("e-1", 0, (event(),)),), Claim("second", b"2"))),
                store.append(Append((StreamAppend("e-1", 0, (event(),)),), Claim("second", b"2"))),
                store.append(Append((StreamAppend("e-1", 0, (event(),)),), Claim("second", b"other"))),
                store.append(Append((StreamAppend("a-1", 0, (event(),)),), Claim("first", b"1"))),
                store.append(Append((), Claim("third", b"3"))),
            ]
            if poison:
                jobs.insert(3, poisons.pop(poison))
            for unused in poisons.values():
                unused.close()
            outcomes = await asyncio.gather(*jobs, return_exceptions=True)
            if poison:
                bad = outcomes.pop(3)
                kinds = {"id": EventIdReused, "value": CodecError, "guess": VersionConflict, "sql": StoreError}
                assert isinstance(bad, kinds[poison]), bad
            new, more, conflict, beyond, again, only, mine, ok, both, neither, e1, e2, e3, first, third = outcomes
            assert appended(new).versions == (("b-1", 1),)
            assert appended(more).versions == (("b-1", 2),)
            assert conflict == VersionConflict("b-1", 1, 2)
            assert beyond == VersionConflict("b-1", 7, 2)
            assert again == Appended((("a-1", 1),), 1, (known.event_id,), replayed=True)
            assert not appended(only).replayed
            assert isinstance(mine, LookupError)
            assert ok == "fine"
            assert appended(both).versions == (("b-1", 3), ("d-1", 2))
            assert neither == VersionConflict("d-1", 0, 2)
            assert not appended(e1).replayed
            assert e2 == appended(e1)._replace(replayed=True)
            assert e3 == ClaimReused("second")
            assert (appended(first).position, appended(first).replayed) == (1, True)
            assert appended(third).event_ids == ()
            log = (await store.read_all()).events
            assert [item.position for item in log] == list(range(1, len(log) + 1))
            assert sorted((item.stream_id, item.version) for item in log) == [
                ("a-1", 1), ("b-1", 1), ("b-1", 2), ("b-1", 3), ("c-1", 1), ("d-1", 1), ("d-1", 2), ("e-1", 1),
            ]  # fmt: skip
            assert (await store.sql("SELECT a FROM mine ORDER BY a"))[1] == [(1,), (3,)]
            # And it goes on.
            assert appended(await store.append(one("b-1", expected=3))).position == len(log) + 1

    asyncio.run(main())


def test_the_same_event_twice(tmp_path: Path) -> None:
    same = event()

    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            outcomes = await asyncio.gather(store.append(one("a-1", same)), store.append(one("a-1", same)))
            assert [appended(outcome).replayed for outcome in outcomes] == [False, True]
            other = event()
            with pytest.raises(EventIdReused):
                await store.append(one("a-1", other, other))
            with pytest.raises(EventIdReused):
                await store.append(one("a-1", event(), same))
            assert await store.head() == 1

    asyncio.run(main())


def test_time_never_goes_back_and_imports_keep_theirs(tmp_path: Path) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    times = iter([start, start, start - timedelta(hours=1), start + timedelta(seconds=1), start, start, start])
    current = [start]

    def clock() -> datetime:
        current[0] = next(times, current[0])
        return current[0]

    async def main() -> None:
        path = tmp_path / "store.db"
        async with opened(path, clock=clock) as store:
            for _ in range(4):
                await store.append(one("a-1"))
            await store.append(one("a-1", event()._replace(recorded_micros=1_000_000)))
        async with opened(path, clock=lambda: start - timedelta(days=1)) as store:
            await store.append(one("b-1", event()._replace(recorded_micros=2_000_000)))
            events = await store.read_stream("a-1")
            assert [item.recorded_at for item in events[:4]] == sorted(item.recorded_at for item in events[:4])
            assert events[-1].recorded_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)

    asyncio.run(main())


def test_json_stays_as_it_is_and_sql_reads_it(tmp_path: Path) -> None:
    data = '{ "z":1.0,\n "a":[12345678901234567890123, 1e400, "\\u0000 \\ud83d\\ude00 Ünïcode 🎉"], "a":2}'.encode()

    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            await store.append(
                one("a-1", event(data), event(b'"text"'), event(b" null "), event(b'{"price":{"cents":7}}'))
            )
            assert [item.data for item in await store.read_stream("a-1")][0:3] == [data, b'"text"', b" null "]
            columns, rows = await store.sql(
                "SELECT data ->> '$.price.cents' AS cents FROM foldline_events WHERE version = ?", [4]
            )
            assert (columns, rows) == (["cents"], [(7,)])

    asyncio.run(main())


def test_the_database_refuses_to_change_history(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    run(lambda store: store.append(one("a-1")), path)
    connection = apsw.Connection(str(path))
    for sql in (
        "UPDATE foldline_events SET data = '{}'",
        "DELETE FROM foldline_events",
        "UPDATE foldline_events SET position = 2 WHERE position = 1",
    ):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            connection.execute(sql)
    connection.close()


def test_another_process_may_hold_the_lock_for_a_while_only(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def main() -> None:
        async with opened(path, busy_timeout=0.1) as store:
            await store.append(one("a-1"))
            other = apsw.Connection(str(path))
            other.execute("BEGIN IMMEDIATE")
            outcomes = await asyncio.gather(*(store.append(one("a-1")) for _ in range(3)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StoreBusy] * 3
            assert len(await store.read_stream("a-1")) == 1
            other.execute("ROLLBACK")
            other.close()
            assert appended(await store.append(one("a-1"))).versions == (("a-1", 2),)

    asyncio.run(main())


def test_what_others_wrote_is_seen_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def main() -> None:
        async with opened(path) as left, opened(path) as right:
            for version in range(0, 20, 2):
                assert isinstance(await left.append(one("a-1", expected=version)), Appended)
                assert await left.append(one("a-1", expected=version)) == VersionConflict("a-1", version, version + 1)
                assert isinstance(await right.append(one("a-1", expected=version + 1)), Appended)
                assert await right.append(one("a-1", expected=0)) == VersionConflict("a-1", 0, version + 2)

    asyncio.run(main())


def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            appends = [asyncio.ensure_future(store.append(one("a-1"))) for _ in range(500)]
            waiting = asyncio.ensure_future(store.wait(10**9, 60))
            await asyncio.sleep(0)
            await store.close()
            assert [appended(append.result()).position for append in appends] == list(range(1, 501))
            with pytest.raises(StoreClosed):
                await waiting
            for call in (
                store.append(one("a-1")),
                store.head(),
                store.wait(0, 1),
                store.sql("SELECT 1"),
                store.checkpoints(),
            ):
                with pytest.raises(StoreClosed):
                    await call
            await store.close()

    asyncio.run(main())


def test_a_cancelled_append_is_whole_or_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            for turns in range(6):
                stream_id = f"a-{turns}"
                append = asyncio.ensure_future(
                    store.append(
                        Append(
                            (StreamAppend(stream_id, 0, (event(), event())), StreamAppend(f"b-{turns}", 0, (event(),)))
                        )
                    )
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                append.cancel()
                await asyncio.gather(append, return_exceptions=True)
                await store.append(one("z-1"))
                kept = len(await store.read_stream(stream_id)), len(await store.read_stream(f"b-{turns}"))
                assert kept in ((2, 1), (0, 0))

    asyncio.run(main())


def test_waiting_ends_with_an_append_a_deadline_or_a_cancellation(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            assert not await store.wait(0, 0)
            assert not await store.wait(0, 0.01)
            waiting = [asyncio.ensure_future(store.wait(after, 30)) for after in (0, 1, 2)]
            await asyncio.sleep(0)
            await store.append(one("a-1", event(), event()))
            async with asyncio.timeout(10):
                assert await waiting[0]
                assert await waiting[1]
            assert not waiting[2].done()
            waiting[2].cancel()
            await asyncio.gather(waiting[2], return_exceptions=True)
            assert store._watch._heads == {}
            assert await store.wait(1, 0)

    asyncio.run(main())


def test_work_may_await_only_its_transaction(tmp_path: Path) -> None:
    kept: list[Transaction] = []

    async def sleeps(transaction: Transaction) -> None:
        kept.append(transaction)
        await asyncio.sleep(0)

    async def clings(transaction: Transaction) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)

    async def leaves(transaction: Transaction) -> None:
        raise OddError

    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            with pytest.raises(DefinitionError, match="await only the transaction"):
                await store.transact(sleeps)
            with pytest.raises(StoreError):
                await store.transact(clings)
            outcome = await asyncio.gather(store.transact(leaves), store.append(one("a-1")), return_exceptions=True)
            assert isinstance(outcome[0], OddError)
            assert isinstance(outcome[1], Appended)
            with pytest.raises(DefinitionError, match="after its work"):
                await kept[0].fetch("SELECT 1")
            assert await store.head() == 1

    asyncio.run(main())


def test_a_great_many_in_one_turn(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            text = b'"' + b"x" * 1_000_000 + b'"'
            big = [store.append(one("big-1", event(text))) for _ in range(20)]
            small = [store.append(one(f"s-{n}", NewEvent(uuid7(), "T", 1, b"1"), expected=0)) for n in range(5000)]
            outcomes = await asyncio.gather(*big, *small)
            assert [appended(outcome).position for outcome in outcomes] == list(range(1, 5021))

    asyncio.run(main())


def test_names_that_nothing_can_have_are_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "store.db") as store:
            await store.append(one("a-1"))
            for name in ("a\0b", "half \ud800", ""):
                assert await store.read_stream(name) == []
                assert await store.claimed(name) is None
                assert await store.load_snapshot(name) is None
                assert await store.read_all(types=[name]) == ([], 1)
            assert (await store.read_all(types=["a\0b", "Happened"])).events == await store.read_stream("a-1")
            assert await store.read_all(types=[]) == ([], 1)
            assert await store.read_all(limit=0) == ([], 0)
            assert await store.read_all(after=2**70) == ([], 2**70)

    asyncio.run(main())
