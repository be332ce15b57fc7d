"""Commands over HTTP: receipts, idempotency, expected versions, and every refusal."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from foldline.app import Running
from foldline.http import asgi
from tests.integration.http.conftest import in_process

pytestmark = pytest.mark.anyio

LINES = [{"sku": "tea", "quantity": 2, "price": "4.50"}]


def order(id: str = "o-1", customer: str = "c-1") -> dict[str, Any]:
    """A command's body."""
    return {"order_id": id, "customer_id": customer, "lines": LINES}


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem that a response tells, which must be this one."""
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert (response.status_code, found["type"]) == (status, f"urn:foldline:problem:{slug}"), found
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found


async def test_a_command_yields_its_receipt(client: httpx.AsyncClient) -> None:
    response = await client.post("/commands/PlaceOrder", json=order())
    assert response.status_code == 200
    receipt = response.json()
    assert (receipt["stream"], receipt["version"], receipt["replayed"]) == ("order-o-1", 1, False)
    assert len(receipt["event_ids"]) == 1
    assert response.headers["foldline-position"] == str(receipt["position"])
    assert response.headers["etag"] == '"1"'
    assert response.headers["correlation-id"] == receipt["command_id"]


async def test_the_events_carry_ids_and_trace(client: httpx.AsyncClient) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"Idempotency-Key": "k-1", "X-Correlation-ID": "chat-7", "traceparent": trace}
    response = await client.post("/commands/PlaceOrder", json=order(), headers=headers)
    assert response.headers["correlation-id"] == "chat-7"
    [event] = (await client.get("/streams/order-o-1")).json()["items"]
    assert (event["correlation_id"], event["causation_id"]) == ("chat-7", "k-1")
    assert event["metadata"] == {"traceparent": trace}
    # The trace was carried for that request alone.
    await client.post("/commands/PlaceOrder", json=order("o-2"))
    [event] = (await client.get("/streams/order-o-2")).json()["items"]
    assert event["metadata"] == {}


async def test_a_key_makes_a_command_idempotent(client: httpx.AsyncClient) -> None:
    first = await client.post("/commands/PlaceOrder", json=order(), headers={"Idempotency-Key": "k-1"})
    again = await client.post("/commands/PlaceOrder", json=order(), headers={"Idempotency-Key": '"k-1"'})
    assert again.json() == {**first.json(), "replayed": True}
    assert (await client.get("/events")).json()["position"] == first.json()["position"]
    other = await client.post("/commands/PlaceOrder", json=order("o-2"), headers={"Idempotency-Key": "k-1"})
    assert problem(other, 422, "command-id-reused")["command_id"] == "k-1"


async def test_an_expected_version(client: httpx.AsyncClient) -> None:
    placed = await client.post("/commands/PlaceOrder", json=order(), headers={"If-Match": '"0"'})
    assert placed.headers["etag"] == '"1"'
    stale = await client.post("/commands/PayOrder", json={"order_id": "o-1"}, headers={"If-Match": '"3"'})
    found = problem(stale, 412, "version-mismatch")
    assert (found["stream"], found["actual"]) == ("order-o-1", 1)
    paid = await client.post("/commands/PayOrder", json={"order_id": "o-1"}, headers={"If-Match": '"1"'})
    assert paid.headers["etag"] == '"2"'


@pytest.mark.parametrize("tag", ["*", "3", 'W/"3"', '"3", "4"', '"x"', '""', '"-1"', '"' + "9" * 40 + '"', ""])
async def test_if_match_that_names_no_version(client: httpx.AsyncClient, tag: str) -> None:
    response = await client.post("/commands/PlaceOrder", json=order(), headers={"If-Match": tag})
    assert "If-Match" in problem(response, 400, "bad-header")["detail"]
    assert (await client.get("/events")).json()["items"] == []


async def test_a_rejection_has_its_code(client: httpx.AsyncClient) -> None:
    await client.post("/commands/PlaceOrder", json=order())
    found = problem(await client.post("/commands/PlaceOrder", json=order()), 409, "rejected")
    assert found["code"] == "already-placed"
    assert found["details"] == {"status": "PLACED", "total": "1.5"}
    assert found["detail"] == "This order is already placed."


async def test_every_fault_has_its_path(client: httpx.AsyncClient) -> None:
    body = {"order_id": 7, "lines": [{"sku": "tea", "quantity": 0}, {"sku": "jam", "quantity": "x"}], "extra": 1}
    found = problem(await client.post("/commands/PlaceOrder", json=body), 422, "validation-failed")
    paths = {fault["path"] for fault in found["faults"]}
    assert {"$.order_id", "$.customer_id", "$.extra"} <= paths
    assert {"$.lines[0].quantity", "$.lines[1].quantity"} <= paths
    assert all(fault["message"] for fault in found["faults"])


async def test_unknown_commands_and_other_methods(client: httpx.AsyncClient) -> None:
    found = problem(await client.post("/commands/Fly", json={}), 404, "unknown-name")
    assert (found["kind"], found["name"]) == ("command", "Fly")
    assert "PlaceOrder" in found["detail"]
    for method in ("GET", "PUT", "DELETE"):
        response = await client.request(method, "/commands/PlaceOrder")
        problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "a/b+json", ""]
)
async def test_a_body_that_is_declared_not_to_be_json(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post("/commands/PlaceOrder", content=b"{}", headers={"Content-Type": kind})
    problem(response, 415, "not-json")


async def test_a_compressed_body(client: httpx.AsyncClient) -> None:
    response = await client.post("/commands/PlaceOrder", content=b"{}", headers={"Content-Encoding": "gzip"})
    problem(response, 415, "not-json")


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "application/vnd.shop+json", "Application/JSON"])
async def test_other_ways_to_say_json(client: httpx.AsyncClient, kind: str) -> None:
    body = b'{"order_id": "o-1", "customer_id": "c", "lines": [{"sku": "x", "quantity": 1}]}'
    response = await client.post("/commands/PlaceOrder", content=body, headers={"Content-Type": kind})
    assert response.status_code == 200


async def test_a_body_over_the_limit(running: Running) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 500

    async with in_process(asgi(running, max_body=1000)) as client:
        declared = await client.post("/commands/PlaceOrder", content=b" " * 1001)
        assert "1,000" in problem(declared, 413, "body-too-large")["detail"]
        assert declared.headers["connection"] == "close"
        problem(await client.post("/commands/PlaceOrder", content=chunks()), 413, "body-too-large")
        fits = b'{"order_id": "o", "customer_id": "c", "lines": [{"sku": "x", "quantity": 1}]}'.ljust(1000)
        assert (await client.post("/commands/PlaceOrder", content=fits)).status_code == 200


async def test_a_fault_of_the_server_tells_nothing(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    response = await client.post("/commands/Untouchable", json={"order_id": "o-1"})
    found = problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert found["instance"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_handler_over_two_aggregates(client: httpx.AsyncClient) -> None:
    await client.post("/commands/PlaceOrder", json=order("o-1"))
    response = await client.post("/commands/PayTwo", json={"first": "o-1", "second": "o-2"})
    assert problem(response, 409, "rejected")["code"] == "not-payable"
    await client.post("/commands/PlaceOrder", json=order("o-2"))
    paid = await client.post("/commands/PayTwo", json={"first": "o-1", "second": "o-2"})
    assert paid.status_code == 200
    assert len(paid.json()["event_ids"]) == 2


async def test_pages_of_other_sites_send_no_commands(running: Running) -> None:
    async with in_process(asgi(running, origins=["https://shop.example"])) as client:

        async def place(id: str, **headers: str) -> httpx.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.post("/commands/PlaceOrder", json=order(id), headers=named)

        evil = "https://evil.example"
        problem(await place("o-1", Origin=evil, Sec_Fetch_Site="cross-site"), 403, "cross-site")
        problem(await place("o-1", Sec_Fetch_Site="cross-site"), 403, "cross-site")
        problem(await place("o-1", Origin="null"), 403, "cross-site")
        problem(await place("o-1", Origin="http://localhost:1", Sec_Fetch_Site="same-site"), 403, "cross-site")
        assert (await place("o-1", Origin="http://localhost", Sec_Fetch_Site="same-origin")).status_code == 200
        assert (await place("o-2", Origin="http://localhost")).status_code == 200
        assert (await place("o-3", Origin="https://shop.example", Sec_Fetch_Site="cross-site")).status_code == 200
        assert (await place("o-4", Sec_Fetch_Site="none")).status_code == 200


async def test_the_actor_is_recorded_and_asked(running: Running) -> None:
    async def who(request: Any) -> str | None:
        user: str | None = request.headers.get("x-user")
        return user

    async with in_process(asgi(running, actor=who)) as client:
        await client.post("/commands/PlaceOrder", json=order(), headers={"X-User": "owner"})
        assert (await client.get("/streams/order-o-1")).json()["items"][0]["actor"] == "owner"
        problem(await client.get("/queries/Secret"), 403, "forbidden")
        assert (await client.get("/queries/Secret", headers={"X-User": "owner"})).json() == "you own it"
