"""Server-sent events over a real server: order, resuming, waiting for the view, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from foldline.app import Running
from foldline.http import asgi, shutdown
from tests.integration.http.conftest import served
from tests.integration.http.events import listening
from tests.integration.http.test_commands import order, problem

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server, whose heart beats fast."""
    async with served(asgi(running, heartbeat=0.2)) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


async def give(client: httpx.AsyncClient, command: str, **fields: object) -> int:
    """Have a command carried out; its position."""
    response = await client.post(f"/commands/{command}", json=fields)
    assert response.status_code == 200, response.text
    return int(response.headers["foldline-position"])


async def test_events_from_now_on(live: httpx.AsyncClient) -> None:
    before = await give(live, "PlaceOrder", **order("a"))
    async with listening(live, "/events/live") as source:
        assert await source.opened() == before
        position = await give(live, "PayOrder", order_id="a")
        message = await source.next()
        assert (message.id, message.event) == (str(position), "OrderPaid")
        assert message.data["stream_id"] == "order-a"
        assert message.data["data"] == {"order_id": "a"}


async def test_events_from_a_position_and_again(live: httpx.AsyncClient) -> None:
    for id in "abc":
        await give(live, "PlaceOrder", **order(id))
    async with listening(live, "/events/live?after=0") as source:
        assert [(await source.next()).data["stream_id"] for _ in range(2)] == ["order-a", "order-b"]
        seen = source.last_id
    # A browser comes back to the same address, with the id that it saw last.
    async with listening(live, "/events/live?after=0", last_event_id=seen) as source:
        assert (await source.next()).data["stream_id"] == "order-c"


async def test_events_of_some_types(live: httpx.AsyncClient) -> None:
    async with listening(live, "/events/live?types=OrderPaid") as source:
        await give(live, "PlaceOrder", **order("a"))
        await give(live, "PayOrder", order_id="a")
        assert (await source.next()).event == "OrderPaid"


async def test_heartbeats_move_the_client_on(live: httpx.AsyncClient) -> None:
    async with listening(live, "/events/live?types=OrderForgotten") as source:
        await source.opened()
        position = await give(live, "PlaceOrder", **order("a"))
        async with asyncio.timeout(5):
            async for line in source.lines:
                if line == f"id: {position}":
                    break


async def test_a_position_of_another_log_is_now(live: httpx.AsyncClient) -> None:
    before = await give(live, "PlaceOrder", **order("a"))
    async with listening(live, "/events/live", last_event_id=str(before + 1000)) as source:
        assert await source.opened() == before
        await give(live, "PayOrder", order_id="a")
        assert (await source.next()).event == "OrderPaid"


async def test_rows_of_a_view(live: httpx.AsyncClient) -> None:
    async with listening(live, "/views/order_summary/live") as source:
        await source.opened()
        await give(live, "PlaceOrder", **order("a"))
        message = await source.next()
        assert message.event == "row"
        assert message.data["key"] == "a"
        assert message.data["row"]["status"] == "PLACED"
        # What a stream tells, the list knows.
        listed = (await live.get("/views/order_summary/a")).json()
        assert listed == message.data["row"]
        await give(live, "PayOrder", order_id="a")
        assert (await source.next()).data["row"]["status"] == "PAID"
        position = await give(live, "ForgetOrder", order_id="a")
        assert await source.next() == (str(position), "deleted", {"key": "a", "row": None})


async def test_rows_of_one_key(live: httpx.AsyncClient) -> None:
    async with listening(live, "/views/order_summary/live?key=b%2F1") as source:
        await source.opened()
        await give(live, "PlaceOrder", **order("a"))
        await give(live, "PlaceOrder", **order("b/1"))
        assert (await source.next()).data["key"] == "b/1"


async def test_rows_that_one_event_changes_resume_together(live: httpx.AsyncClient) -> None:
    lines = [{"sku": sku, "quantity": 1} for sku in ("x", "y", "z")]
    start = await give(live, "PlaceOrder", order_id="a", customer_id="c", lines=lines)
    position = await give(live, "PlaceOrder", order_id="b", customer_id="c", lines=lines)
    async with listening(live, f"/views/sold/live?after={start}") as source:
        found = [await source.next() for _ in range(3)]
    assert sorted(message.data["key"] for message in found) == ["x", "y", "z"]
    # Only the last of them moves the client past the event: one that is cut off before sees all of them
    # again.
    assert [message.id for message in found] == [str(start), str(start), str(position)]


async def test_what_cannot_be_followed(live: httpx.AsyncClient) -> None:
    problem(await live.get("/views/nope/live"), 404, "unknown-name")
    problem(await live.get("/events/live", headers={"Last-Event-ID": "x"}), 400, "bad-header")
    for path in ("/events/live?after=x", "/events/live?nope=1", "/views/sold/live?after=-1", "/views/sold/live?a=1"):
        problem(await live.get(path), 422, "validation-failed")


async def test_a_slow_reader_loses_nothing(live: httpx.AsyncClient) -> None:
    async with listening(live, "/events/live?after=0") as source:
        await source.opened()
        for n in range(40):
            lines = [{"sku": "s" * 5000, "quantity": 1}] * 20
            await give(live, "PlaceOrder", order_id=f"o-{n}", customer_id="c", lines=lines)
        found = [(await source.next()).data["stream_id"] for _ in range(40)]
    assert found == [f"order-o-{n}" for n in range(40)]


async def test_a_client_that_goes_away_leaves_nothing_behind(live: httpx.AsyncClient) -> None:
    async with listening(live, "/events/live") as one, listening(live, "/views/sold/live") as other:
        await one.opened()
        await other.opened()
        streams = [task for task in asyncio.all_tasks() if task.get_name() == "foldline stream"]
        assert len(streams) == len(shutdown._open) == 2
    async with asyncio.timeout(5):
        await asyncio.wait(streams)
        await live.get("/health")
    assert not shutdown._open
    assert not any(task.get_name() == "foldline stream" for task in asyncio.all_tasks())


async def test_a_server_that_stops_ends_its_streams(running: Running) -> None:
    async with httpx.AsyncClient() as client:
        async with served(asgi(running)) as address:
            stream = client.stream("GET", f"{address}/events/live", timeout=30)
            response = await stream.__aenter__()
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith("retry:")
        # Leaving the block has stopped the server, within the seconds it gives it.
        async with asyncio.timeout(2):
            assert all(line == "" or line.startswith("id:") for line in [line async for line in lines])
        await stream.__aexit__(None, None, None)


async def test_a_fault_ends_a_stream_with_a_problem(
    live: httpx.AsyncClient, running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(live, "/events/live") as source:
        await source.opened()

        async def broken(**_: object) -> None:
            raise RuntimeError("a secret of the server's")

        monkeypatch.setattr(running.store, "read_all", broken)
        message = await source.next()
        assert message.event == "problem"
        assert message.data["type"] == "urn:foldline:problem:internal-error"
        assert "secret" not in json.dumps(message.data)
        with pytest.raises(StopAsyncIteration):
            await source.next()
    assert "a secret of the server's" in caplog.text
