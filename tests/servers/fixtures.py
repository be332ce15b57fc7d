"""Fixtures: the shared servers, databases on them, and servers that a test has for itself.

A shared server is started when the first test asks for it and lives as long as the session. Tests that stop, crash or
configure a server make one of their own with `own_server`.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import pytest

from foldline.store.postgres import PostgresStore
from tests.servers.databases import TEMPLATE, variable
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import INSTALLATIONS, PostgresServer
from tests.servers.proxy import Proxy

_TEMPLATED: WeakSet[PostgresServer] = WeakSet()

MakeServer = Callable[..., PostgresServer]
"""``own_server(18, settings=…, hba=…, tls=…)``: a started server of the test's own, closed after it."""


@contextmanager
def shared(major: int) -> Iterator[PostgresServer]:
    """A server whose URL is in the environment."""
    with PostgresServer(major, in_memory=True) as server:
        os.environ[variable(major)] = server.url()
        try:
            yield server
        finally:
            del os.environ[variable(major)]


def with_template(server: PostgresServer) -> PostgresServer:
    """The server, once it has the database that new ones are copied from."""
    if server not in _TEMPLATED:
        url = server.create_database("foldline_making")
        asyncio.run(_migrate(url))
        # Under its name only when it is whole, for it is not made again.
        server.psql(f"ALTER DATABASE foldline_making RENAME TO {TEMPLATE}")
        _TEMPLATED.add(server)
    return server


async def _migrate(url: str) -> None:
    store = await PostgresStore.open(url)
    await store.close()


@pytest.fixture(scope="session")
def postgres18() -> Iterator[PostgresServer]:
    """The shared server of PostgreSQL 18."""
    with shared(18) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[PostgresServer]:
    """The shared server of PostgreSQL 15; ask for it only where that is in INSTALLATIONS."""
    with shared(15) as server:
        yield server


@pytest.fixture(params=sorted(INSTALLATIONS, reverse=True), ids="postgres{}".format)
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Each shared server that there is, one after the other."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a new database with every migration and no event, on each shared server."""
    with temporary_database(with_template(postgres), template=TEMPLATE) as url:
        yield url


@pytest.fixture
def database18(postgres18: PostgresServer) -> Iterator[str]:
    """The URL of a new database with every migration and no event, on PostgreSQL 18."""
    with temporary_database(with_template(postgres18), template=TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a new database with nothing in it, on each shared server."""
    with temporary_database(postgres) as url:
        yield url


@contextmanager
def temporary_database(server: PostgresServer, *, template: str | None = None) -> Iterator[str]:
    """The URL of a new database of that server, dropped at the end with whatever is connected to it."""
    name = f"test_{uuid.uuid4().hex}"
    try:
        yield server.create_database(name, template)
    finally:
        if server.running:
            server.drop_database(name)


@pytest.fixture
def own_server() -> Iterator[MakeServer]:
    """Starts servers that the test has for itself, and closes them after it."""
    with ExitStack() as stack:

        def make(major: int = 18, **options: Any) -> PostgresServer:
            return stack.enter_context(PostgresServer(major, **{"in_memory": True, **options}))

        yield make


@pytest.fixture
def bounce() -> Iterator[Callable[..., PgBouncer]]:
    """Starts PgBouncers in front of servers, and closes them after the test; only where pgbouncer.installed()."""
    with ExitStack() as stack:

        def make(server: PostgresServer, **options: Any) -> PgBouncer:
            return stack.enter_context(PgBouncer(server, **options))

        yield make


@pytest.fixture
def network() -> Iterator[Callable[..., Proxy]]:
    """Puts networks between a test and a port of 127.0.0.1, and takes them away after the test."""
    with ExitStack() as stack:

        def make(port: int, **options: Any) -> Proxy:
            return stack.enter_context(Proxy(port, **options))

        yield make
