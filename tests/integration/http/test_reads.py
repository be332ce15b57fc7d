"""Queries, views, streams and the log over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from foldline.app import Running
from foldline.store.spi import Append, Expect, NewEvent, StreamAppend
from tests.integration.http.test_commands import order, problem

pytestmark = pytest.mark.anyio


async def place(client: httpx.AsyncClient, *ids: str, customer: str = "c-1") -> str:
    """Place orders; the last one's position."""
    for id in ids:
        response = await client.post("/commands/PlaceOrder", json=order(id, customer))
        assert response.status_code == 200, response.text
    return response.headers["foldline-position"]


async def test_a_page_of_rows(client: httpx.AsyncClient) -> None:
    after = {"Foldline-After": await place(client, "a", "b", "c", "d", "e")}
    first = (await client.get("/views/order_summary?limit=2&sort=-order_id", headers=after)).json()
    assert [row["order_id"] for row in first["items"]] == ["e", "d"]
    assert first["items"][0] == {
        "order_id": "e", "customer_id": "c-1", "status": "PLACED", "items": 2, "total": "9.00",
    }  # fmt: skip
    second = await client.get("/views/order_summary", params={"limit": 3, "sort": "-order_id", "cursor": first["next"]})
    assert [row["order_id"] for row in second.json()["items"]] == ["c", "b", "a"]
    assert second.json()["next"] is None


async def test_filters(client: httpx.AsyncClient) -> None:
    await place(client, "a", "b", customer="c,1")
    after = {"Foldline-After": await place(client, "c", customer="c-2")}

    async def ids(query: str) -> list[str]:
        response = await client.get(f"/views/order_summary?{query}", headers=after)
        assert response.status_code == 200, response.text
        return [row["order_id"] for row in response.json()["items"]]

    assert await ids("customer_id=c-2") == ["c"]
    assert await ids("total__gte=9&order_id__in=a,c") == ["a", "c"]
    assert await ids("customer_id__in=c%2C1&customer_id__in=x") == ["a", "b"]
    assert await ids("items__lt=2") == []
    assert await ids("customer_id__startswith=c-&status=PLACED") == ["c"]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("nope=1", "$.nope"), ("sort=nope", "$.sort"), ("sort=-", "$.sort"), ("limit=0", "$.limit"),
        ("limit=1001", "$.limit"), ("limit=x", "$.limit"), ("cursor=x", "$.cursor"), ("items=x", "$.items"),
        ("items__like=1", "$.items__like"), ("status=GONE", "$.status"), ("order_id=a&order_id=b", "$.order_id"),
        ("items=99999999999999999999", "$.items"), ("limit=" + "9" * 5000, "$.limit"), ("total=NaN", "$.total"),
        ("%ff=1", "$"), ("&".join(f"a{n}=1" for n in range(300)), "$"),
    ],
)  # fmt: skip
async def test_what_a_list_does_not_understand(client: httpx.AsyncClient, query: str, path: str) -> None:
    found = problem(await client.get(f"/views/order_summary?{query}"), 422, "validation-failed")
    assert path in [fault["path"] for fault in found["faults"]]


async def test_a_row_and_none(client: httpx.AsyncClient) -> None:
    after = {"Foldline-After": await place(client, "a")}
    assert (await client.get("/views/order_summary/a", headers=after)).json()["order_id"] == "a"
    found = problem(await client.get("/views/order_summary/b"), 404, "unknown-name")
    assert found["name"] == "b"
    assert problem(await client.get("/views/nope/b"), 404, "unknown-name")["kind"] == "view"
    problem(await client.get("/views/order_summary/a?extra=1"), 422, "validation-failed")


IDS = ["a/b", "a//b", "/a", "a/", "50%", "%2F", 'say "hi"', "it's", "ä€😀", "a b", "a?b#c", "..", "a\\b", ";x=1", "+"]


@pytest.mark.parametrize("id", IDS)
async def test_ids_of_any_characters(client: httpx.AsyncClient, id: str) -> None:
    after = {"Foldline-After": await place(client, id)}
    quoted = quote(id, safe="")
    if id == "..":
        quoted = "%2E%2E"
    row = await client.get(f"/views/order_summary/{quoted}", headers=after)
    assert row.json()["order_id"] == id
    stream = await client.get(f"/streams/order-{quoted}")
    assert stream.json()["stream"] == f"order-{id}"
    found = await client.get("/views/order_summary", params={"order_id": id})
    assert [one["order_id"] for one in found.json()["items"]] == [id]


async def test_waiting_for_a_position(client: httpx.AsyncClient) -> None:
    position = int(await place(client, "a"))
    for path in ("/views/order_summary", "/views/order_summary/a", "/queries/OrdersOf?customer_id=c-1"):
        response = await client.get(path, headers={"Foldline-After": str(position + 1000)})
        found = problem(response, 503, "view-behind")
        assert found["wanted"] == position + 1000
        assert response.headers["retry-after"] == "1"
        for bad in ("x", "-1", "1.0", "", "9" * 30):
            problem(await client.get(path, headers={"Foldline-After": bad}), 400, "bad-header")


async def test_queries(client: httpx.AsyncClient) -> None:
    after = {"Foldline-After": await place(client, "a", "b")}
    page = await client.get("/queries/OrdersOf?customer_id=c-1&limit=1", headers=after)
    assert [row["order_id"] for row in page.json()["items"]] == ["a"]
    following = await client.get("/queries/OrdersOf", params={"customer_id": "c-1", "after": page.json()["next"]})
    assert [row["order_id"] for row in following.json()["items"]] == ["b"]
    found = problem(await client.get("/queries/OrdersOf?limit=x&nope=1"), 422, "validation-failed")
    assert {fault["path"] for fault in found["faults"]} == {"$.limit", "$.nope", "$.customer_id"}
    problem(await client.get("/queries/Nope"), 404, "unknown-name")
    problem(await client.get("/queries/Broken"), 500, "internal-error")


async def test_how_parameters_are_read(client: httpx.AsyncClient) -> None:
    query = "numbers=1&numbers=2&flag=true&amount=3.50&status=PAID&day=" + quote('{"year": 2026}')
    assert (await client.get(f"/queries/Echo?{query}")).json() == {
        "numbers": "(1, 2)", "flag": "True", "amount": "3.50", "day": "Day(year=2026, month=1)", "status": "PAID",
    }  # fmt: skip
    bad = "numbers=1&numbers=x&flag=maybe&amount=x&status=x&day=x"
    found = problem(await client.get(f"/queries/Echo?{bad}"), 422, "validation-failed")
    paths = {fault["path"] for fault in found["faults"]}
    assert paths == {"$.numbers[1]", "$.flag", "$.amount", "$.status", "$.day"}


async def test_a_stream_in_parts(client: httpx.AsyncClient) -> None:
    await place(client, "a")
    for _ in range(4):
        await client.post("/commands/ForgetOrder", json={"order_id": "a"})

    async def part(query: str) -> tuple[list[int], int | None]:
        response = await client.get(f"/streams/order-a?{query}")
        assert response.headers["etag"] == '"5"'
        found = response.json()
        return [event["version"] for event in found["items"]], found["next"]

    assert await part("") == ([1, 2, 3, 4, 5], None)
    assert await part("limit=2") == ([1, 2], 3)
    assert await part("from=3&limit=2") == ([3, 4], 5)
    assert await part("from=5&limit=2") == ([5], None)
    assert await part("from=9") == ([], None)
    assert await part("backwards=true&limit=2") == ([5, 4], 3)
    assert await part("backwards=true&limit=2&from=2") == ([2, 1], None)
    problem(await client.get("/streams/order-b"), 404, "unknown-name")
    for bad in ("from=0", "limit=0", "limit=1001", "backwards=x", "form=1"):
        problem(await client.get(f"/streams/order-a?{bad}"), 422, "validation-failed")


async def test_the_log_in_parts(client: httpx.AsyncClient) -> None:
    await place(client, "a", "b", "c")
    await client.post("/commands/PayOrder", json={"order_id": "a"})
    everything = (await client.get("/events")).json()
    assert [event["stream_id"] for event in everything["items"]] == ["order-a", "order-b", "order-c", "order-a"]
    assert everything["next"] is None
    first = (await client.get("/events?limit=3")).json()
    rest = (await client.get("/events", params={"after": first["next"]})).json()
    assert first["items"] + rest["items"] == everything["items"]
    for types in ("types=OrderPaid", "types=OrderPaid,Nope", "types=Nope&types=OrderPaid"):
        paid = (await client.get(f"/events?{types}")).json()
        assert [event["type"] for event in paid["items"]] == ["OrderPaid"]
        assert paid["position"] == everything["position"]


async def test_data_is_the_stored_json_byte_for_byte(client: httpx.AsyncClient, running: Running) -> None:
    data = b'{ "b": 1.10,\n  "a": 123456789012345678901234567890, "a": "\\u00e9\\ud83d\\ude00" }'
    events = [NewEvent(__import__("uuid").uuid4(), "imported: from, elsewhere", 1, data, b'{"x":  1}')]
    await running.store.append(Append((StreamAppend("permit-1", Expect.ANY, events),)))
    for path in ("/streams/permit-1", "/events?types=imported: from, elsewhere"):
        response = await client.get(path)
        assert b'"data":' + data + b',"metadata":{"x":  1},' in response.content


async def test_projections_health_and_index(client: httpx.AsyncClient) -> None:
    position = int(await place(client, "a"))
    await client.get("/views/sold", headers={"Foldline-After": str(position)})
    await client.get("/views/order_summary", headers={"Foldline-After": str(position)})
    found = {one["name"]: one for one in (await client.get("/projections")).json()["items"]}
    assert set(found) == {"order_summary", "sold"}
    assert (found["sold"]["position"], found["sold"]["lag"], found["sold"]["error"]) == (position, 0, None)
    assert (await client.get("/health")).json() == {"status": "ok", "position": position}
    index = (await client.get("/")).json()
    assert index["views"]["sold"] == "/views/sold"
    assert (await client.get(index["openapi"])).json()["openapi"] == "3.1.0"
    problem(await client.get("/nowhere"), 404, "not-found")


async def test_head_and_other_methods(client: httpx.AsyncClient) -> None:
    await place(client, "a")
    for path in ("/streams/order-a", "/events", "/views/order_summary", "/health", "/projections"):
        told = await client.head(path)
        assert (told.status_code, told.content) == (200, b"")
        problem(await client.post(path, json={}), 405, "method-not-allowed")
