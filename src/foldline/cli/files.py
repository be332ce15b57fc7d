"""``foldline import`` and ``foldline export``."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from foldline.app import open_store
from foldline.app.stores import shown
from foldline.cli.console import Stop, complain, progress
from foldline.cli.options import Flag, StoreOption, store_url
from foldline.transfer import Columns, Exported, Imported, Importing, export_events, import_events

SOME_REJECTED = 3


def import_(
    file: Path,
    /,
    *,
    store: StoreOption = None,
    stream: str | None = None,
    type: str | None = None,
    time: str | None = None,
    category: str | None = None,
    id: str | None = None,
    format: Literal["csv", "jsonl"] | None = None,
    timezone: str | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    rejects: Path | None = None,
) -> int:
    """Bring events in from CSV, JSON Lines or an export.

    Parameters
    ----------
    file
        The file to read.
    stream
        Column that tells which stream a row belongs to: its value is put behind the category and a hyphen.
    type
        Column of the event's type.
    time
        Column of the time at which it happened, in ISO 8601.
    category
        Category of the streams, such as permit.
    id
        Column that tells rows apart; without it, rows are told apart by what they hold.
    format
        What the file is; otherwise told from its name or its beginning.
    timezone
        Where times without a UTC offset are from, such as Europe/Amsterdam.
    delimiter
        What separates the columns of CSV; a comma, or in .tsv files a tab.
    encoding
        The encoding of CSV.
    rejects
        Where rejected rows are listed; FILE.rejected.jsonl by default.
    """
    columns = _columns(stream, type, time, category, id, timezone, delimiter, encoding)
    last: list[Importing] = []
    url = store_url(store)
    try:
        # Rows become objects by the hundred thousand and are gone a moment later: nothing for the collector
        # to find.
        gc.set_threshold(100_000, 20, 20)
        # Looked at before a store is made for it.
        with file.open("rb"):
            pass
        done = asyncio.run(_import(url, file, columns, format, rejects, last))
    except KeyboardInterrupt:
        added = last[-1].added if last else 0
        complain(f"Interrupted after {added:,} events. What was added is kept; to go on, run the same command again.")
        return 130
    _tell(done, shown(url))
    return SOME_REJECTED if done.rejected else 0


def export(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    store: StoreOption = None,
    after: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    force: Flag = False,
) -> int:
    """Write all events to a file that import reads back, as JSON Lines.

    Parameters
    ----------
    file
        The file to write, or - for standard output.
    after
        Only events after this position, as a continuation of an earlier export.
    force
        Replace a file that is there already.
    """
    url = store_url(store)
    to_stdout = str(file) == "-"
    if not to_stdout and file.exists() and not force and file.is_file():
        raise Stop(f"{file} is there already: name another file, or give --force to replace it.")
    try:
        done = asyncio.run(_export(url, None if to_stdout else file, after))
    except KeyboardInterrupt:
        complain("Interrupted; the export is not complete" + ("." if to_stdout else ", and was not kept."))
        return 130
    print(
        f"Exported {done.events:,} events, up to position {done.position:,}, in {done.seconds:.1f} s.",
        file=sys.stderr if to_stdout else sys.stdout,
    )
    return 0


async def _import(
    url: str,
    file: Path,
    columns: Columns | None,
    format: Literal["csv", "jsonl"] | None,
    rejects: Path | None,
    last: list[Importing],
) -> Imported:
    started = time.monotonic()
    async with open_store(url) as store:
        with progress(f"Importing {file.name}", "rows") as bar:

            def watch(found: Importing) -> None:
                last[:] = [found]
                bar.move(found.done, found.total, found.rows, found.rows / (time.monotonic() - started))

            return await import_events(store, file, columns, format=format, rejects=rejects, progress=watch)


async def _export(url: str, file: Path | None, after: int) -> Exported:
    async with open_store(url, create=False) as store:
        with progress("Exporting", "events") as bar:

            def watch(found: Exported, head: int) -> None:
                bar.move(found.position - after, head - after, found.events, found.events / found.seconds)

            if file is None:
                done = await export_events(store, sys.stdout.buffer, after=after, progress=watch)
                sys.stdout.buffer.flush()
                return done
            with _whole(file) as out:
                return await export_events(store, out, after=after, progress=watch)


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """A file to write under another name, which becomes the file itself once it is whole."""
    if file.exists() and not file.is_file():
        # A device or a pipe: it takes what comes.
        with file.open("wb") as out:
            yield out
        return
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _columns(
    stream: str | None,
    type: str | None,
    time: str | None,
    category: str | None,
    id: str | None,
    timezone: str | None,
    delimiter: str | None,
    encoding: str,
) -> Columns | None:
    named = {"--stream": stream, "--type": type, "--time": time, "--category": category}
    if stream and type and time and category:
        if delimiter == r"\t":
            delimiter = "\t"
        return Columns(stream, type, time, category, id, _zone(timezone), delimiter, encoding)
    missing = [name for name, value in named.items() if not value]
    if len(missing) == len(named) and not id:
        return None
    raise Stop(
        f"{' and '.join(missing)} must be given: --stream, --type, --time and --category belong together.",
        2,
    )


def _zone(name: str | None) -> tzinfo | None:
    if not name:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Stop(f"There is no time zone {name!r}: use a name such as UTC or Europe/Amsterdam.", 2) from None


def _tell(done: Imported, store: str) -> None:
    took = f"{done.seconds:.1f} s" + (f", {done.rows / done.seconds:,.0f} rows a second" if done.rows else "")
    streams = f" in {done.streams:,} stream{'' if done.streams == 1 else 's'}" if done.streams else ""
    if done.added and done.known:
        print(f"Added {_events(done.added)} to {store} ({took}); {done.known:,} of the file's were there already.")
    elif done.added:
        print(f"Added {_events(done.added)}{streams} to {store} ({took}).")
    elif done.known:
        print(f"Nothing to add to {store}: {_events(done.known)}{streams} there already ({took}).")
    else:
        print(f"Nothing to add to {store}: the file holds no events.")
    if done.rejected:
        rows = "row was" if done.rejected == 1 else "rows were"
        complain(f"{done.rejected:,} {rows} rejected: {done.rejects} lists each with its line and the reason.")


def _events(number: int) -> str:
    return f"{number:,} event{'' if number == 1 else 's'}"
