"""Opens the shop on a store, fills an empty one with orders, and serves it with its pages."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from litestar import Response, get
from litestar.datastructures import CacheControlHeader
from litestar.static_files import create_static_files_router
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from foldline import Running
from foldline.app.stores import shown
from foldline.demo.app import shop
from foldline.demo.seed import ShopClock, seed
from foldline.http import asgi, serve

PAGES = Path(__file__).parent / "pages"

HEADERS = {
    "Cache-Control": "no-cache",
    # Everything comes from this server, and nothing is written into the page itself.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Progressed = Callable[[int, int], None]


async def serve_demo(store: str | None, host: str, port: int, orders: int) -> None:
    """Serve the shop until it is interrupted; an empty store is filled with a year of that many orders first.

    Without a store URL the shop lives in a temporary file, which is removed at the end.
    """
    console = Console(highlight=False, soft_wrap=True)
    with temporary_store() if store is None else given(store) as url:

        def ready(address: str) -> None:
            console.print(f"\n  Valleyfold is open at [bold]{address}[/bold]\n")
            kept = "kept there" if store is not None else "removed at the end (keep them with --store sqlite:shop.db)"
            console.print(f"  Its events are in {shown(url)}, {kept}. Ctrl-C closes it.\n", style="dim", markup=False)

        with shown_progress() as progress:
            async with open_shop(url, orders=orders, progress=progress) as running:
                await serve(asgi(running, pages=pages()), host, port, ready=ready)


@asynccontextmanager
async def open_shop(
    url: str, *, orders: int | None = None, until: datetime | None = None, progress: Progressed | None = None
) -> AsyncIterator[Running]:
    """The shop at work on a store.

    Where a number of orders is given, an empty store is filled with a year of them, up to ``until`` (now); with 0
    the shelves are full and customers registered, and that is all.
    """
    until = until or datetime.now(UTC)
    clock = ShopClock()
    # A store's time never goes back, so one that may be given a past has to be opened in it.
    clock.set(until - timedelta(days=400))
    async with shop.open(url, clock=clock) as running:
        if orders is not None and await running.position() == 0:
            await seed(running, clock, orders=orders, until=until, progress=progress)
        clock.set(None)
        yield running


def pages() -> Sequence[Any]:
    """The storefront: one page, and the files it is made of."""
    index = (PAGES / "index.html").read_bytes()

    @get("/", include_in_schema=False)
    async def storefront() -> Response[bytes]:
        return Response(index, media_type="text/html; charset=utf-8", headers=HEADERS)

    assets = create_static_files_router(
        "/assets", directories=[PAGES / "assets"], cache_control=CacheControlHeader(no_cache=True)
    )
    return [storefront, assets]


@contextmanager
def temporary_store() -> Iterator[str]:
    """The URL of a store that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="foldline-demo-") as folder:
        yield f"sqlite:{folder}/shop.db"


@contextmanager
def given(store: str) -> Iterator[str]:
    """The URL of a store that stays."""
    yield store


@contextmanager
def shown_progress() -> Iterator[Progressed]:
    """Tells how far the seed is: by a bar on a terminal, else by a line at its end."""
    started = time.monotonic()
    error = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("A year of orders"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} commands"),
        TimeRemainingColumn(compact=True),
        console=error,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("", total=None)

    def progressed(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done == 1:
            bar.start()
        if done == total:
            bar.stop()
            spent = time.monotonic() - started
            error.print(f"A year of orders: {total:,} commands in {spent:.1f} s", style="dim")

    try:
        yield progressed
    finally:
        bar.stop()  # gives the cursor back, also where the seed was interrupted
