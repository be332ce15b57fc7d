"""Databases of the shared servers, made by whoever needs one first, in whichever process that is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.servers.postgres import quoted

TEMPLATE = "foldline_template"
"""The database of a shared server that has every migration and no event; new ones are copied from it."""

_LOCK = 7_310_579_611
"""The advisory lock, in the database ``postgres``, of who makes a database."""


def variable(major: int) -> str:
    """The environment variable that has the URL of the shared server of that version."""
    return f"FOLDLINE_TEST_POSTGRES_{major}"


def server_url(major: int) -> str:
    """The URL of the shared server's database ``postgres``, in any process of the tests."""
    url = os.environ.get(variable(major))
    if url is None:
        raise LookupError(f"No server of PostgreSQL {major} is shared: ask for the fixture postgres{major}.")
    return url


def name_for(folder: Path) -> str:
    """The name of the database that stands for a folder."""
    return f"test_{hashlib.blake2b(os.fsencode(folder), digest_size=12).hexdigest()}"


def in_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def ensure_database(server: str, name: str, *, template: str = TEMPLATE) -> str:
    """Make a database where it is not there yet, and tell its URL."""
    connection = await asyncpg.connect(server)
    try:
        if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
                # By files it takes half of the time that it takes by way of the log.
                await connection.execute(
                    f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(template)} STRATEGY file_copy"
                )
    finally:
        await connection.close()
    return in_database(server, name)


async def drop_database(server: str, name: str) -> None:
    """Remove a database, if it is there, with all connections to it."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
    finally:
        await connection.close()
