"""No room: appends fail whole, reading goes on, and once there is room appending goes on without repair.

A small disk can be had by root alone. Anybody can let a file of the server be ``/dev/full``, where there never is room:
here the one in which PostgreSQL keeps where the events' table has free space, so that it fails as soon as it looks for
a second page. (Limiting how long files may get will not do: to PostgreSQL 18 that is an internal error.)
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from foldline.errors import OutcomeUnknown, StoreFull, StoreUnavailable
from foldline.store.postgres import PostgresStore
from foldline.store.spi import Append, Claim
from tests.integration.postgres.support import (
    appended,
    event,
    everything,
    faults_of_log,
    ids_of,
    insist,
    one,
    run,
    table,
)
from tests.servers.fixtures import MakeServer
from tests.servers.keeper import as_account, unprivileged
from tests.servers.postgres import INSTALLATIONS, PostgresServer

KINDS = ["device"] if Path("/dev/full").exists() else []
if os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0:
    KINDS.append("disk")

Grow = Callable[[], None]


@pytest.fixture(params=[(kind, major) for kind in KINDS for major in sorted(INSTALLATIONS)], ids=str)
def small(request: pytest.FixtureRequest, own_server: MakeServer) -> Iterator[tuple[str, Grow]]:
    """A database without much room, and what makes more."""
    kind, major = request.param
    server = own_server(major)
    with ExitStack() as stack:
        yield on_disk(server, stack) if kind == "disk" else without_pages(server)


def on_disk(server: PostgresServer, stack: ExitStack) -> tuple[str, Grow]:
    """Its tables lie on a disk of their own."""
    disk = server.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "foldline", disk], check=True)

    def unmount() -> None:
        server.stop()
        subprocess.run(["umount", disk], check=True)

    stack.callback(unmount)
    account = as_account(unprivileged())
    os.chown(disk, account["user"], account["group"])
    server.psql(f"CREATE TABLESPACE small LOCATION '{disk}'")
    # What is written to the disk later than it is made would make even reading need room.
    server.psql("CREATE DATABASE full_one TABLESPACE small STRATEGY file_copy")
    return server.url("full_one"), lambda: _run("mount", "-o", "remount,size=96m", str(disk))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def without_pages(server: PostgresServer) -> tuple[str, Grow]:
    """Its events have one page."""
    url = server.create_database("full_one")
    asyncio.run(PostgresStore.migrate(url))
    path = server.data / (server.psql("SELECT pg_relation_filepath('foldline_events')", "full_one") + "_fsm")
    path.symlink_to("/dev/full")

    def grow() -> None:
        path.unlink()
        # Who has the file open must open it anew.
        server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'full_one'")

    return url, grow


def large() -> Append:
    """An append that takes some room however it is compressed."""
    data = b'{"text":"%s"}' % base64.b64encode(os.urandom(30_000))
    return one("log-1", *(event(data) for _ in range(3)))


def test_a_full_disk_is_survived(small: tuple[str, Grow]) -> None:
    """StoreFull, nothing of it kept; what is there can be read; and with more room the same appends succeed."""
    url, grow = small

    async def main(store: PostgresStore) -> None:
        kept: list[Append] = []
        refused: list[Append] = []
        while len(refused) < 3:
            append = large()._replace(claim=Claim(f"c-{len(kept)}", b"c"))
            try:
                appended(await store.append(append))
            except StoreFull as error:
                assert "\n" not in str(error)
                assert "room" in str(error)
                refused.append(append)
            else:
                kept.append(append)
        assert len(kept) >= 5
        assert [one.event_id for one in await everything(store)] == [id for append in kept for id in ids_of(append)]
        assert await store.claimed(f"c-{len(kept)}") is None
        assert len(await store.read_stream("log-1")) == 3 * len(kept)

        grow()
        assert not appended(await store.append(refused[0])).replayed
        for append in refused[1:]:
            assert not appended(await store.append(append._replace(claim=None))).replayed
        for append in (*kept, *refused):
            assert appended(await store.append(append._replace(claim=None))).replayed
        log = await table(url)
        assert faults_of_log(log) == []
        assert [one.event_id for one in log] == [id for append in (*kept, *refused) for id in ids_of(append)]
        assert await everything(store) == log

    run(main, url)


if "disk" in KINDS:

    def test_a_server_without_room_for_its_own_log(own_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """It ends itself; what was acknowledged is there when it comes back, and the rest can be retried."""
        monkeypatch.setattr("foldline.store.postgres.appender.PATIENCE", 1.0)
        server = own_server()
        url = server.create_database("walled")
        log, disk = server.data / "pg_wal", server.folder / "disk"
        server.stop()
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=56m", "foldline", disk], check=True)
        try:
            _run("cp", "-a", str(log), str(disk / "pg_wal"))
            _run("rm", "-r", str(log))
            log.symlink_to(disk / "pg_wal")
            server.start()

            async def main(store: PostgresStore) -> None:
                kept: list[Append] = []
                while True:
                    append = large()
                    try:
                        appended(await store.append(append))
                    except (StoreFull, StoreUnavailable, OutcomeUnknown) as error:
                        assert "\n" not in str(error)
                        break
                    kept.append(append)
                assert len(kept) > 10
                _run("mount", "-o", "remount,size=256m", str(disk))
                if not server.running:
                    server.start()
                # It may have been kept before the end, or not; now it is, once.
                appended(await insist(store, append))
                log = await table(url)
                assert faults_of_log(log) == []
                assert [one.event_id for one in log] == [id for append in (*kept, append) for id in ids_of(append)]
                assert await everything(store) == log

            run(main, url)
        finally:
            server.stop("immediate")
            subprocess.run(["umount", disk], check=True)
