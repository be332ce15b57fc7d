"""``foldline projections``: how far read models have come, and building one anew."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, cast

from foldline.app import App, open_store
from foldline.cli.console import complain, console, note, progress
from foldline.cli.loading import load_app
from foldline.cli.options import AppOption, Flag, StoreOption, app_name, store_url
from foldline.errors import UnknownName
from foldline.projection.rebuild import Progress
from foldline.projection.rebuild import rebuild as rebuild_projections
from foldline.projection.runtime import ProjectionStatus, read_status


def list_(*, store: StoreOption = None, app: AppOption = None, json: Flag = False) -> None:
    """Show how far each projection has come: those of the application, else those that the store remembers.

    Parameters
    ----------
    json
        One JSON object a line.
    """
    url = store_url(store)
    found = asyncio.run(_statuses(url, load_app(app) if app else None))
    if json:
        import msgspec

        for one in found:
            sys.stdout.buffer.write(msgspec.json.encode(one._asdict()) + b"\n")
        return
    if not found:
        note("The application has no projections." if app else "No projection has been run on this store yet.")
        return
    _print(found)


def rebuild(name: str, /, *, store: StoreOption = None, app: AppOption = None) -> int:
    """Build a projection anew from the first event of the log.

    Readers see it grow meanwhile; whoever serves the application may go on doing so. Interrupted, it is left
    consistent at the position it had come to.

    Parameters
    ----------
    name
        The projection, such as order_summary.
    """
    url = store_url(store)
    application = load_app(app_name(app))
    if name not in application.projections:
        raise UnknownName("projection", name, list(application.projections))
    last: list[Progress] = []
    started = time.monotonic()
    try:
        asyncio.run(_rebuild(url, application, name, last))
    except KeyboardInterrupt:
        where = f"at position {last[-1].position:,} of {last[-1].head:,}" if last else "before its first position"
        complain(
            f"Interrupted {where}. {name} is consistent as far as it got, and goes on from there when the "
            "application is served; to start from the first event again, run the same command."
        )
        return 130
    seconds = time.monotonic() - started
    head = last[-1].head if last else 0
    rate = f", {head / seconds:,.0f} positions a second" if head and seconds > 0 else ""
    print(f"Rebuilt {name} up to position {head:,} in {seconds:.1f} s{rate}.")
    return 0


async def _rebuild(url: str, app: App, name: str, last: list[Progress]) -> None:
    async with open_store(url, create=False) as store:
        with progress(f"Rebuilding {name}", "positions") as bar:

            def watch(found: Progress) -> None:
                last[:] = [found]
                bar.move(found.position, found.head, found.position, found.rate)

            await rebuild_projections(store, store, app.codec, [app.projections[name]], progress=watch)


async def _statuses(url: str, app: App | None) -> list[ProjectionStatus]:
    async with open_store(url, create=False) as store:
        if app is not None:
            return await read_status(store, store, app.projections.values())
        head = await store.head()
        kept = await store.checkpoints()
        return [
            ProjectionStatus(name, "", one.position, head, max(0, head - one.position), "stopped", None, 0.0)
            for name, one in sorted(kept.items())
        ]


def _print(found: list[ProjectionStatus]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    kinds = any(one.kind for one in found)
    table.add_column("projection", style="bold")
    if kinds:
        table.add_column("kind")
    for heading in ("position", "head", "behind"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in found:
        told = Text(one.error or ("up to date" if one.lag == 0 else ""), style="yellow" if one.error else "green")
        row = [one.name, *([one.kind] if kinds else []), f"{one.position:,}", f"{one.head:,}", f"{one.lag:,}"]
        table.add_row(*cast("list[Any]", row), told)
    console().print(table)
