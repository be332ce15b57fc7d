"""PgBouncer in transaction mode in front of a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.servers.keeper import Keeper, ServerFailed
from tests.servers.postgres import DEADLINE, SUPERUSER, PostgresServer, answers, clean_environment, free_port, url_of


def program() -> Path | None:
    """Where PgBouncer is, if it is installed; Debian puts it where only root looks."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/sbin")
    return None if found is None else Path(found)


def installed() -> bool:
    """Whether there is a PgBouncer; tests that need one are left out where there is none."""
    return program() is not None


class PgBouncer:
    """A PgBouncer for all databases of one server, which lends out a connection for one transaction.

    ``settings`` are lines of its ini file; ``users`` maps those who may connect to their passwords, which it asks for
    only with ``auth_type=md5`` or the like. Without, it trusts the superuser.
    """

    def __init__(
        self,
        server: PostgresServer,
        *,
        settings: Mapping[str, object] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        found = program()
        if found is None:
            raise ServerFailed("PgBouncer is not installed: on Debian, apt-get install pgbouncer.")
        self.server = server
        self.port = 0
        self._program = found
        self._settings: dict[str, object] = {
            "listen_addr": "127.0.0.1",
            "unix_socket_dir": "",
            "auth_type": "trust",
            "admin_users": SUPERUSER,
            "pool_mode": "transaction",
            "max_client_conn": 500,
            "default_pool_size": 20,
            "server_round_robin": 1,
            **(settings or {}),
        }
        self._users = {SUPERUSER: "", **(users or {})}
        self._pid: int | None = None
        self._keeper = Keeper("foldline-bouncer-")

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
        """Start it and wait until it answers; later on the port that it had."""
        deadline = time.monotonic() + DEADLINE
        fixed = self.port != 0
        while True:
            if not fixed:
                self.port = free_port()
            self._configure()
            self._pid = self._keeper.start(
                [self._program, self._keeper.folder / "pgbouncer.ini"],
                log=self._log,
                last=signal.SIGTERM,
                env=clean_environment(),
            )
            while self._keeper.running(self._pid):
                # Its own console answers by itself, whatever the server does.
                if answers(self.port, database="pgbouncer"):
                    return
                if time.monotonic() > deadline:
                    raise ServerFailed(f"PgBouncer did not answer within {DEADLINE:g} s.\n{self.log[-2000:]}")
                time.sleep(0.01)
            if "Address already in use" not in self.log or time.monotonic() > deadline:
                raise ServerFailed(f"PgBouncer did not start.\n{self.log[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, with all its connections."""
        if self._pid is not None:
            self._keeper.signal(self._pid, signal.SIGTERM)
            self._keeper.wait(self._pid)
            self._pid = None

    def restart(self) -> None:
        """End it and start it on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove its directory."""
        self._pid = None
        self._keeper.close()

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self._keeper.folder / "log"

    def url(
        self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None, **parameters: str
    ) -> str:
        """The URL of one of the server's databases, by way of it."""
        return url_of(self.port, database, user=user, password=password, **parameters)

    def admin(self, command: str) -> str:
        """What its console says to a command, such as ``SHOW POOLS`` or ``KILL name``."""
        return self.server.psql(command, "pgbouncer", port=self.port)

    def _configure(self) -> None:
        # Where the users have passwords it gives them to the server too.
        settings = {**self._settings, "listen_port": self.port, "auth_file": self._keeper.folder / "users.txt"}
        users = "".join(f'"{name}" "{password}"\n' for name, password in self._users.items())
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self._write("users.txt", users)
        self._write("pgbouncer.ini", f"[databases]\n* = host=127.0.0.1 port={self.server.port}\n[pgbouncer]\n{lines}")

    def _write(self, name: str, text: str) -> None:
        path = self._keeper.folder / name
        path.write_text(text)
        path.chmod(0o600)
        if self._keeper.account is not None:
            os.chown(path, *self._keeper.account)
