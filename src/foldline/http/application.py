"""`asgi`: an application's HTTP API, as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.types import ControllerRouterHandler

from foldline.app import App, Running
from foldline.errors import DefinitionError
from foldline.http.api import Actor, Api
from foldline.http.commands import command_route
from foldline.http.live import live_routes
from foldline.http.openapi import describe_api
from foldline.http.problems import respond
from foldline.http.reads import read_routes

MIB = 1024 * 1024


def asgi(
    app: App | Running,
    url: str | None = None,
    *,
    max_body: int = MIB,
    wait: float = 5.0,
    heartbeat: float = 15.0,
    pages: Sequence[ControllerRouterHandler] = (),
    actor: Actor | None = None,
    origins: Collection[str] = (),
) -> Litestar:
    """The HTTP API of an application: commands, queries, views, streams and the log, also live, and its
    OpenAPI.

    Given an `App` and a store URL, it opens the application when the server starts and closes it when it
    stops. Given a `Running`, it leaves that to whoever opened it; so must it be when this is mounted into
    another ASGI application, for servers tell only the outermost one that they start and stop.

    ``max_body`` is the most bytes a command may have, ``wait`` how many seconds a read with
    ``Foldline-After`` waits at most, ``heartbeat`` after how many silent seconds a live stream shows that it
    is alive. ``pages`` are Litestar handlers, routers or static files that are served too; one at ``/``
    replaces the index. ``actor`` tells who sends a request. ``origins`` are those, besides the server's own,
    whose pages may send commands.

    Raises DefinitionError where an App comes without a URL, or a Running with one.
    """
    running = app if isinstance(app, Running) else None
    if (running is None) == (url is None):
        raise DefinitionError(
            "foldline.http.asgi needs an open Running, or an App with the URL of its store: "
            'asgi(running), or asgi(app, "sqlite:shop.db").'
        )
    api = Api(
        app.app if isinstance(app, Running) else app,
        max_body=max_body,
        wait=wait,
        heartbeat=heartbeat,
        actor=actor,
        origins=origins,
    )
    api.running = running
    server = Litestar(
        [*pages, command_route(api), *read_routes(api), *live_routes(api), _openapi_route(api)],
        exception_handlers={Exception: respond},
        lifespan=[] if url is None else [partial(_opened, api, url)],
        # Its own description of the API is made from the messages; litestar's would know only these few
        # routes.
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    if not any(route.path == "/" for route in server.routes):
        server.register(_index_route(api))
    return server


@asynccontextmanager
async def _opened(api: Api, url: str, _: Litestar) -> AsyncIterator[None]:
    async with api.app.open(url) as running:
        api.running = running
        try:
            yield
        finally:
            api.running = None


def _openapi_route(api: Api) -> Any:
    describe = cache(partial(describe_api, api.app, api.wait, api.max_body))

    @get("/openapi.json", include_in_schema=False)
    async def tell_openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The description of this API, as OpenAPI 3.1."""
        document: Mapping[str, Any] = {
            **describe(),
            "servers": [{"url": request.scope.get("root_path") or "/"}],
        }
        return Response(msgspec.json.encode(document), media_type="application/json")

    return tell_openapi


def _index_route(api: Api) -> Any:
    def links(at: str) -> dict[str, Any]:
        return {
            "name": api.app.name,
            "openapi": f"{at}/openapi.json",
            "commands": {name: f"{at}/commands/{name}" for name in api.app.commands},
            "queries": {name: f"{at}/queries/{name}" for name in api.app.queries},
            "views": {name: f"{at}/views/{name}" for name in api.app.views},
            "events": f"{at}/events",
            "live": f"{at}/events/live",
            "streams": f"{at}/streams/{{stream}}",
            "projections": f"{at}/projections",
            "health": f"{at}/health",
        }

    @get("/", include_in_schema=False)
    async def tell_index(request: Request[Any, Any, Any]) -> Response[bytes]:
        """What is to be found here."""
        body = links(request.scope.get("root_path", ""))
        return Response(msgspec.json.encode(body), media_type="application/json")

    return tell_index
