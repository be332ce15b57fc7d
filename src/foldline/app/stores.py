"""Store URLs: the one place that knows which scheme is which database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from foldline.errors import CannotOpen
from foldline.observe import Observer
from foldline.store.spi import Clock, Store

if TYPE_CHECKING:
    from foldline.store.postgres import PostgresStore

SCHEMES = "sqlite:FILE, postgresql://USER@HOST/DATABASE or memory:"
"""What a store URL may look like, for messages."""

_POSTGRES = ("postgresql", "postgres")
_SCHEME = re.compile(r"[^:/]*:/+")
# What may follow the first colon where that is no password's: a port, the rest of an IPv6 address, or more hosts.
_PORT = re.compile(r"\d*(/[^/]*)?|[\da-f:]*\](:\d+)?(/[^/]*)?|\d+,.*", re.DOTALL)
_SECRET = re.compile(r"((?:^|[?&\s])(?:ssl)?password=)[^&#\s]*", re.IGNORECASE)
_RESERVED = re.compile(r"[/?#\[\]]")
_HIDDEN = r"\1***"


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_store(
    url: str, *, create: bool = True, clock: Clock = utc_now, observer: Observer | None = None
) -> AsyncIterator[Store]:
    """The store at a URL, closed again at the end.

    ``sqlite:shop.db`` (a path as the operating system has it; ``sqlite:shop.db?synchronous=normal`` trades the last
    moments before a power cut for speed), ``postgresql://user@host/database``, or ``memory:``, which is gone with the
    process. With ``create=False`` the store must be there already. Raises CannotOpen, or one of its kinds, with the
    reason.
    """
    store = await _open(url, create, clock, observer)
    try:
        yield store
    finally:
        await store.close()


async def migrate_store(url: str) -> list[str]:
    """Make the store at a URL, or bring its schema to the newest; the names of the migrations that this applied.

    Raises CannotOpen, or one of its kinds, with the reason.
    """
    scheme, rest = _parts(url)
    if scheme == "sqlite":
        from foldline.store.sqlite import SqliteStore

        path, _ = _sqlite(url, rest)
        return [f"{one.number:04d}_{one.name}" for one in await SqliteStore.migrate(path)]
    if scheme in _POSTGRES:
        return [f"{one.number:04d}_{one.name}" for one in await _postgres(url).migrate(url)]
    raise CannotOpen("A store in memory has no schema: there is nothing to migrate.")


def migration_script(url: str) -> str:
    """All migrations for a URL's kind of store, as SQL to be run by its own tool, ``sqlite3`` or ``psql``.

    Nothing is opened or connected to. Raises CannotOpen where there is no such kind.
    """
    scheme, rest = _parts(url)
    if scheme == "sqlite":
        from foldline.store.sqlite.migrate import script as sqlite_script

        _sqlite(url, rest)
        return sqlite_script()
    if scheme in _POSTGRES:
        _postgres(url)
        from foldline.store.postgres.migrate import script as postgres_script

        return postgres_script()
    raise CannotOpen("A store in memory has no schema: there is nothing to migrate.")


def shown(url: str) -> str:
    """A store URL as it may be shown: with ``***`` in place of passwords, also where it is not well-formed."""
    if url.startswith(("sqlite:", "memory:")):
        return url
    before, password, after = _around_password(url)
    return _SECRET.sub(_HIDDEN, f"{before}:***@{after}" if password is not None else url)


def _around_password(url: str) -> tuple[str, str | None, str]:
    """A URL's password, if it has one before its host, and what stands before its colon and behind its @."""
    start = _SCHEME.match(url)
    scheme = start[0] if start is not None else ""
    user, colon, more = url.removeprefix(scheme).partition(":")
    if colon and "/" not in user and "?" not in user:
        address, mark, query = more.partition("?")
        if "@" not in address and not (_PORT.fullmatch(address) and "=" in query.partition("@")[0]):
            # The question mark is part of a password: where that ends nobody knows but by the last @ there is.
            address, mark, query = more, "", ""
        if "@" in address:
            password, _, host = address.rpartition("@")
            return scheme + user, password, host + mark + query
    return url, None, ""


async def _open(url: str, create: bool, clock: Clock, observer: Observer | None) -> Store:
    scheme, rest = _parts(url)
    if scheme == "memory":
        if not create:
            raise CannotOpen(
                f"{url!r} is empty, for a store in memory is gone with its process: name one that was kept."
            )
        from foldline.store.memory import MemoryStore

        return MemoryStore(clock=clock, observer=observer)
    if scheme == "sqlite":
        path, synchronous = _sqlite(url, rest)
        if not create and not await asyncio.to_thread(Path(path).exists):
            raise CannotOpen(f"There is no store at {path!r}.")
        from foldline.store.sqlite import SqliteStore

        return await SqliteStore.open(path, clock=clock, observer=observer, synchronous=synchronous)
    return await _postgres(url).open(url, create=create, clock=clock, observer=observer)


def _parts(url: str) -> tuple[str, str]:
    """The scheme of a URL, one that is known, and what comes after it; raises CannotOpen."""
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon:
        if rest:
            raise CannotOpen(f"{url!r} names a place, but memory: has none.")
        return scheme, rest
    if scheme == "sqlite" and rest:
        return scheme, rest
    if scheme in _POSTGRES and rest.startswith("//"):
        _, password, _ = _around_password(url)
        if password is not None and (_RESERVED.search(password) or not password.isascii()):
            # Whoever takes such a URL apart takes a part of the password for something else, and says so.
            raise CannotOpen(f"{shown(url)}: in a password write %2F for /, %3F for ?, %23 for #, and so on.")
        return scheme, rest
    raise CannotOpen(f"{shown(url)!r} is no store URL: use {SCHEMES}.")


def _sqlite(url: str, rest: str) -> tuple[str, str]:
    """The path that a URL of SQLite names, and when it syncs; raises CannotOpen for other options."""
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full").upper()
    if options or synchronous not in ("FULL", "NORMAL"):
        raise CannotOpen(f"{url!r} has options that a SQLite store does not: use ?synchronous=full or =normal.")
    return path.removeprefix("//"), synchronous


def _postgres(url: str) -> type[PostgresStore]:
    """The store for PostgreSQL; raises CannotOpen where it is not installed."""
    try:
        from foldline.store.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "asyncpg":
            raise
        raise CannotOpen(
            f"{shown(url)} needs asyncpg, which is not installed: run pip install 'foldline[postgres]'."
        ) from None
    return PostgresStore
