"""``foldline copy``: a whole store in another one, just as it was, whatever interrupts it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import apsw
import pytest
import uuid_utils

from foldline.app import open_store
from foldline.errors import CopyDiffers, NotACopy, StoreFull
from foldline.store.spi import (
    Append,
    Appended,
    Claim,
    Claimed,
    Expect,
    NewEvent,
    RecordedEvent,
    Store,
    StreamAppend,
)
from foldline.transfer import Copied, Copying, LogDigest, copy_store, copying
from foldline.transfer.copying import Step
from tests.integration.cli.support import PATIENCE, Cli
from tests.integration.cli.test_command import on_terminal
from tests.servers import pgbouncer
from tests.servers.databases import TEMPLATE
from tests.servers.fixtures import MakeServer, temporary_database, with_template
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import INSTALLATIONS, PostgresServer

R = TypeVar("R")

KINDS = ["sqlite", *(f"postgres{major}" for major in INSTALLATIONS)]
PAIRS = list(dict.fromkeys([("sqlite", kind) for kind in KINDS] + list(pairwise([*KINDS[1:], "sqlite"]))))
ODD_DATA = (
    b'{"b":1,"a":2,  "big":123456789012345678901234567890,"f":1.10e5}',
    b'{\n  "spread": "over lines"\r\n}',
    b' {"led": "by space"} ',
    '{"text":"\u2028 \u00e9 \U0001f600 \\u0000 \\n","\'":"\\t"}'.encode(),
    b"null",
)


def run(work: Callable[[], Awaitable[R]]) -> R:
    async def within() -> R:
        async with asyncio.timeout(PATIENCE):
            return await work()

    return asyncio.run(within())


def new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)


def a_log(count: int, seed: int = 1, after: Sequence[RecordedEvent] = ()) -> list[RecordedEvent]:
    """Events of some streams, mixed and with gaps between their positions, that have all there is to have."""
    chance = random.Random(seed)
    versions: dict[str, int] = {}
    for event in after:
        versions[event.stream_id] = event.version
    position = after[-1].position if after else 0
    made: list[RecordedEvent] = []
    for number in range(count):
        stream = f"case-{chance.randrange(count // 7 + 1)}/\u00e9'"
        versions[stream] = version = versions.get(stream, 0) + 1
        position += chance.choice((1, 1, 1, 2, 50))
        made.append(
            RecordedEvent(
                position, new_id().bytes, stream, "case", version, f"type {number % 5}", number % 3 + 1,
                ODD_DATA[number % 5], b'{ "m":\t1 }' if number % 2 else b"{}",
                1_700_000_000_000_000 + chance.randrange(-(10**15), 10**15),
                f"c {number % 9}" if number % 3 else None, f"'{number}" if number % 4 else None,
                "\u00e4nn" if number % 2 else None,
            )
        )  # fmt: skip
    return made


def to(stream: str, data: bytes = b"{}", command: str | None = None) -> Append:
    event = NewEvent(new_id(), "Happened", 1, data)
    claim = None if command is None else Claim(command, b"\x00body")
    return Append((StreamAppend(stream, Expect.ANY, [event]),), claim)


async def whole_log(store: Store) -> list[RecordedEvent]:
    found: list[RecordedEvent] = []
    while page := (await store.read_all(after=found[-1].position if found else 0, limit=10_000)).events:
        found += page
    return found


def held(url: str) -> tuple[list[RecordedEvent], list[tuple[str, Claimed]]]:
    """All events and command ids of a store."""

    async def work() -> tuple[list[RecordedEvent], list[tuple[str, Claimed]]]:
        async with open_store(url, create=False) as store:
            return await whole_log(store), await store.read_claims(limit=100_000)

    return run(work)


def copied(source: str, target: str) -> Copied:
    """Copy in this process, which takes less time than another one."""

    async def work() -> Copied:
        async with open_store(source, create=False) as ours, open_store(target) as theirs:
            return await copy_store(ours, theirs)

    return run(work)


def fill(url: str, events: Sequence[RecordedEvent], commands: int = 0) -> None:
    """Make a store of these events, and of some more that commands made."""

    async def work() -> None:
        async with open_store(url) as store:
            for start in range(0, len(events), 10_000):
                await store.restore(events[start : start + 10_000])
            for number in range(commands):
                assert isinstance(await store.append(to(f"order-{number % 7}", command=f"c-{number}")), Appended)

    run(work)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, cli: Cli) -> Iterator[str]:
    """A new store of each kind, not made yet where that is a file."""
    with a_store(request, cli, request.param, "target") as url:
        yield url


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, cli: Cli) -> Iterator[tuple[str, str]]:
    """Two new stores, each kind in each place."""
    kind, other = request.param
    with a_store(request, cli, kind, "source") as source, a_store(request, cli, other, "target") as target:
        yield source, target


@pytest.fixture
def origin(cli: Cli) -> str:
    """A file to copy from, not made yet."""
    return f"sqlite:{cli.place}/origin.db"


@contextmanager
def a_store(request: pytest.FixtureRequest, cli: Cli, kind: str, name: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:{cli.place}/{name}.db"
        return
    server = with_template(request.getfixturevalue(kind))
    with temporary_database(server, template=TEMPLATE) as url:
        yield url


# --- Copied ----------------------------------------------------------------------------------------------------------


def test_a_copy_is_the_same(cli: Cli, pair: tuple[str, str]) -> None:
    source, target = pair
    fill(source, a_log(2_000), commands=50)
    done = cli("copy", source, target)
    assert held(target) == held(source)
    events, claims = held(source)
    assert len(events) == 2_050
    assert len(claims) == 50
    digest = LogDigest()
    digest.add(events)
    streams = len({event.stream_id for event in events})
    assert f"Copied 2,050 events from {source} to {target} (" in done.stdout
    assert f"Both hold 2,050 events in {streams} streams and 50 command ids" in done.stdout
    assert f"SHA-256 {digest.hexdigest()}\n" in done.stdout
    assert done.stderr == ""


def test_it_goes_on_in_the_copy(origin: str, target: str) -> None:
    """Positions, versions and command ids go on where they were, and there is a way back."""
    source = origin
    fill(source, a_log(500), commands=5)
    copied(source, target)
    before = held(source)

    async def work() -> None:
        async with open_store(target, create=False) as store:
            [known] = await store.read_claims(after="c-3")
            again = await store.append(to("order-0", command="c-4"))
            assert again == known[1].outcome._replace(replayed=True)
            retried = [event for event in before[0] if event.stream_id == "order-0"][-1]
            first = await store.append(
                Append(
                    (
                        StreamAppend(
                            "order-0", Expect.NO_STREAM, [NewEvent(retried.event_id, "Happened", 1, retried.data)]
                        ),
                    )
                )
            )
            assert isinstance(first, Appended)
            assert (first.replayed, first.position) == (True, retried.position)
            new = await store.append(to("order-0", command="c-new"))
            assert isinstance(new, Appended)
            assert new.position > before[0][-1].position
            assert not new.replayed

    run(work)
    assert copied(target, source).added == 1
    assert held(source) == held(target)
    assert held(source)[0][:-1] == before[0]


def test_again_and_when_the_source_has_grown(cli: Cli, origin: str, target: str) -> None:
    first = a_log(300)
    fill(origin, first, commands=3)
    cli("copy", origin, target)
    done = cli("copy", origin, target)
    assert f"Nothing to copy: {target} holds all that is in {origin}" in done.stdout
    assert "Both hold 303 events" in done.stdout
    fill(origin, [], commands=9)  # six of which are new
    done = cli("copy", origin, target)
    assert "Copied 6 events from" in done.stdout
    assert "303 were there already" in done.stdout
    assert held(target) == held(origin)


def test_nothing_is_copied_too(cli: Cli, origin: str, target: str) -> None:
    fill(origin, [])
    assert "Both hold 0 events in 0 streams" in cli("copy", origin, target).stdout
    assert held(target) == ([], [])


def test_read_models_are_built_by_the_application(cli: Cli, shop: str, target: str) -> None:
    cli("copy", "sqlite:shop.db", target)
    assert "No projection" in cli("projections", "list", "--store", target).stderr
    cli("projections", "rebuild", "order_total", "--store", target, "--app", shop)
    assert "up to date" in cli("projections", "list", "--store", target, "--app", shop).stdout
    assert '"total": 9' in cli("show", "order-o-0", "--store", target, "--app", shop).stdout


# --- Interrupted -----------------------------------------------------------------------------------------------------


def test_killed_and_run_again(cli: Cli, origin: str, target: str) -> None:
    fill(origin, a_log(30_000), commands=20)
    process = cli.start("copy", origin, target)
    some = wait_for_events(target, process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    there, claims = held(target)
    assert some <= len(there) < 30_020
    assert (there, claims) == (held(origin)[0][: len(there)], [])
    done = cli("copy", origin, target)
    assert f"Copied {30_020 - len(there):,} events from" in done.stdout
    assert f"{len(there):,} were there already" in done.stdout
    assert held(target) == held(origin)


def test_interrupted_and_run_again(cli: Cli, origin: str) -> None:
    target = f"sqlite:{cli.place}/target.db"
    fill(origin, a_log(30_000))
    process = cli.start("copy", origin, target)
    wait_for_events(target, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert stderr.startswith("foldline: Interrupted while copying at position ")
    assert "run the same command again" in stderr
    assert 0 < len(held(target)[0]) < 30_000
    cli("copy", origin, target)
    assert held(target) == held(origin)


def wait_for_events(url: str, process: subprocess.Popen[str]) -> int:
    """How many events a copy has brought, as soon as there are any."""

    deadline = time.monotonic() + PATIENCE
    while url.startswith("sqlite:") and not Path(url.removeprefix("sqlite:")).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)

    async def work() -> int:
        async with open_store(url, create=False) as store:
            assert await store.wait(0, PATIENCE)
            assert process.poll() is None, process.communicate()
            return len((await store.read_all(limit=100_000)).events)

    return run(work)


class Between:
    """A store to copy to, where something happens to what is written."""

    def __init__(self, store: Store, meddle: Callable[[int, Sequence[RecordedEvent]], Awaitable[None]]) -> None:
        self._store = store
        self._meddle = meddle
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def restore(self, events: Sequence[RecordedEvent]) -> None:
        self._count += 1
        await self._meddle(self._count, events)


def in_memory(
    work: Callable[[Store, Store], Awaitable[R]], events: Sequence[RecordedEvent] = (), commands: int = 0
) -> R:
    """Do something with a store of these events and an empty one."""

    async def both() -> R:
        async with open_store("memory:") as source, open_store("memory:") as target:
            await source.restore(events)
            for number in range(commands):
                await source.append(to(f"order-{number}", command=f"c-{number}"))
            return await work(source, target)

    return run(both)


@pytest.mark.parametrize("batch", [1, 7, 100, 5_000])
def test_a_failure_anywhere_loses_nothing(batch: int) -> None:
    async def work(source: Store, target: Store) -> None:
        chance = random.Random(batch)
        failures = 0

        async def full(number: int, events: Sequence[RecordedEvent]) -> None:
            nonlocal failures
            if failures < 20 and chance.random() < 0.5:
                failures += 1
                if chance.random() < 0.5:
                    await target.restore(events)  # it is there, but nobody was told so
                raise StoreFull
            await target.restore(events)

        done: Copied | None = None
        while done is None:
            try:
                done = await copy_store(source, Between(target, full), batch=batch)
            except StoreFull:
                assert await whole_log(target) == (await whole_log(source))[: len(await whole_log(target))]
        assert failures
        assert await whole_log(target) == await whole_log(source)
        assert await target.read_claims() == await source.read_claims()
        assert (done.events, done.commands) == (205, 5)

    in_memory(work, a_log(200), commands=5)


def test_what_is_recorded_meanwhile_comes_with_the_next_run(pair: tuple[str, str]) -> None:
    source, target = pair
    fill(source, a_log(3_000), commands=5)
    before = held(source)

    async def work() -> None:
        async with open_store(source) as ours, open_store(target) as theirs:
            copying = asyncio.Event()
            stop = asyncio.Event()
            head = await ours.head()

            async def write() -> int:
                number = 0
                while not stop.is_set():
                    number += 1
                    await ours.append(to(f"late-{number % 5}", command=f"b-{number}" if number % 2 else None))
                    await ours.append(Append((), Claim(f"nothing-{number}", b"x")))
                    if number == 10:
                        copying.set()
                return number

            writing = asyncio.create_task(write())
            await copying.wait()
            first = await copy_store(ours, theirs, batch=500)
            assert head < first.position < await ours.head()
            assert (await whole_log(ours))[: first.events] == await whole_log(theirs)
            for _, claimed in await theirs.read_claims(limit=100_000):
                assert claimed.outcome.position <= first.position
            second = await copy_store(ours, theirs)
            assert 0 < second.added < second.events
            stop.set()
            written = await writing
            last = await copy_store(ours, theirs)
            assert last.events == 3_005 + written

    run(work)
    assert held(target) == held(source)
    assert held(source)[0][: len(before[0])] == before[0]


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", INSTALLATIONS)
def test_a_server_that_crashes_meanwhile_does_not_end_the_copy(own_server: MakeServer, major: int) -> None:
    """What was being written is there or not, and is written once."""
    server = own_server(major)
    crashes = 0

    async def work() -> None:
        async with open_store("memory:") as source, open_store(server.create_database("target")) as target:
            await source.restore(a_log(3_000))

            def crash(found: Copying) -> None:
                nonlocal crashes
                if crashes < 5 and found.events >= 500 * crashes:
                    crashes += 1
                    server.crash()
                    server.start()

            await copy_store(source, target, batch=100, progress=crash)
            assert await whole_log(target) == await whole_log(source)

    run(work)
    assert crashes == 5


def test_a_role_that_may_only_append(cli: Cli, origin: str, own_server: MakeServer) -> None:
    """It can be copied from, and not into."""
    server = own_server()
    fill(origin, a_log(10))
    owner = server.create_database("target")
    server.create_role("app")
    copied(origin, owner)
    server.psql("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO app", "target")
    server.psql("GRANT USAGE, SELECT ON SEQUENCE foldline_positions TO app", "target")
    app = server.url("target", user="app")
    fill(origin, [], commands=1)
    done = cli("copy", origin, app, code=1)
    assert "lacks a right: permission denied for table foldline_events" in done.stderr
    assert done.stderr.count("\n") == 1
    assert copied(app, f"sqlite:{cli.place}/back.db").events == 10
    assert copied(origin, owner).added == 1


if pgbouncer.installed():

    def test_through_pgbouncer(origin: str, postgres18: PostgresServer, bounce: Callable[..., PgBouncer]) -> None:
        fill(origin, a_log(2_000), commands=5)
        bouncer = bounce(postgres18)
        with temporary_database(with_template(postgres18), template=TEMPLATE) as url:
            through = bouncer.url(url.rpartition("/")[2])
            assert copied(origin, through).added == 2_005
            fill(through, [], commands=6)
            assert copied(through, origin).added == 1
        assert len(held(origin)[0]) == 2_006


# --- Refused ---------------------------------------------------------------------------------------------------------


def tampered(path: str, sql: str, *values: object) -> None:
    connection = apsw.Connection(path.removeprefix("sqlite:"))
    connection.execute("DROP TRIGGER foldline_events_no_update; DROP TRIGGER foldline_events_no_delete")
    connection.execute(sql, values)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE foldline_events SET data = '{}' WHERE rowid = ?", "has another data than in the source"),
        ("UPDATE foldline_events SET actor = '' WHERE rowid = ?", "has another actor than in the source"),
        (
            "UPDATE foldline_events SET recorded_at = recorded_at + 1, metadata = '[]' WHERE rowid = ?",
            "has another metadata and recorded_micros than in the source",
        ),
        ("UPDATE foldline_events SET event_id = zeroblob(16) WHERE rowid = ?", "event 00000000-0000-0000"),
        ("DELETE FROM foldline_events WHERE rowid = ?", "where the source has event"),
    ],
)
def test_a_target_that_was_tampered_with_is_found(cli: Cli, origin: str, sql: str, told: str) -> None:
    target = f"sqlite:{cli.place}/target.db"
    events = a_log(1_000)
    fill(origin, events)
    copied(origin, target)
    fill(origin, a_log(10, seed=2, after=events))
    # One that has all there is, so that each of these changes it.
    tampered(target, sql, events[703].position)
    before = held(target)
    with pytest.raises(NotACopy) as caught:
        copied(origin, target)
    assert told in str(caught.value)
    assert str(events[703].event_id) in str(caught.value)
    assert held(target) == before


def test_a_target_with_events_of_its_own_is_left_alone(cli: Cli, origin: str, target: str) -> None:
    fill(origin, a_log(10))
    fill(target, a_log(5, seed=9))
    before = held(target)
    done = cli("copy", origin, target, code=1)
    assert "where the source has event" in done.stderr
    assert "Copy into an empty store" in done.stderr
    assert done.stderr.count("\n") == 1
    assert held(target) == before


def test_a_target_that_went_on_is_left_alone(origin: str, target: str) -> None:
    fill(origin, a_log(10))
    copied(origin, target)
    fill(target, [], commands=1)
    before = held(target)
    with pytest.raises(NotACopy, match="where the source has no more events"):
        copied(origin, target)
    fill(origin, [], commands=1)
    with pytest.raises(NotACopy, match="where the source has event"):
        copied(origin, target)
    assert held(target) == before


@pytest.mark.parametrize("theirs", [Claim("b", b"x"), Claim("c-1", b"x"), Claim("zz", b"")])
def test_a_target_that_was_given_commands_is_left_alone(theirs: Claim) -> None:
    async def work(source: Store, target: Store) -> None:
        await target.append(Append((), theirs))
        with pytest.raises(NotACopy, match=f"'{theirs.command_id}'"):
            await copy_store(source, target)
        assert await whole_log(target) == []
        assert len(await target.read_claims()) == 1

    in_memory(work, a_log(10), commands=3)


def test_a_copy_that_was_changed_on_its_way_is_found() -> None:
    changes: list[dict[str, Any]] = [{"data": b"[]"}, {"actor": "eve"}, {"recorded_micros": 0}, {"raw_id": b"x" * 16}]
    for fields in changes:

        async def work(source: Store, target: Store, fields: dict[str, Any] = fields) -> None:
            async def change(number: int, events: Sequence[RecordedEvent]) -> None:
                changed = list(events)
                if number == 3:
                    changed[5] = changed[5]._replace(**fields)
                await target.restore(changed)

            with pytest.raises(CopyDiffers, match="Do not use it"):
                await copy_store(source, Between(target, change), batch=20)

        in_memory(work, a_log(100))


def test_a_copy_that_lacks_something_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "SEEN_WITHIN", 0.05)

    async def work(source: Store, target: Store) -> None:
        async def lose(number: int, events: Sequence[RecordedEvent]) -> None:
            if number < 5:
                await target.restore(events)

        with pytest.raises(CopyDiffers, match="80 events"):
            await copy_store(source, Between(target, lose), batch=20)

    in_memory(work, a_log(100))


def test_somebody_else_writes_to_the_target() -> None:
    async def work(source: Store, target: Store) -> None:
        async def join(number: int, events: Sequence[RecordedEvent]) -> None:
            await target.restore(events)
            if number == 5:
                await target.append(to("other-1"))

        with pytest.raises(CopyDiffers, match="Somebody else"):
            await copy_store(source, Between(target, join), batch=20)

    in_memory(work, a_log(100))


def test_what_cannot_be_copied(cli: Cli) -> None:
    fill(f"sqlite:{cli.place}/a.db", a_log(3))
    (cli.place / "letter.db").write_text("Dear reader, this is no database at all, nor was it ever meant to be one.\n")
    for source, target, code, told in (
        ("sqlite:none.db", "sqlite:new.db", 1, "There is no store at 'none.db'"),
        ("memory:", "sqlite:new.db", 1, "gone with its process"),
        ("sqlite:a.db", "memory:", 2, "gone with its process"),
        ("sqlite:a.db", "sqlite:a.db", 2, "the same store"),
        ("sqlite:a.db", "sqlite:no/b.db", 1, "there is no directory"),
        ("sqlite:letter.db", "sqlite:new.db", 1, "letter.db"),
        ("sqlite:a.db", "sqlite:letter.db", 1, "letter.db"),
        ("a.db", "sqlite:new.db", 1, "no store URL"),
    ):
        done = cli("copy", source, target, code=code)
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    assert sorted(file.name for file in cli.place.iterdir()) == ["a.db", "letter.db"]


def test_a_password_is_not_told(cli: Cli, origin: str) -> None:
    """In whichever place it is, and whatever is wrong."""
    fill(origin, a_log(1))
    url = "postgresql://u:s3cret@127.0.0.1:1/x"
    for arguments, code in (
        (("copy", origin, url), 1),
        (("copy", "postgresql://127.0.0.1:1/x?user=u&password=s3cret", origin), 1),
        (("copy", origin, "postgresql://u:s3/cret@127.0.0.1:1/x"), 1),
        (("copy", origin, origin, url), 2),
        (("copy", "--bogus", url), 2),
        (("events", f"--stor={url}"), 2),
        (("events", "--store", "mysql://u:s3cret@127.0.0.1/x"), 1),
        (("migrate", url), 1),
    ):
        done = cli(*arguments, code=code)
        assert done.stderr.count("\n") == code
        assert "s3" not in done.stderr + done.stdout, (arguments, done.stderr)


# --- Shown -----------------------------------------------------------------------------------------------------------


def test_progress_on_a_terminal(cli: Cli, origin: str) -> None:
    fill(origin, a_log(20_000))
    code, written = on_terminal(cli, "copy", origin, "sqlite:b.db")
    assert code == 0, written
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    assert re.search(r"Copying .*\d+% +[\d,]+ events +[\d,]+/s \S+ left", plain), plain
    assert "Verifying" in plain
    assert "Copied 20,000 events" in plain


def test_progress_is_told() -> None:
    async def work(source: Store, target: Store) -> None:
        head = await source.head()
        told: list[Copying] = []
        await copy_store(source, target, batch=100, progress=told.append)
        assert [one for one in told if one.position == head] == [
            Copying(Step.COPYING, head, head, 1_000),
            Copying(Step.VERIFYING, head, head, 1_000),
        ]
        await source.restore(a_log(500, seed=2, after=await whole_log(source)))
        end = await source.head()
        told.clear()
        await copy_store(source, target, batch=100, progress=told.append)
        last = {one.step: one for one in told}
        assert last[Step.COMPARING] == Copying(Step.COMPARING, head, end, 1_000)
        assert last[Step.COPYING] == Copying(Step.COPYING, end, end, 500)
        assert last[Step.VERIFYING] == Copying(Step.VERIFYING, end, end, 500)

    in_memory(work, a_log(1_000))


def test_large_events_are_copied_a_few_at_a_time() -> None:
    large = b'"' + b"x" * 1_000_000 + b'"'
    events = [one._replace(data=large if 100 <= place < 180 else one.data) for place, one in enumerate(a_log(300))]

    async def work(source: Store, target: Store) -> None:
        sizes: list[int] = []

        async def look(number: int, events: Sequence[RecordedEvent]) -> None:
            sizes.append(len(events))
            await target.restore(events)

        await copy_store(source, Between(target, look), batch=50)
        # One more batch than is large has been read ahead when the first large ones are seen.
        assert sizes[:3] == [50, 50, 50]
        assert max(sizes[3:6]) <= 8
        assert max(sizes[6:]) > 20
        assert sum(sizes) == 300

    in_memory(work, events)


def test_the_digest_is_what_it_is_said_to_be() -> None:
    """By the description alone, written down a second time."""
    events = a_log(200)
    ours = LogDigest()
    ours.add(events[:77])
    ours.add(events[77:])
    written = b""
    for event in events:
        numbers = [event.position, event.version, event.schema_version, event.recorded_micros]
        first, *rest = (number.to_bytes(8, "big", signed=True) for number in numbers)
        texts = [
            event.stream_id, event.category, event.type, event.data, event.metadata, event.correlation_id,
            event.causation_id, event.actor,
        ]  # fmt: skip
        raw = [text.encode() if isinstance(text, str) else text for text in texts]
        lengths = [(2**32 - 1 if one is None else len(one)).to_bytes(4, "big") for one in raw]
        written += first + event.raw_id + b"".join([*rest, *lengths, *(one or b"" for one in raw)])
    assert ours.hexdigest() == hashlib.sha256(written).hexdigest()
    assert (ours.events, ours.position) == (200, events[-1].position)
    assert ours.streams == len({event.stream_id for event in events})


def test_every_field_counts_in_the_digest() -> None:
    """And none can stand for another."""
    [event] = a_log(1)
    event = event._replace(correlation_id="a", causation_id="bc", actor=None)
    others = [
        event,
        *(event._replace(**{name: getattr(event, name) + 1}) for name in ("position", "version", "schema_version")),
        event._replace(recorded_micros=event.recorded_micros - 1),
        event._replace(raw_id=b"\x00" * 16),
        *(event._replace(**{name: getattr(event, name) + "x"}) for name in ("stream_id", "category", "type")),
        *(event._replace(**{name: getattr(event, name) + b" "}) for name in ("data", "metadata")),
        event._replace(correlation_id="ab", causation_id="c"),
        event._replace(correlation_id=None, causation_id="abc"),
        event._replace(actor=""),
        event._replace(data=event.data + event.metadata, metadata=b""),
    ]
    digests = set()
    for one in others:
        digest = LogDigest()
        digest.add([one])
        digests.add(digest.hexdigest())
    assert len(digests) == len(others)
