"""The server: where it may serve, what it refuses, and how it stops."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from foldline.app import Running
from foldline.errors import CannotOpen, DefinitionError, FoldlineError, StoreClosed
from foldline.http import asgi, configure_logging, serve
from tests.integration.http.conftest import in_process, served
from tests.integration.http.shop import shop
from tests.integration.http.test_commands import order, problem

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server process; killed at the end where it has not ended by itself."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    found = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    try:
        yield found
    finally:
        if found.returncode is None:
            found.kill()
        await found.communicate()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    """The next line of output."""
    assert stream is not None
    async with asyncio.timeout(30):
        return (await stream.readline()).decode().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_and_loses_nothing(tmp_path: Path, number: int) -> None:
    url = f"sqlite:{tmp_path / 'shop.db'}"
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def send(base: str, name: str) -> None:
        async with httpx.AsyncClient(base_url=base) as one:
            for n in range(10_000):
                try:
                    response = await one.post("/commands/PlaceOrder", json=order(f"{name}-{n}"))
                except httpx.TransportError:
                    return
                if response.status_code == 200:
                    acknowledged.append(f"order-{name}-{n}")
                if len(acknowledged) > 50:
                    enough.set()

    async with process("-m", "tests.integration.http.program", url) as server:
        address = await line_of(server.stdout)
        async with (
            httpx.AsyncClient(base_url=address) as watcher,
            watcher.stream("GET", "/events/live", timeout=30) as stream,
        ):
            await anext(stream.aiter_lines())
            senders = [asyncio.create_task(send(address, str(n))) for n in range(8)]
            async with asyncio.timeout(20):
                await enough.wait()
            server.send_signal(number)
            async with asyncio.timeout(8):
                await asyncio.gather(*senders)
                assert await line_of(server.stdout) == "stopped cleanly"
                assert await server.wait() == 0
    async with shop.open(url) as running:
        known = {event.stream_id for event in (await running.store.read_all(limit=100_000)).events}
    assert set(acknowledged) <= known


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_streams_end_under_a_foreign_server_too(tmp_path: Path, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ("-m", "uvicorn", "tests.integration.http.program:app", "--port", str(port))
    async with process(*command, TMPDIR=str(tmp_path)) as server:
        while "running on" not in await line_of(server.stderr):
            pass
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
            client.stream("GET", "/events/live", timeout=30) as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            server.send_signal(number)
            async with asyncio.timeout(8):
                assert [line async for line in lines][-1] == ""
                await server.wait()


async def test_two_processes_on_one_store(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'shop.db'}"
    command = ("-m", "tests.integration.http.program", url)
    async with process(*command) as first, process(*command) as second:
        one = httpx.AsyncClient(base_url=await line_of(first.stdout))
        other = httpx.AsyncClient(base_url=await line_of(second.stdout))
        async with one, other, other.stream("GET", "/views/order_summary/live", timeout=30) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            placed = await one.post("/commands/PlaceOrder", json=order("a"))
            after = {"Foldline-After": placed.headers["foldline-position"]}
            row = await other.get("/views/order_summary/a", headers=after)
            assert row.json()["status"] == "PLACED"
            async with asyncio.timeout(10):
                data = [line async for line in until_data(lines)][-1]
            assert json.loads(data.removeprefix("data: "))["row"] == row.json()
            # The other process has this aggregate in no cache, and this one has an old version in its cache.
            assert (await other.post("/commands/PayOrder", json={"order_id": "a"})).status_code == 200
            again = await one.post("/commands/PayOrder", json={"order_id": "a"})
            assert problem(again, 409, "rejected")["code"] == "not-payable"
        for server in (first, second):
            server.send_signal(signal.SIGINT)
            async with asyncio.timeout(8):
                assert await server.wait() == 0


async def until_data(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines up to the first that holds data."""
    async for line in lines:
        yield line
        if line.startswith("data:"):
            return


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "8.8.8.8", ""])
async def test_only_this_machine_is_served(running: Running, host: str) -> None:
    with pytest.raises(FoldlineError, match="no authentication"):
        await serve(asgi(running), host, 0)


async def test_an_address_that_cannot_be_had(running: Running) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(FoldlineError, match="Choose another port"),
    ):
        await serve(asgi(running), "127.0.0.1", taken.getsockname()[1])
    with pytest.raises(FoldlineError, match="no address"):
        await serve(asgi(running), "no such host", 0)
    with pytest.raises(FoldlineError):
        await serve(asgi(running), "127.0.0.1", 70_000)


async def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen):
        await serve(asgi(shop, f"sqlite:{tmp_path}"), port=0)


async def test_the_lifespan_opens_and_closes_the_application(tmp_path: Path) -> None:
    app = asgi(shop, f"sqlite:{tmp_path / 'shop.db'}")
    async with in_process(app) as early:
        problem(await early.get("/health"), 503, "store-closed")
    for expected in (0, 1):
        async with served(app) as address, httpx.AsyncClient(base_url=address) as client:
            assert (await client.get("/health")).json()["position"] == expected
            await client.post("/commands/PlaceOrder", json=order(str(expected)))


async def test_other_hosts_are_refused(running: Running) -> None:
    async with served(asgi(running)) as address, httpx.AsyncClient(base_url=address) as client:
        port = address.rpartition(":")[2]
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.:80:80", ""):
            problem(await client.get("/health", headers={"Host": host}), 421, "wrong-host")
        for host in ("localhost", f"LOCALHOST:{port}", f"127.0.0.1:{port}", "[::1]:1", "127.0.0.1"):
            assert (await client.get("/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("arguments", [(), ("sqlite:x.db",)])
async def test_an_app_needs_a_url_and_a_running_has_one(running: Running, arguments: Any) -> None:
    with pytest.raises(DefinitionError):
        asgi(running if arguments else shop, *arguments)


async def test_a_closed_application_says_so(tmp_path: Path) -> None:
    async with shop.open(f"sqlite:{tmp_path / 'shop.db'}") as closed:
        app = asgi(closed)
    async with in_process(app) as client:
        response = await client.post("/commands/PlaceOrder", json=order())
        problem(response, 503, "store-closed")
        assert "retry-after" in response.headers
    with pytest.raises(StoreClosed):
        await closed.store.head()


@pytest.fixture
def loud() -> Iterator[io.StringIO]:
    """Logging to a string, and as it was before at the end."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.handlers[:], root.level, uvicorn.level
    yield io.StringIO()
    root.handlers[:], uvicorn.level = before[0], before[2]
    root.setLevel(before[1])
    uvicorn.setLevel(before[2])


async def test_requests_are_logged_at_debug(running: Running, loud: io.StringIO) -> None:
    configure_logging(json=True, level="debug", stream=loud)
    async with served(asgi(running)) as address, httpx.AsyncClient(base_url=address) as client:
        await client.get("/health")
        await client.get("/queries/Broken")
    logged = [json.loads(line) for line in loud.getvalue().splitlines()]
    assert any(one["event"].startswith("GET /health 200 ") for one in logged)
    [broken] = [one for one in logged if one["event"].startswith("internal-error")]
    assert broken["level"] == "error"
    assert broken["exception"][0]["exc_type"] == "RuntimeError"
    assert all(one["timestamp"] and one["logger"] for one in logged)


async def test_logs_for_people(loud: io.StringIO) -> None:
    configure_logging(stream=loud)
    logging.getLogger("some.library").warning("it is %s", "late")
    assert "it is late" in loud.getvalue()
    assert "some.library" in loud.getvalue()
    with pytest.raises(DefinitionError, match="LOUD"):
        configure_logging(level="LOUD")
