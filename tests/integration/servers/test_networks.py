"""What stands between tests and servers: a network that fails on command, PgBouncer, and TLS."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.servers import pgbouncer
from tests.servers.fixtures import MakeServer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import INSTALLATIONS, PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.tls import make_certificates

MakeProxy = Callable[..., Proxy]


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection; at the end it is dropped, in whichever state it is."""
    connection = await asyncpg.connect(url, timeout=20, **options)
    try:
        yield connection
    finally:
        connection.terminate()
        # What it had is closed in a later turn of the loop.
        await asyncio.sleep(0.01)


def test_a_network_forwards(postgres18: PostgresServer, network: MakeProxy) -> None:
    """Both ways, much and little, for many."""
    proxy = network(postgres18.port)

    async def main() -> None:
        async with connected(proxy.url()) as one, connected(proxy.url()) as other:
            assert proxy.connections == 2
            text = "x" * 3_000_000
            assert await one.fetchval("SELECT $1::text", text) == text
            answers = await asyncio.gather(one.fetchval("SELECT 1"), other.fetchval("SELECT 2"))
            assert tuple(answers) == (1, 2)
            await one.close()
            await other.close()

    asyncio.run(main())


def test_a_network_is_slow(postgres18: PostgresServer, network: MakeProxy) -> None:
    """By the delay, either way."""
    proxy = network(postgres18.port)

    async def main() -> None:
        async with connected(proxy.url()) as one:
            proxy.delay(0.1)
            began = time.monotonic()
            await one.execute("SELECT 1")
            assert 0.2 <= time.monotonic() - began < 5

    asyncio.run(main())


def test_a_network_stands_still(own_server: MakeServer, network: MakeProxy) -> None:
    """What is held back arrives when it flows again; where only the answer is held, the server has done it."""
    server = own_server()
    server.psql("CREATE TABLE kept (n int)")
    proxy = network(server.port)

    async def main() -> None:
        async with connected(proxy.url()) as one:
            for number, up in enumerate((True, False)):
                proxy.stall(up=up)
                asked = asyncio.create_task(one.execute(f"INSERT INTO kept VALUES ({number})"))
                done, _ = await asyncio.wait([asked], timeout=0.2)
                assert not done
                assert server.psql(f"SELECT count(*) FROM kept WHERE n = {number}") == ("0" if up else "1")
                proxy.flow()
                assert await asked == "INSERT 0 1"

    asyncio.run(main())


def test_a_network_is_cut(postgres18: PostgresServer, network: MakeProxy) -> None:
    """What goes through it is reset at once; then it takes new connections, or refuses them."""
    proxy = network(postgres18.port)

    async def main() -> None:
        async with connected(proxy.url()) as one:
            asked = asyncio.create_task(one.fetchval("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.05)
            proxy.cut()
            with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
                await asked
        async with connected(proxy.url()) as one:
            assert await one.fetchval("SELECT 1") == 1
            proxy.refuse()
            with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
                await one.fetchval("SELECT 1")
            with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
                await asyncpg.connect(proxy.url(), timeout=20)
            proxy.flow()
        async with connected(proxy.url()) as one:
            assert await one.fetchval("SELECT 1") == 1

    asyncio.run(main())


def test_an_answer_is_lost(own_server: MakeServer, network: MakeProxy) -> None:
    """The commit is done, and its client is not told."""
    server = own_server()
    server.psql("CREATE TABLE kept (n int)")
    proxy = network(server.port)

    async def main() -> None:
        async with connected(proxy.url()) as one:
            transaction = one.transaction()
            await transaction.start()
            await one.execute("INSERT INTO kept VALUES (1)")
            proxy.lose_answer_to(b"COMMIT")
            with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
                await transaction.commit()

    asyncio.run(main())
    assert server.psql("SELECT n FROM kept") == "1"


@pytest.mark.parametrize("major", INSTALLATIONS)
def test_any_server_speaks_tls(own_server: MakeServer, network: MakeProxy, tmp_path: Path, major: int) -> None:
    """By itself where it was built with it, else by the network before it; a client that checks believes its own."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = make_certificates(tmp_path / "ours"), make_certificates(tmp_path / "theirs")
    if INSTALLATIONS[major].tls:
        url = own_server(major, tls=ours, hba=["hostnossl all all 127.0.0.1/32 reject"]).url
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ours.certificate, ours.key)
        url = network(own_server(major).port, tls=context).url

    async def main() -> None:
        async with connected(url(sslmode="verify-full", sslrootcert=str(ours.authority))) as one:
            assert await one.fetchval("SELECT 1") == 1
            text = "x" * 3_000_000
            assert await one.fetchval("SELECT $1::text", text) == text
            await one.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncpg.connect(url(sslmode="verify-full", sslrootcert=str(theirs.authority)), timeout=20)

    asyncio.run(main())


if pgbouncer.installed():

    @pytest.mark.parametrize("major", INSTALLATIONS)
    def test_a_bouncer_lends_connections(own_server: MakeServer, bounce: Callable[..., PgBouncer], major: int) -> None:
        """One for a transaction, to many clients; it comes back after a restart of its own and of the server."""
        server = own_server(major)
        server.create_role("app")
        bouncer = bounce(server, settings={"default_pool_size": 1}, users={"app": ""})

        async def main() -> None:
            options = {"statement_cache_size": 0}
            async with (
                connected(bouncer.url(user="app"), **options) as one,
                connected(bouncer.url(user="app"), **options) as other,
            ):
                pids = {await who.fetchval("SELECT pg_backend_pid()") for who in (one, other)}
                assert len(pids) == 1, "both had the one connection, one after the other"
            server.restart()
            bouncer.restart()
            async with connected(bouncer.url(user="app"), **options) as one:
                assert await one.fetchval("SELECT current_user") == "app"

        asyncio.run(main())
        assert "app" in bouncer.admin("SHOW POOLS")
