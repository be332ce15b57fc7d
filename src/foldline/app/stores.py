"""Store URLs: the one place that knows which scheme is which database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

from foldline.errors import CannotOpen
from foldline.observe import Observer
from foldline.store.spi import Clock, Store


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_store(url: str, *, clock: Clock = utc_now, observer: Observer | None = None) -> AsyncIterator[Store]:
    """The store at a URL, closed again at the end.

    ``sqlite:shop.db`` (a path as the operating system has it; ``sqlite:shop.db?synchronous=normal`` trades the last
    moments before a power cut for speed) or ``memory:``, which is gone with the process. Raises CannotOpen, or one of
    its kinds, with the reason.
    """
    store = await _open(url, clock, observer)
    try:
        yield store
    finally:
        await store.close()


async def _open(url: str, clock: Clock, observer: Observer | None) -> Store:
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon:
        if rest:
            raise CannotOpen(f"{url!r} names a place, but memory: has none.")
        from foldline.store.memory import MemoryStore

        return MemoryStore(clock=clock, observer=observer)
    if scheme == "sqlite" and rest:
        from foldline.store.sqlite import SqliteStore

        path, query = _path_and_query(rest)
        options = dict(parse_qsl(query, keep_blank_values=True))
        synchronous = options.pop("synchronous", "full").upper()
        if options or synchronous not in ("FULL", "NORMAL"):
            raise CannotOpen(f"{url!r} has options that a SQLite store does not: use ?synchronous=full or =normal.")
        return await SqliteStore.open(path, clock=clock, observer=observer, synchronous=synchronous)
    raise CannotOpen(f"{url!r} is no store URL: use sqlite:FILE or memory:.")


def must_exist(url: str) -> None:
    """Raise CannotOpen where opening a URL would make a new store: for those who only want to read one."""
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        raise CannotOpen(f"{url!r} is empty, for a store in memory is gone with its process: name one that was kept.")
    if scheme == "sqlite" and rest and not Path(path := _path_and_query(rest)[0]).exists():
        raise CannotOpen(f"There is no store at {path!r}.")


def _path_and_query(rest: str) -> tuple[str, str]:
    path, _, query = rest.partition("?")
    return path.removeprefix("//"), query
