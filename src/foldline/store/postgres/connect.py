"""Connections: what a URL says, how they are made, and pools of them that mend themselves."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg import exceptions as pg

from foldline.errors import CannotOpen, StoreBusy, StoreClosed, StoreUnavailable
from foldline.store.postgres.errors import ERRORS, LOST, TRANSIENT, translate

R = TypeVar("R")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

OLDEST = 15
"""The oldest PostgreSQL whose community still mends it."""

CONNECT_WITHIN = 5.0
"""Seconds within which a connection must stand."""

PATIENCE = 15.0
"""Seconds for which a call that lost its connection is tried again on another, before it fails."""

_EPOCH_MICROS = (datetime(2000, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Settings(NamedTuple):
    """What a store's URL says, apart into what asyncpg is to know and what we are."""

    dsns: list[str]
    """A URL for each of its hosts; the one that was connected to last comes first."""
    shown: str
    """The URL as it may be shown: without a password."""
    pool_size: int = 8
    timeout: float = 60.0
    """Seconds for one statement, and for waiting until a connection is free."""
    migrate: bool = True


def settings_of(url: str) -> Settings:
    """Read a URL; raises CannotOpen where it is none, without saying its password."""
    parts: SplitResult | None
    try:
        parts = urlsplit(url)
        user, at, hosts = parts.netloc.rpartition("@")
        masked = parts._replace(netloc=f"{user.partition(':')[0]}{at}{hosts}", query="")
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        parts = None
    if parts is None or "@" in parts.path or "@" in parts.fragment:
        # Nothing of it is shown: nobody knows where a password ends in it.
        raise CannotOpen(
            "This is no PostgreSQL URL: use postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and in a password %2F for /,"
            " %40 for @ and so on."
        )
    shown = urlunsplit(masked)
    pool_size = _number(shown, "pool_size", given.pop("pool_size", "8"), 2, 1000)
    timeout = _number(shown, "timeout", given.pop("timeout", "60"), 1, 86_400)
    migrate = given.pop("migrate", "auto")
    if migrate not in ("auto", "never"):
        raise CannotOpen(f"{shown}: ?migrate= is auto or never, not {migrate!r}.")
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        if name in given and given[name] != "system" and not Path(given[name]).is_file():
            raise CannotOpen(f"{shown}: there is no file {given[name]!r}, which ?{name}= names.")
    given.setdefault("application_name", "foldline")
    given.setdefault("target_session_attrs", "primary")
    query = urlencode(given, quote_via=quote)
    dsns = [urlunsplit(parts._replace(netloc=f"{user}{at}{host}", query=query)) for host in hosts.split(",")]
    return Settings(dsns, shown, round(pool_size), timeout, migrate == "auto")


def _number(shown: str, name: str, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise CannotOpen(f"{shown}: ?{name}= is a number from {least:g} to {most:g}, not {text!r}.")
    return number


if TYPE_CHECKING:
    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection


class Line(_Base):
    """A connection whose operating system notices within seconds that the other side has gone without a word."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        line = transport.get_extra_info("socket")
        if line is not None and line.family != getattr(socket, "AF_UNIX", None):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, seconds in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, option):
                    line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)


async def connect(settings: Settings, *, pooled: bool, raw: bool = False) -> Line:
    """A new connection; raises what asyncpg raises.

    ``pooled`` says that a PgBouncer stands between, which may hand every transaction to another server: nothing may
    then be remembered from one to the next. ``raw`` hands JSON, UUIDs and times over as they are on the wire.
    """
    connection = await _reach(settings, 0 if pooled else 100)
    try:
        if raw:
            async with asyncio.timeout(CONNECT_WITHIN):
                await use_raw_codecs(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _reach(settings: Settings, cached: int) -> Line:
    """A connection to the first of the hosts that is the primary; none has more than its share of the time.

    asyncpg would give all of it to a first host that is silent, and never come to the second.
    """
    within = CONNECT_WITHIN / len(settings.dsns)
    failed: Exception = OSError("no host was named")
    for dsn in tuple(settings.dsns):
        try:
            connection = await asyncpg.connect(dsn, timeout=within, connection_class=Line, statement_cache_size=cached)
        except (OSError, TimeoutError, pg.CannotConnectNowError, pg.TargetServerAttributeNotMatched) as error:
            failed = error
            continue
        # Whoever connects next asks the same host first.
        settings.dsns.remove(dsn)
        settings.dsns.insert(0, dsn)
        return connection
    raise failed


async def use_raw_codecs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Have json be bytes, uuid its 16 bytes and timestamptz microseconds since 1970 on this connection."""
    async with connection.transaction():
        for name in ("json", "uuid"):
            await connection.set_builtin_type_codec(name, schema="pg_catalog", codec_name="bytea", format="binary")
        await connection.set_type_codec(
            "timestamptz", schema="pg_catalog", encoder=_to_wire, decoder=_from_wire, format="tuple"
        )


def _to_wire(micros: int) -> tuple[int]:
    return (micros - _EPOCH_MICROS,)


def _from_wire(value: tuple[int]) -> int:
    return value[0] + _EPOCH_MICROS


async def is_pooled(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether somebody stands between us and the server: the process that answers is not the one that was announced."""
    async with connection.transaction():
        return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


class Pool:
    """Connections for calls that may be repeated: what loses its connection is done again on another."""

    def __init__(self, settings: Settings, *, pooled: bool, raw: bool, size: int) -> None:
        self._settings = settings
        self._pooled = pooled
        self._raw = raw
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._closed = False

    async def start(self) -> None:
        """Be ready; connections are made when they are needed."""

        async def make(*_: Any, **__: Any) -> Line:
            return await connect(self._settings, pooled=self._pooled, raw=self._raw)

        async def keep(_: Any) -> None:
            """Nothing to be reset: no call of ours leaves anything in its session."""

        self._pool = await asyncpg.create_pool(
            min_size=0, max_size=self._size, connection_class=Line, connect=make, reset=keep,
            max_inactive_connection_lifetime=300,
        )  # fmt: skip

    async def close(self, within: float) -> None:
        """Let the calls under way end, then close the connections; after ``within`` seconds without asking."""
        self._closed = True
        if self._pool is not None:
            try:
                async with asyncio.timeout(within):
                    await self._pool.close()
            except (TimeoutError, *ERRORS):
                self._pool.terminate()

    async def call(
        self, work: Callable[[Connection], Awaitable[R]], *, transaction: bool = False, repeatable: bool = False
    ) -> R:
        """Do something on a connection, again where it was lost, and in a transaction where that is asked for.

        So the work must be such that doing it twice is doing it once. In a ``repeatable`` transaction all that is read
        is of one moment, and where another transaction has changed meanwhile what this one writes, it is done again:
        of two that read and write the same, one comes after the other. Raises StoreBusy where no connection becomes
        free in time, and what `translate` makes of the rest.
        """
        deadline = time.monotonic() + PATIENCE
        pause = 0.005
        while True:
            try:
                async with self.connection() as connection, asyncio.timeout(self._settings.timeout):
                    if not (transaction or repeatable or self._pooled):
                        return await work(connection)
                    async with connection.transaction(isolation="repeatable_read" if repeatable else "read_committed"):
                        return await work(connection)
            except (*LOST, *TRANSIENT) as error:
                if time.monotonic() + pause > deadline or isinstance(error, TimeoutError):
                    raise translate(error, self._settings.shown) from error
            except ERRORS as error:
                raise translate(error, self._settings.shown) from error
            # Those who were in each other's way do not come back at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # nosec B311
            pause = min(pause * 2, 0.5)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection, given back at the end."""
        if self._pool is None or self._closed:
            raise StoreClosed
        try:
            connection = await self._pool.acquire(timeout=self._settings.timeout)
        except TimeoutError:
            if self._pool.get_size() < self._size:
                raise StoreUnavailable(
                    f"{self._settings.shown} could not be connected to within {self._settings.timeout:g} s; "
                    "nothing was done. Try again."
                ) from None
            raise StoreBusy(
                f"All {self._size} connections to {self._settings.shown} were in use for "
                f"{self._settings.timeout:g} s; nothing was done. Try again, or raise ?pool_size=."
            ) from None
        except asyncpg.InterfaceError:
            if self._closed:
                raise StoreClosed from None
            raise
        try:
            yield connection
        except TimeoutError:
            # Whether it is the server or the network that is silent, this connection is not waited for.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)


async def check_server(connection: asyncpg.Connection[asyncpg.Record], shown: str) -> None:
    """Raise CannotOpen for a server that cannot be a store: too old, or one that keeps text in another encoding."""
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise CannotOpen(f"{shown} is PostgreSQL {version.major}: Foldline needs {OLDEST} or newer.")
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        raise CannotOpen(f"{shown} keeps text as {encoding}: make the database with ENCODING 'UTF8'.")
    async with connection.transaction():
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise CannotOpen(f"{shown} is a standby: name the primary, or all hosts in one URL.")
