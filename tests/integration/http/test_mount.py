"""Mounted into another ASGI application, and with pages of the user's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Response, get
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import asgi as mount
from litestar.static_files import create_static_files_router

from foldline.app import Running
from foldline.http import asgi
from tests.integration.http.conftest import in_process, served
from tests.integration.http.events import listening
from tests.integration.http.test_commands import order, problem

pytestmark = pytest.mark.anyio


def under_root_path(app: Any) -> Any:
    """A mount as the ASGI specification has it: the whole path, and the mount's part of it as root_path."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/v1/"):
            await app({**scope, "root_path": "/api/v1"}, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"outer"})

    return outer


def under_litestar(app: Any) -> Any:
    """A mount that takes its own part off the path."""
    return Litestar([mount("/api/v1", is_mount=True, copy_scope=True)(app)], openapi_config=None)


@pytest.mark.parametrize("outer", [under_root_path, under_litestar])
async def test_mounted(running: Running, outer: Any) -> None:
    app = outer(asgi(running, heartbeat=0.2))
    async with served(app) as address, httpx.AsyncClient(base_url=address) as client:
        async with listening(client, "/api/v1/views/order_summary/live") as source:
            await source.opened()
            placed = await client.post("/api/v1/commands/PlaceOrder", json=order("a/b%"))
            assert placed.status_code == 200, placed.text
            after = {"Foldline-After": placed.headers["foldline-position"]}
            row = await client.get("/api/v1/views/order_summary/a%2Fb%25", headers=after)
            assert row.json()["order_id"] == "a/b%"
            assert (await source.next()).data["row"] == row.json()
        stream = await client.get("/api/v1/streams/order-a%2Fb%25")
        assert stream.json()["stream"] == "order-a/b%"
        assert (await client.get("/api/v1/openapi.json")).status_code == 200
        problem(await client.get("/api/v1/nowhere"), 404, "not-found")
        assert (await client.get("/commands/PlaceOrder")).status_code == 404


async def test_links_and_servers_know_where_they_are_mounted(running: Running) -> None:
    async with in_process(under_root_path(asgi(running))) as client:
        index = (await client.get("/api/v1/")).json()
        assert index["views"]["sold"] == "/api/v1/views/sold"
        assert (await client.get(index["openapi"])).json()["servers"] == [{"url": "/api/v1"}]


async def test_pages(running: Running, tmp_path: Path) -> None:
    (tmp_path / "shop.js").write_text("export {}")

    @get("/", media_type="text/html")
    async def page(request: Request[Any, Any, Any]) -> Response[str]:
        return Response("<h1>Shop</h1>", media_type="text/html")

    @get("/private")
    async def private() -> None:
        raise PermissionDeniedException("Not for you.")

    pages: list[Any] = [page, private, create_static_files_router(path="/static", directories=[tmp_path])]
    async with in_process(asgi(running, pages=pages)) as client:
        assert (await client.get("/")).text == "<h1>Shop</h1>"
        assert (await client.get("/static/shop.js")).text == "export {}"
        assert (await client.get("/health")).status_code == 200
        assert problem(await client.get("/private"), 403, "http")["detail"] == "Not for you."
        problem(await client.get("/static/nope.js"), 404, "not-found")


async def test_many_at_once(running: Running) -> None:
    async with in_process(asgi(running)) as client:
        await client.post("/commands/PlaceOrder", json=order("a"))

        async def forget() -> int:
            response = await client.post("/commands/ForgetOrder", json={"order_id": "a"})
            return int(response.json()["version"])

        versions = await asyncio.gather(*(forget() for _ in range(64)))
    assert sorted(versions) == list(range(2, 66))
