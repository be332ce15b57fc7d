"""Import: reads a file and appends what is not recorded yet, in the file's order, however often it is run.

Every row always gets the same event id. So what was recorded before, by an import that was interrupted or by
one that ended, is by G1 a success that adds nothing. Only where some rows of an append are new, as where a
file has grown, does the import look up what its streams hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from foldline.store.spi import EventStore
from foldline.transfer.columns import Columns
from foldline.transfer.rejects import Rejects
from foldline.transfer.rows import Format, Rows
from foldline.transfer.settling import Settler


class Importing(NamedTuple):
    """How far an import has come; ``total`` is 0 where the file's size is not known."""

    rows: int
    added: int
    known: int
    rejected: int
    done: int
    total: int


class Imported(NamedTuple):
    """What an import came to: each of the ``rows`` was added, known (recorded before) or rejected.

    ``streams`` is how many streams the file's rows belong to, None where there are more than can be counted;
    ``rejects`` is the side file that lists the rejected rows, None where there are none.
    """

    rows: int
    added: int
    known: int
    rejected: int
    streams: int | None
    rejects: Path | None
    seconds: float


async def import_events(
    store: EventStore,
    path: Path,
    columns: Columns | None = None,
    *,
    format: Format | None = None,
    rejects: Path | None = None,
    progress: Callable[[Importing], None] | None = None,
) -> Imported:
    """Bring a file's rows into a store as events of their own time; without ``columns``, what export wrote.

    Importing a file again adds nothing, and an interrupted import goes on where it stopped. Rows that make no
    event are listed in ``rejects`` (``FILE.rejected.jsonl``) and do not stop it. ``progress`` is told on the
    event loop after each chunk.

    Raises OSError where a file cannot be read or written, CodecError or UnknownName where it is not what it
    is said to be, DefinitionError for impossible columns, StoreError where the store fails; what was added
    until then stays.
    """
    started = time.monotonic()
    rejected = Rejects(rejects or path.with_name(path.name + ".rejected.jsonl"))
    rows = Rows(path, columns.checked() if columns is not None else None, format)
    rejected.header = rows.header
    settler = Settler(
        store, rejected, trusting=columns is not None and columns.id is None, empty=await store.head() == 0
    )
    count = 0
    try:
        chunk, done = await asyncio.to_thread(rows.chunk)
        while chunk:
            # One chunk is read ahead, in a thread, while the store commits the one before.
            ahead = asyncio.ensure_future(asyncio.to_thread(rows.chunk))
            try:
                await settler.settle(chunk)
            finally:
                upcoming = await ahead
            count += len(chunk)
            if progress is not None:
                progress(Importing(count, settler.added, settler.known, rejected.count, done, rows.size))
            chunk, done = upcoming
    finally:
        rows.close()
        rejected.close()
    return Imported(
        count,
        settler.added,
        settler.known,
        rejected.count,
        settler.streams(),
        rejected.path if rejected.count else None,
        time.monotonic() - started,
    )
