"""What is refused, and how: one clear line that says what to do, never with the password; and nothing half done."""

from __future__ import annotations

import asyncio
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from foldline.errors import CannotOpen, NotAStore, StoreBusy, StoreError, StoreTooNew
from foldline.store.postgres import PostgresStore
from foldline.store.spi import Claim, Column, Kind, ProjectionSpec, Table
from tests.integration.postgres.support import (
    appended,
    connected,
    event,
    everything,
    name_of,
    one,
    opened,
    run,
    with_options,
)
from tests.servers.fixtures import MakeServer
from tests.servers.postgres import PostgresServer, free_port, url_of
from tests.servers.proxy import Proxy
from tests.servers.tls import make_certificates

SECRET = "s3cr%t p@ss:w/rd?#"
QUOTED = ("s3cr", "p%40ss", "p@ss", "w/rd", "w%2Frd")

MakeProxy = Callable[..., Proxy]


def refused(url: str, *, create: bool = True) -> CannotOpen:
    """The error with which a store is not opened."""

    async def main() -> CannotOpen:
        async with asyncio.timeout(30):
            with pytest.raises(CannotOpen) as caught:
                await PostgresStore.open(url, create=create)
            # What the connection had is closed in a later turn of the loop.
            await asyncio.sleep(0.01)
        return caught.value

    error = asyncio.run(main())
    said = "".join(traceback.format_exception(error)) + repr(error)
    assert not [part for part in QUOTED if part in said], said
    assert "\n" not in str(error)
    assert str(error).endswith((".", "?"))
    return error


# --- Who, where and how ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
def test_wrong_password(own_server: MakeServer, method: str) -> None:
    """It is neither the one that is right nor in what is said."""
    server = own_server(hba=[f"host all app 127.0.0.1/32 {method}"])
    server.create_role("app", password="right")
    said = str(refused(server.url("postgres", user="app", password=SECRET)))
    assert "refuses the role or its password" in said
    assert "app" in said


def test_wrong_role_or_database(postgres: PostgresServer) -> None:
    """Named, with what to do about it."""
    assert "nobody_here" in str(refused(postgres.url("postgres", user="nobody_here", password=SECRET)))
    said = str(refused(postgres.url("not_there", password=SECRET)))
    assert "no such database" in said
    assert "not_there" in said


def test_a_role_that_may_not_connect(own_server: MakeServer) -> None:
    """Neither by pg_hba.conf nor by its rights."""
    server = own_server(hba=["host all outside 127.0.0.1/32 reject"])
    server.create_role("outside", password=SECRET)
    assert "pg_hba.conf" in str(refused(server.url("postgres", user="outside", password=SECRET)))
    server.create_role("inside", password=SECRET)
    server.create_database("closed")
    server.psql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    assert "CONNECT" in str(refused(server.url("closed", user="inside", password=SECRET)))


def test_wrong_port_or_host(postgres18: PostgresServer, network: MakeProxy) -> None:
    """Nobody there, nobody of that name, somebody who hangs up, and somebody who says nothing."""
    began = time.monotonic()
    said = str(refused(url_of(free_port(), "shop", user="app", password=SECRET)))
    assert "cannot be reached" in said
    assert "/shop" in said
    said = str(refused(f"postgresql://app:{'s3cr%25t'}@not-there.invalid/shop"))
    assert "cannot be reached" in said
    assert "not-there.invalid" in said
    proxy = network(postgres18.port)
    proxy.refuse()
    assert "cannot be reached" in str(refused(proxy.url("shop", user="app", password=SECRET)))
    proxy.flow()
    proxy.stall()
    assert "does not answer" in str(refused(proxy.url("shop", user="app", password=SECRET)))
    assert time.monotonic() - began < 15


def test_tls_is_demanded_of_a_server_without(postgres18: PostgresServer) -> None:
    """The wheel's server has none."""
    said = str(refused(postgres18.url("postgres", password=SECRET, sslmode="require")))
    assert "by TLS as asked for" in said


def test_tls_with_a_certificate_that_cannot_be_verified(
    postgres18: PostgresServer, network: MakeProxy, tmp_path: Path
) -> None:
    """Of an authority that is not known, or for another host; and with what is right it opens."""
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    ours, theirs = (
        make_certificates(tmp_path / "ours"),
        make_certificates(tmp_path / "theirs", hosts="DNS:other.invalid"),
    )
    for made, verifying, good in (
        (ours, {"sslmode": "verify-full", "sslrootcert": str(ours.authority)}, True),
        (ours, {"sslmode": "require"}, True),
        (ours, {"sslmode": "verify-full", "sslrootcert": str(theirs.authority)}, False),
        (theirs, {"sslmode": "verify-full", "sslrootcert": str(theirs.authority)}, False),
        (theirs, {"sslmode": "verify-ca", "sslrootcert": str(theirs.authority)}, True),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        url = network(postgres18.port, tls=context).url("tls_test", password=SECRET, **verifying)
        if good:
            # By TLS it came as far as the database, which is not there.
            assert "no such database" in str(refused(url))
        else:
            assert "by TLS as asked for" in str(refused(url)), verifying


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://app:{'s3cr'}@[::1/shop",
        f"postgresql://app:{'s3cr'}@127.0.0.1:port/shop",
        f"postgresql://app:{'s3cr'}@127.0.0.1:99999/shop",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?pool_size=1",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?pool_size=many",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?timeout=0",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?timeout=nan",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?migrate=maybe",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?sslmode=sometimes",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?target_session_attrs=best",
        f"postgresql://app:{'s3cr'}@127.0.0.1/shop?broken",
        f"postgresql://127.0.0.1/shop?password={'s3cr'}&pool_size=0",
        f"postgresql://app:{'s3cr'}@127.0.0.1:1/shop?sslmode=verify-full&sslrootcert=/not/there",
    ],
)
def test_malformed_urls(url: str) -> None:
    """Said before anything is connected to."""
    refused(url)


# --- Which database --------------------------------------------------------------------------------------------------


def test_a_database_of_a_newer_foldline(postgres: PostgresServer, database: str) -> None:
    """Is not touched."""
    postgres.psql("INSERT INTO foldline_migrations VALUES (9999, 'later', 'x')", name_of(database))
    error = refused(database)
    assert isinstance(error, StoreTooNew)
    assert "upgrade Foldline" in str(error)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ("UPDATE foldline_migrations SET checksum = 'x' WHERE number = 1", CannotOpen, "another content"),
        ("UPDATE foldline_migrations SET name = 'x' WHERE number = 1", CannotOpen, "0001_x"),
        ("DELETE FROM foldline_migrations", NotAStore, "is empty"),
        ("DROP TABLE foldline_migrations", NotAStore, "no foldline_migrations"),
        ("ALTER TABLE foldline_migrations DROP COLUMN checksum", NotAStore, "another program's"),
        (
            "DROP TABLE foldline_migrations; CREATE VIEW foldline_migrations AS SELECT 1 AS n",
            NotAStore,
            "another program's",
        ),
    ],
)
def test_a_database_that_was_tampered_with(
    postgres: PostgresServer, database: str, change: str, kind: type[CannotOpen], said: str
) -> None:
    """By others, or half of a migration: it is left as it is."""
    postgres.psql(change, name_of(database))
    error = refused(database)
    assert isinstance(error, kind)
    assert said in str(error)


def test_somebody_elses_database(postgres: PostgresServer, empty_database: str) -> None:
    """Is not used by accident; but a store can be set up beside what is there."""
    name = name_of(empty_database)
    postgres.psql("CREATE TABLE customers (id int); INSERT INTO customers VALUES (1)", name)
    error = refused(empty_database)
    assert isinstance(error, NotAStore)
    assert "foldline migrate" in str(error)
    assert postgres.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'foldline%'", name) == "0"

    assert [one.number for one in asyncio.run(PostgresStore.migrate(empty_database))][:1] == [1]
    run(lambda store: store.append(one("a-1")), empty_database)
    assert postgres.psql("SELECT id FROM customers", name) == "1"


@pytest.mark.parametrize(
    "what", ["TABLE foldline_commands (n int)", "SEQUENCE foldline_positions", "VIEW foldline_events AS SELECT 1 AS n"]
)
def test_names_that_are_taken(postgres: PostgresServer, empty_database: str, what: str) -> None:
    """Something of another program has one of our names: nothing is made, and nothing is lost."""
    name = name_of(empty_database)
    postgres.psql(f"CREATE {what}", name)
    before = postgres.psql("SELECT oid, relname FROM pg_class WHERE relname LIKE 'foldline%'", name)
    refused(empty_database)
    with pytest.raises(CannotOpen):
        asyncio.run(PostgresStore.migrate(empty_database))
    assert postgres.psql("SELECT oid, relname FROM pg_class WHERE relname LIKE 'foldline%'", name) == before


def test_an_empty_database_that_is_not_to_be_set_up(empty_database: str, postgres: PostgresServer) -> None:
    """Neither by the caller nor by the URL."""
    assert "foldline migrate" in str(refused(empty_database, create=False))
    assert "foldline migrate" in str(refused(with_options(empty_database, migrate="never")))
    assert postgres.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'foldline%'", name_of(empty_database)) == "0"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_another_encoding(postgres: PostgresServer, encoding: str) -> None:
    """Cannot keep all text."""
    name = f"test_{encoding.lower()}"
    postgres.psql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    try:
        said = str(refused(postgres.url(name)))
        assert encoding in said
        assert "UTF8" in said
    finally:
        postgres.drop_database(name)


def test_a_standby(own_server: MakeServer) -> None:
    """Cannot be written, and is not opened."""
    server = own_server()
    server.create_database("shop")
    with server.standby() as standby:
        assert "standby" in str(refused(standby.url("shop")))


# --- Which rights ----------------------------------------------------------------------------------------------------


@pytest.fixture
def poor(postgres: PostgresServer) -> Iterator[str]:
    """A role without rights, on that server."""
    postgres.create_role("poor")
    yield "poor"
    for name in (name for name in postgres.databases() if name.startswith("test_")):
        postgres.psql("DROP OWNED BY poor", name)
    postgres.psql("DROP OWNED BY poor; DROP ROLE poor")


def test_a_role_that_may_not_make_tables(postgres: PostgresServer, empty_database: str, poor: str) -> None:
    """Is told so, and who may."""
    said = str(refused(postgres.url(name_of(empty_database), user=poor)))
    assert "may not make" in said
    assert "schema public" in said
    assert "foldline migrate" in said


def test_a_role_that_may_not_read_the_migrations(postgres: PostgresServer, database: str, poor: str) -> None:
    """Is told so."""
    said = str(refused(postgres.url(name_of(database), user=poor)))
    assert "foldline_migrations" in said


ALL_RIGHTS = (
    "GRANT SELECT ON foldline_migrations TO poor",
    "GRANT SELECT, INSERT ON foldline_events, foldline_commands TO poor",
    "GRANT SELECT, INSERT, UPDATE ON foldline_snapshots, foldline_checkpoints TO poor",
    "GRANT SELECT, USAGE ON foldline_positions TO poor",
)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("INSERT ON foldline_events", "foldline_events"),
        ("SELECT ON foldline_events", "foldline_events"),
        ("INSERT ON foldline_commands", "foldline_commands"),
        ("USAGE ON foldline_positions", "foldline_positions"),
        ("SELECT ON foldline_positions", "foldline_positions"),
    ],
)
def test_a_right_is_missing(postgres: PostgresServer, database: str, poor: str, missing: str, named: str) -> None:
    """Appending says which."""
    name = name_of(database)
    postgres.psql("; ".join((*ALL_RIGHTS, f"REVOKE {missing} FROM poor")), name)

    async def append(store: PostgresStore) -> None:
        for append in (one("a-1", expected=0), one("a-1"), one("a-2")._replace(claim=Claim("c", b"c"))):
            await store.append(append)

    with pytest.raises(StoreError) as caught:
        run(append, postgres.url(name, user=poor))
    assert named in str(caught.value)
    assert "right" in str(caught.value) or "The role" in str(caught.value)
    assert "\n" not in str(caught.value)
    postgres.psql(f"GRANT {missing} TO poor", name)
    run(append, postgres.url(name, user=poor))


def test_a_right_to_make_views_tables_is_missing(postgres: PostgresServer, database: str, poor: str) -> None:
    """Preparing says which, and leaves nothing."""
    name = name_of(database)
    postgres.psql("; ".join(ALL_RIGHTS), name)
    spec = ProjectionSpec("p", "1", (Table("rows", (Column("id", Kind.TEXT),), "id"),))

    async def prepare(store: PostgresStore) -> None:
        await store.prepare(spec)

    with pytest.raises(StoreError, match="CREATE on the schema"):
        run(prepare, postgres.url(name, user=poor))
    assert postgres.psql("SELECT count(*) FROM foldline_checkpoints", name) == "0"
    postgres.psql("GRANT CREATE ON SCHEMA public TO poor", name)
    run(prepare, postgres.url(name, user=poor))


# --- No time and no room ---------------------------------------------------------------------------------------------


def test_statement_timeout(postgres: PostgresServer, database: str) -> None:
    """An append that a lock keeps waiting, and a read that takes too long: StoreBusy, nothing kept, nothing broken."""
    postgres.psql(f"ALTER DATABASE \"{name_of(database)}\" SET statement_timeout = '300ms'")

    async def main() -> None:
        async with opened(database) as store, connected(database) as other:
            await store.append(one("a-1"))
            await other.execute("SET statement_timeout = 0; BEGIN; LOCK TABLE foldline_events IN EXCLUSIVE MODE")
            append = one("a-1", event(), event())
            claimed = one("b-1")._replace(claim=Claim("c", b"c"))
            for refused in (append, claimed, one("big-1", *(event() for _ in range(5_000)))):
                with pytest.raises(StoreBusy, match="statement timeout"):
                    await store.append(refused)
            with pytest.raises(StoreBusy, match="statement timeout"):
                await store.sql("SELECT pg_sleep(5)")
            assert len(await everything(store)) == 1
            await other.execute("ROLLBACK")
            assert not appended(await store.append(append)).replayed
            assert not appended(await store.append(claimed)).replayed
            assert len(await everything(store)) == 4

    asyncio.run(main())


def test_all_connections_are_in_use(database: str) -> None:
    """A wait of as long as the URL says, and then StoreBusy."""

    async def main() -> None:
        async with opened(with_options(database, pool_size=2, timeout=1)) as store:
            assert (await store.sql("SELECT 1"))[1] == [(1,)]
            long = asyncio.ensure_future(store.sql("SELECT pg_sleep(0.9)"))
            queries = [asyncio.ensure_future(store.sql("SELECT pg_sleep(0.9)")) for _ in range(3)]
            began = time.monotonic()
            said = await asyncio.gather(long, *queries, return_exceptions=True)
            assert time.monotonic() - began < 3
            busy = [error for error in said if isinstance(error, StoreBusy)]
            assert len(busy) >= 1, said
            assert "pool_size" in str(busy[0])
            # What goes by other connections is not concerned.
            await store.append(one("a-1"))
            assert (await store.sql("SELECT 1"))[1] == [(1,)]

    asyncio.run(main())


def test_too_many_connections_for_the_server(own_server: MakeServer) -> None:
    """Opening says so."""
    server = own_server(settings={"max_connections": "5", "superuser_reserved_connections": "0", "max_wal_senders": "0",
                                  "reserved_connections": "0"})  # fmt: skip

    async def main() -> None:
        hogs = [await asyncpg.connect(server.url()) for _ in range(5)]
        with pytest.raises(CannotOpen, match="no more connections"):
            await PostgresStore.open(server.url())
        for hog in hogs:
            await hog.close()

    asyncio.run(main())
