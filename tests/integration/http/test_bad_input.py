"""Exotic input over HTTP: a clear problem, nothing recorded, and never a fault of the server's."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import httpx
import pytest

from foldline.app import Running
from foldline.http import asgi
from tests.integration.http.conftest import served
from tests.integration.http.test_commands import problem

pytestmark = pytest.mark.anyio

DEEP = 100_000


def placing(id: bytes = b'"o"', quantity: bytes = b"1", price: bytes = b'"1"') -> bytes:
    """A command's body, with some values as they stand."""
    line = b'{"sku": "x", "quantity": %s, "price": %s}' % (quantity, price)
    return b'{"order_id": %s, "customer_id": "c", "lines": [%s]}' % (id, line)


BODIES = {
    "empty": b"",
    "blank": b"  ",
    "not JSON": b"{order_id: 1}",
    "cut off": b'{"order_id": "o',
    "two": b"{} {}",
    "an array": b"[]",
    "null": b"null",
    "a number": b"1",
    "no UTF-8": placing(b'"\xff"'),
    "UTF-16": placing().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + placing(),
    "NaN": placing(quantity=b"NaN"),
    "NaN as text": placing(price=b'"NaN"'),
    "infinity": placing(quantity=b"1e999"),
    "infinity as text": placing(price=b'"-Infinity"'),
    "a huge integer": placing(quantity=b"9" * 5000),
    "a big integer": placing(quantity=b"18446744073709551616"),
    "a fraction": placing(quantity=b"1.5"),
    "a lone surrogate": placing(b'"\\ud800"'),
    "NUL in an id": placing(b'"a\\u0000b"'),
    "a newline in an id": placing(b'"a\\nb"'),
    "an empty command": b"{}",
    "a long id": placing(b'"%s"' % (b"x" * 10_000)),
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a deep field": placing(b"[" * DEEP + b"]" * DEEP),
    "a deep unknown field": b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/commands/PlaceOrder", content=BODIES[name])
    found = problem(response, 422, "validation-failed")
    assert all(fault["path"].startswith("$") and fault["message"] for fault in found["faults"])
    assert found["faults"]
    assert (await client.get("/events")).json()["items"] == []


@pytest.mark.parametrize("price", [b'"1e999999"', b'"1E-999999"', b"9" * 400, b"1e400", b'"0.1e-30"'])
async def test_strange_decimals_are_kept_or_refused(client: httpx.AsyncClient, price: bytes) -> None:
    response = await client.post("/commands/PlaceOrder", content=placing(price=price))
    assert response.status_code in (200, 422), response.text
    assert (await client.get("/streams/order-o")).status_code in (200, 404)


@pytest.mark.parametrize("id", ["", "x" * 10_000, "a\nb", "a\0b", "\x7f", "ä" * 257])
async def test_a_stream_id_that_no_stream_has(client: httpx.AsyncClient, id: str) -> None:
    problem(await client.get(f"/streams/{quote(id, safe='')}"), 422, "validation-failed")


@pytest.mark.parametrize("path", ["/streams/%ff", "/views/order_summary/%ff", "/views/order_summary/%ed%a0%80"])
async def test_a_path_that_is_no_text(client: httpx.AsyncClient, path: str) -> None:
    problem(await client.get(path), 422, "validation-failed")


@pytest.mark.parametrize("key", ["a\0b", "a\nb", "x" * 10_000, "'; DROP TABLE order_summary; --", "%", "_"])
async def test_a_key_that_no_row_has(client: httpx.AsyncClient, key: str) -> None:
    response = await client.get(f"/views/order_summary/{quote(key, safe='')}")
    assert response.status_code in (404, 422), response.text
    listed = await client.get("/views/order_summary", params={"order_id": key, "customer_id__contains": key})
    assert listed.status_code in (200, 422), listed.text


@pytest.mark.parametrize("header", ["Idempotency-Key", "Correlation-Id", "X-Correlation-ID"])
@pytest.mark.parametrize("value", [b"", b"x" * 600, b"\xff\xfe", b"a\tb"])
async def test_ids_in_headers(client: httpx.AsyncClient, header: str, value: bytes) -> None:
    response = await client.post("/commands/PlaceOrder", content=placing(), headers={header.encode(): value})
    problem(response, 422, "validation-failed")
    assert (await client.get("/events")).json()["items"] == []


async def test_ids_in_headers_may_be_any_text(client: httpx.AsyncClient) -> None:
    headers = {b"Idempotency-Key": "schlüssel/€ 1%".encode(), b"traceparent": b"nonsense"}
    response = await client.post("/commands/PlaceOrder", content=placing(), headers=headers)
    assert response.json()["command_id"] == "schlüssel/€ 1%"


async def test_raw_requests(running: Running) -> None:
    async with served(asgi(running, max_body=1000)) as address:
        port = int(address.rpartition(":")[2])

        async def send(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            async with asyncio.timeout(10):
                status = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return status

        start = b"POST /commands/PlaceOrder HTTP/1.1\r\nHost: localhost\r\n"
        for request, status in (
            (start + b"Content-Length: 999999999999\r\n\r\n", b"413"),
            (start + b"Transfer-Encoding: chunked\r\n\r\n800\r\n" + b" " * 0x800 + b"\r\n", b"413"),
            (start + b"Content-Length: -1\r\n\r\n", b"400"),
            (start + b"Content-Length: x\r\n\r\n", b"400"),
            (start + b"\r\n", b"422"),
            (b"GET /views/order_summary?a=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"4"),
            (b"GET /streams/" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"4"),
            (b"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"4"),
            (b"\x16\x03\x01 nonsense\r\n\r\n", b"400"),
        ):
            assert (await send(request)).split()[1].startswith(status), request[:80]
        # A client that goes away in the middle of its body costs nothing.
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start + b'Content-Length: 100\r\n\r\n{"order_id')
        await writer.drain()
        writer.close()
        async with httpx.AsyncClient(base_url=address) as client:
            assert (await client.get("/events")).json()["items"] == []


async def test_nul_in_data_is_kept_and_found(client: httpx.AsyncClient) -> None:
    lines = [{"sku": sku, "quantity": 1} for sku in ("a\0b", "a", "b")]
    placed = await client.post("/commands/PlaceOrder", json={"order_id": "o", "customer_id": "c\0", "lines": lines})
    after = {"Foldline-After": placed.headers["foldline-position"]}
    listed = await client.get("/views/sold?sku__in=a%00b,b", headers=after)
    assert [row["sku"] for row in listed.json()["items"]] == ["a\0b", "b"]
    assert (await client.get("/views/sold/a%00b")).json()["sku"] == "a\0b"
    found = await client.get("/views/order_summary?customer_id=c%00", headers=after)
    assert [row["order_id"] for row in found.json()["items"]] == ["o"]
    problem(await client.get("/events?types=%00"), 422, "validation-failed")
