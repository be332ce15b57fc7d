"""``foldline show``: one stream at any moment, folded by its aggregate where an application is given."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from foldline.app import open_store
from foldline.cli.console import Stop, colourful, note, plain, styled
from foldline.cli.loading import load_app
from foldline.cli.options import AppOption, Flag, StoreOption, moment, store_url
from foldline.cli.similar import no_such_stream
from foldline.cli.table import EventTable, shown_time
from foldline.command.loader import Loaded
from foldline.store.spi import EventStore, RecordedEvent, to_micros
from foldline.transfer import line_of

MOST_EVENTS_AT_ONCE = 1_000


def show(
    stream: str,
    /,
    *,
    store: StoreOption = None,
    app: AppOption = None,
    at_version: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    at: str | None = None,
    json: Flag = False,
) -> None:
    """Show a stream: its folded state where an application is given, else its events.

    Parameters
    ----------
    stream
        The stream, such as order-17.
    at_version
        As it was at this version.
    at
        As it was at this time (ISO 8601; without an offset, in UTC).
    json
        The state as one JSON object, or the events as JSON Lines.
    """
    if at is not None and at_version is not None:
        raise Stop("Give --at-version or --at, not both.", 2)
    asyncio.run(_show(store_url(store), stream, app, at_version, None if at is None else moment(at), json))


async def _show(url: str, stream: str, app: str | None, version: int | None, at: datetime | None, json: bool) -> None:
    if app:
        async with load_app(app).open(url, create=False, run_projections=False) as running:
            last = await _last(running.store, stream, version)
            loaded = await running.show(stream, at_version=version, at=at)
            if loaded is not None:
                if loaded.version == 0:
                    raise await _not_yet(running.store, stream)
                _print_state(stream, loaded, last, json)
                return
            note(f"The application has no aggregate for {stream!r}; these are its events.")
            await _print_events(running.store, stream, version, at, last, json)
    else:
        async with open_store(url, create=False) as store:
            await _print_events(store, stream, version, at, await _last(store, stream, version), json)


async def _last(store: EventStore, stream: str, version: int | None) -> RecordedEvent:
    """The stream's last event; raises Stop where there is no such stream, or no such version of it."""
    last = await store.read_stream(stream, limit=1, backwards=True)
    if not last:
        raise await no_such_stream(store, stream)
    if version is not None and version > last[0].version:
        raise Stop(f"Stream {stream!r} is at version {last[0].version}: there is no version {version} yet.")
    return last[0]


async def _not_yet(store: EventStore, stream: str) -> Stop:
    first = (await store.read_stream(stream, limit=1))[0]
    return Stop(f"Stream {stream!r} had no events at that time: its first is of {shown_time(first.recorded_at)} UTC.")


async def _print_events(
    store: EventStore, stream: str, version: int | None, at: datetime | None, last: RecordedEvent, json: bool
) -> None:
    table = EventTable(("position", "stream"))
    until = None if at is None else to_micros(at)
    after = count = 0
    while found := await store.read_stream(stream, after=after, upto=version, limit=MOST_EVENTS_AT_ONCE):
        after = found[-1].version
        chosen = [event for event in found if until is None or event.recorded_micros <= until]
        if not chosen:
            continue
        if json:
            sys.stdout.buffer.write(b"".join([line_of(event) + b"\n" for event in chosen]))
        else:
            if not count:
                _print_heading(stream, version, at, last)
            table.print(chosen)
        count += len(chosen)
    if not count:
        raise await _not_yet(store, stream)


def _print_heading(stream: str, version: int | None, at: datetime | None, last: RecordedEvent) -> None:
    number = last.version if version is None else version
    told = f"{number:,} event{'' if number == 1 else 's'}" if at is None else f"as of {shown_time(at)} UTC"
    if version is not None and version < last.version:
        told += f" of {last.version:,}"
    print(f"{styled(plain(stream), '1;36', sys.stdout)}  {told}\n")


def _print_state(stream: str, loaded: Loaded, last: RecordedEvent, json: bool) -> None:
    state = msgspec.json.encode(loaded.state)
    if json:
        whole = {
            "stream_id": stream,
            "version": loaded.version,
            "position": loaded.position,
            "aggregate": type(loaded.state).__name__,
            "state": msgspec.Raw(state),
        }
        sys.stdout.buffer.write(msgspec.json.encode(whole) + b"\n")
        return
    told = f"{type(loaded.state).__name__} at version {loaded.version:,}"
    if loaded.version < last.version:
        told += f" of {last.version:,}"
    print(f"{styled(plain(stream), '1;36', sys.stdout)}  {told}, position {loaded.position:,}\n")
    pretty = plain(msgspec.json.format(state, indent=2).decode(), newlines=True)
    if not colourful(sys.stdout):
        print(pretty)
        return
    from rich.console import Console
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    text = Text(pretty)
    JSONHighlighter().highlight(text)
    Console(highlight=False).print(text, soft_wrap=True)
