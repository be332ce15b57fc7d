"""What the HTTP tests share: an open shop, a client that needs no network, and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from foldline.app import Running
from foldline.http import asgi, serve
from tests.integration.http.shop import shop


@pytest.fixture
def anyio_backend() -> str:
    """Foldline runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """The shop, open on a store of its own."""
    async with shop.open(f"sqlite:{tmp_path / 'shop.db'}") as open_shop:
        yield open_shop


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shop's API, in this process."""
    async with in_process(asgi(running, wait=0.3)) as one:
        yield one


@asynccontextmanager
async def in_process(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls an ASGI application directly."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
        yield one


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The address of a real server on a free port, which is stopped at the end, gracefully and soon."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, port=0, grace=5, ready=address.set_result))
    waited: list[asyncio.Future[Any]] = [task, address]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield address.result()
    finally:
        task.cancel()
        async with asyncio.timeout(4):
            await asyncio.wait([task])
