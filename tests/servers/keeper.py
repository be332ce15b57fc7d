"""Servers that never outlive who started them: a small process keeps each one, together with its directory.

The keeper starts the servers as its children and holds a pipe to the process that it keeps them for. When the pipe
closes, be it by `Keeper.close()` or because that process was killed, it ends the servers and removes the directory.
It is this file, run as a program; it needs nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ACCOUNTS = ("nobody", "postgres", "daemon")
PATIENCE = 30.0
"""Seconds that a server is given to end before it is killed."""

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


class ServerFailed(Exception):
    """A server, or one of its programs, did not do what it was asked to."""


class Account(NamedTuple):
    """Who a server runs as: PostgreSQL and PgBouncer both refuse to run as root."""

    uid: int
    gid: int


def unprivileged() -> Account | None:
    """The account that servers are given; None where this process is an ordinary user's, and theirs is the same."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(found.pw_uid, found.pw_gid)
    raise ServerFailed(f"Servers cannot run as root, and there is none of the accounts {', '.join(ACCOUNTS)}.")


def as_account(account: Account | None) -> dict[str, Any]:
    """What subprocess is told so that a program runs as that account."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def new_directory(prefix: str, *, in_memory: bool = False) -> Path:
    """A new directory that servers can enter and whose sockets' paths are short enough.

    One in memory is there where the system has much room for such things; elsewhere it is on disk like any other.
    """
    account = unprivileged()
    roomy = in_memory and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    for parent in dict.fromkeys((*[str(MEMORY)][:roomy], tempfile.gettempdir(), "/tmp", "/var/tmp")):
        # A socket's path may have 103 bytes on macOS and 107 on Linux.
        if len(os.fsencode(parent)) <= 70 and _passable(Path(parent), account):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
            if account is not None:
                os.chown(folder, account.uid, account.gid)
            return folder
    raise ServerFailed("There is no directory for temporary files that an unprivileged server could enter.")


def _passable(folder: Path, account: Account | None) -> bool:
    for one in (folder.resolve(), *folder.resolve().parents):
        try:
            status = one.stat()
        except OSError:
            return False
        if account is None:
            allowed = os.access(one, os.X_OK)
        elif status.st_uid == account.uid:
            allowed = bool(status.st_mode & 0o100)
        elif status.st_gid == account.gid:
            allowed = bool(status.st_mode & 0o010)
        else:
            allowed = bool(status.st_mode & 0o001)
        if not allowed:
            return False
    return True


class Keeper:
    """A directory, and the servers that run in it, for as long as this process lives and does not close it."""

    def __init__(self, prefix: str = "foldline-", *, in_memory: bool = False) -> None:
        self.account = unprivileged()
        self.folder = new_directory(prefix, in_memory=in_memory)
        self._lock = threading.Lock()
        # A session of its own, so that Ctrl-C in a terminal ends the tests and leaves the servers to the keeper.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(
        self, command: Sequence[str | Path], *, log: Path, last: signal.Signals, env: Mapping[str, str] | None = None
    ) -> int:
        """Start a server in the directory and tell its process id; ``last`` is the signal that ends it in the end."""
        answer = self._ask(
            do="start",
            command=[str(part) for part in command],
            log=str(log),
            last=int(last),
            env=dict(os.environ if env is None else env),
            account=self.account,
        )
        return int(answer["pid"])

    def running(self, pid: int) -> bool:
        """Whether that server has not ended yet."""
        return self._ask(do="wait", pid=pid, timeout=0)["code"] is None

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a server; one that has ended does not mind."""
        self._ask(do="signal", pid=pid, number=int(number))

    def wait(self, pid: int, timeout: float = PATIENCE) -> int:
        """The code that a server ended with, once it has."""
        code = self._ask(do="wait", pid=pid, timeout=timeout)["code"]
        if code is None:
            raise ServerFailed(f"The server with process id {pid} did not end within {timeout:g} s.")
        return int(code)

    def close(self) -> None:
        """End the servers that still run and remove the directory; closing again does nothing."""
        with self._lock:
            assert self._process.stdin is not None and self._process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(2 * PATIENCE)
            self._process.stdout.close()

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin is not None and self._process.stdout is not None
            if self._process.stdin.closed:
                raise ServerFailed("The server is closed: its directory is gone.")
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise ServerFailed(f"The keeper of {self.folder} has ended.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ServerFailed(answer["error"])
        return answer


# --- The program -----------------------------------------------------------------------------------------------------


def _main(folder: Path) -> None:
    children: dict[int, tuple[subprocess.Popen[bytes], int]] = {}
    try:
        for line in sys.stdin.buffer:
            try:
                answer = _answer(json.loads(line), folder, children)
            except (OSError, subprocess.SubprocessError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # whom it answers is gone
    finally:
        _end(children)
        _remove(folder)


def _answer(
    request: dict[str, Any], folder: Path, children: dict[int, tuple[subprocess.Popen[bytes], int]]
) -> dict[str, Any]:
    match request["do"]:
        case "start":
            with Path(request["log"]).open("ab") as log:
                account = request["account"]
                child = subprocess.Popen(
                    request["command"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=request["env"],
                    **as_account(None if account is None else Account(*account)),
                )
            children[child.pid] = child, request["last"]
            return {"pid": child.pid}
        case "signal":
            children[request["pid"]][0].send_signal(request["number"])
            return {}
        case _:
            try:
                return {"code": children[request["pid"]][0].wait(request["timeout"])}
            except subprocess.TimeoutExpired:
                return {"code": None}


def _end(children: dict[int, tuple[subprocess.Popen[bytes], int]]) -> None:
    for child, last in children.values():
        child.send_signal(last)
        # One that was stopped by a test hears its last signal only when it goes on.
        child.send_signal(signal.SIGCONT)
    for child, _ in children.values():
        try:
            child.wait(PATIENCE / 3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _remove(folder: Path) -> None:
    # A postmaster that was killed leaves its children to find that out by themselves, and they may still write.
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
