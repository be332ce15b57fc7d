"""The OpenAPI document: it describes every message, and the API does what it says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from foldline.app import Running
from foldline.http import asgi
from foldline.http.problems import TABLE, TYPE_PREFIX
from tests.integration.http.conftest import served
from tests.integration.http.shop import shop

pytestmark = pytest.mark.anyio


async def test_every_message_has_its_schema(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas, paths = document["components"]["schemas"], document["paths"]
    for name, command in shop.commands.items():
        body = paths[f"/commands/{name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": f"#/components/schemas/{command.__name__}"}
    for name in shop.events:
        assert name in schemas
    for name in shop.queries:
        assert paths[f"/queries/{name}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    for name in shop.views:
        assert {f"/views/{name}", f"/views/{name}/{{key}}", f"/views/{name}/live"} <= set(paths)
    assert schemas["PlaceOrder"]["additionalProperties"] is False
    assert schemas["Line"]["properties"]["quantity"]["minimum"] == 1
    row = paths["/views/order_summary/{key}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert row == {"$ref": "#/components/schemas/OrderSummary"}


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return here + [one for item in value.values() for one in references(item)]
        return [one for item in value for one in references(item)] if isinstance(value, list) else []

    found = references(document)
    assert found
    for reference in found:
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


async def test_parameters(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    listed = {one["name"]: one for one in paths["/views/order_summary"]["get"]["parameters"]}
    assert {"sort", "limit", "cursor", "total__gte", "customer_id__contains", "status__in"} <= set(listed)
    assert "total__contains" not in listed
    asked = {one["name"]: one for one in paths["/queries/OrdersOf"]["get"]["parameters"]}
    assert asked["customer_id"]["required"] is True
    assert asked["limit"]["schema"]["maximum"] == 100
    echo = {one["name"]: one for one in paths["/queries/Echo"]["get"]["parameters"]}
    assert "application/json" in echo["day"]["content"]
    assert echo["numbers"]["schema"]["type"] == "array"


def test_problem_types_are_unlike_each_other() -> None:
    slugs = [problem.slug for problem in TABLE.values()]
    assert len(set(slugs)) == len(slugs)
    assert TYPE_PREFIX == "urn:foldline:problem:"


async def test_the_api_does_what_it_says(running: Running, tmp_path: Path) -> None:
    app = asgi(running, wait=0.05)
    refused: list[bytes] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        """Notes what was answered with a status of the server's fault."""
        failed = False

        async def noting(message: Any) -> None:
            nonlocal failed
            failed = message.get("status", 500 if failed else 200) >= 500
            if failed and "body" in message:
                refused.append(message["body"])
            await send(message)

        await app(scope, receive, noting)

    # Two of the shop's messages fail on purpose, and live streams do not end.
    live = [f"/views/{view}/live" for view in shop.views]
    left_out = [
        f"--exclude-path={path}" for path in ("/commands/Untouchable", "/queries/Broken", "/events/live", *live)
    ]
    checks = ("status_code", "content_type", "response_headers", "response_schema")
    async with served(watched) as address:
        async with httpx.AsyncClient(base_url=address) as client:
            body = {"order_id": "1", "customer_id": "c", "lines": [{"sku": "x", "quantity": 1}]}
            assert (await client.post("/commands/PlaceOrder", json=body)).status_code == 200
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", *left_out),
            f"--checks={','.join(f'{check}_conformance' for check in checks)}",
            *("--max-examples=15", "--phases=examples,coverage,fuzzing", "--max-time=20", "--seed=1", "--no-color"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        try:
            async with asyncio.timeout(90):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, output.decode()[-8000:]
    # A position that the log has not reached is waited for, and then it is said that it was in vain.
    assert {json.loads(body)["type"] for body in refused} <= {f"{TYPE_PREFIX}view-behind"}, refused
