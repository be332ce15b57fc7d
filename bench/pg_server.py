"""The PostgreSQL server of a measurement, its databases, and pgbench beside Foldline on the same server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from bench.plan import Job
from tests.servers.keeper import MEMORY
from tests.servers.postgres import SUPERUSER, PostgresServer, clean_environment, quoted, url_of

SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",  # a checkpoint comes when a run asks for one, and not in the middle of another
}
"""What is not as PostgreSQL 18 comes, or is said here so that nobody need wonder. With what the tests' server sets
besides (200 connections, no JIT, its own port) this is all."""

EMPTY = "empty"
"""The database that others are copied from: migrated, and without an event."""


class Server(NamedTuple):
    """Where the measurement's server is."""

    port: int
    bin: str

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, as Foldline, asyncpg and everybody else gets it."""
        return url_of(self.port, database, user=SUPERUSER, password=None)


@contextmanager
def running(prepared: Path) -> Iterator[None]:
    """The service of a measurement: a new server with its data on the disk that is measured, gone at the end."""
    before = tempfile.tempdir
    # Not in the measurement's own directory, which only its owner may enter: the server runs as somebody else.
    tempfile.tempdir = str(prepared.parents[2])
    try:
        server = PostgresServer(18, settings=SETTINGS)
    finally:
        tempfile.tempdir = before
    with server:
        if server.folder.is_relative_to(MEMORY):
            raise RuntimeError(f"{server.folder} is in memory: choose a directory on a disk by --dir")
        _place(prepared).write_text(json.dumps({"port": server.port, "bin": str(server.bin)}))
        yield


def server_of(job: Job) -> Server:
    """The server that runs beside a job."""
    return Server(**json.loads(_place(job.prepared).read_text()))


def run(url: str, *statements: str) -> list[Any]:
    """Run statements, each in a transaction of its own; the first value of each one's first row."""

    async def work() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetchval(statement, timeout=900) for statement in statements]
        finally:
            await connection.close()

    return asyncio.run(work())


def create(server: Server, name: str, template: str) -> str:
    """A copy of a database, and its URL."""
    run(server.url(), f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(template)}")
    return server.url(name)


@contextmanager
def database(job: Job, template: str = EMPTY) -> Iterator[str]:
    """A database for this run alone, by its URL; nothing is left for a checkpoint to write when it is measured."""
    server = server_of(job)
    name = f"run_{job.run}_{job.here.name}"
    url = create(server, name, template)
    run(server.url(), "CHECKPOINT")
    try:
        yield url
    finally:
        run(server.url(), f"DROP DATABASE {quoted(name)} WITH (FORCE)")


def settle(url: str) -> None:
    """Have done now what autovacuum and the checkpointer would do for what was just written."""
    run(url, "VACUUM (ANALYZE)", "CHECKPOINT")


def pgbench(job: Job, url: str, script: str, *, clients: int, seconds: int, **variables: str) -> float:
    """Transactions a second of a script, which is told variables as ``:name``, by so many clients of pgbench."""
    with pgbench_running(job, url, script, clients=clients, seconds=seconds, **variables) as program:
        said, _ = program.communicate()
    found = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
    if program.returncode or found is None or "failed transactions: 0 " not in said:
        raise RuntimeError(f"pgbench ended with {program.returncode}: {said}")
    return float(found[1])


@contextmanager
def pgbench_running(
    job: Job, url: str, script: str, *, clients: int, seconds: int, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """The same at work, for as long as the context lasts at most; what it says on stdout is its report."""
    server = server_of(job)
    file = job.here / "script.sql"
    file.write_text(script)
    with subprocess.Popen(
        [
            f"{server.bin}/pgbench", "-n", "-M", "prepared", "-f", str(file), "-c", str(clients),
            "-j", str(min(clients, 2)), "-T", str(seconds), *(f"-D{name}={value}" for name, value in variables.items()),
            "-h", "127.0.0.1", "-p", str(server.port), "-U", SUPERUSER, url.rpartition("/")[2],
        ],
        env=clean_environment(), stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        try:
            yield program
        finally:
            program.terminate()


def _place(prepared: Path) -> Path:
    return prepared / "server.json"
