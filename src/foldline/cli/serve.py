"""``foldline serve`` and ``foldline demo``: an application over HTTP, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from foldline.app.stores import shown
from foldline.cli.console import Stop, styled
from foldline.cli.loading import load_app
from foldline.cli.options import Flag, StoreOption, app_name, store_url

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


def serve(
    app: Annotated[str | None, Parameter(env_var="FOLDLINE_APP", show_default=False)] = None,
    /,
    *,
    store: StoreOption = None,
    host: str = "127.0.0.1",
    port: Port = 8000,
    verbose: Flag = False,
) -> None:
    """Serve an application over HTTP until Ctrl-C.

    Parameters
    ----------
    app
        The application, as MODULE:APP, such as shop.app:app.
    host
        Address to listen on.
    port
        Port to listen on; 0 takes any that is free.
    verbose
        Log every request.
    """
    name, url = app_name(app), store_url(store)
    application = load_app(name)
    with _server_extra("serve"):
        from foldline.http import asgi, configure_logging
        from foldline.http import serve as serve_http
        from foldline.http.server import new_event_loop

    def ready(address: str) -> None:
        print(f"{styled(application.name, '1', sys.stdout)} on {shown(url)} is served at {address}", flush=True)

    async def live() -> None:
        async with application.open(url) as running:
            await serve_http(asgi(running), host, port, ready=ready)

    configure_logging(level="DEBUG" if verbose else "WARNING")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(live())


def demo(
    *,
    port: Port = 8000,
    host: str = "127.0.0.1",
    store: str | None = None,
    orders: Annotated[int, Parameter(validator=Number(gte=0))] = 3_000,
    no_seed: Flag = False,
    verbose: Flag = False,
) -> None:
    """Open the demo shop, with a year of orders in it.

    Parameters
    ----------
    port
        Port to listen on; 0 takes any that is free.
    host
        Address to listen on.
    store
        URL of the store that the shop keeps; without it, its events are gone when the demo ends.
    orders
        How many orders an empty shop starts with.
    no_seed
        Start with an empty shop.
    verbose
        Log every request.
    """
    with _server_extra("demo"):
        from foldline.demo.serve import serve_demo
        from foldline.http import configure_logging
        from foldline.http.server import new_event_loop

    configure_logging(level="DEBUG" if verbose else "WARNING")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve_demo(store, host, port, 0 if no_seed else orders))


@contextmanager
def _server_extra(command: str) -> Iterator[None]:
    """Say what to install where the parts that serve HTTP are not."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "foldline").partition(".")[0] == "foldline":
            raise
        raise Stop(
            f"foldline {command} needs {error.name}, which is not installed: run pip install 'foldline[server]'."
        ) from None
