"""What a client is told of a store in trouble: a problem that says when to try again, and nothing of the server's."""

from __future__ import annotations

import pytest

from foldline import Aggregate, App, Command, Event, Query, answers, handles
from foldline.errors import StoreBusy, StoreError, StoreUnavailable
from foldline.http import asgi
from tests.integration.http.conftest import in_process
from tests.integration.http.test_commands import problem

pytestmark = pytest.mark.anyio

WHERE = "postgresql://shop@db.internal/shop"
TROUBLES: dict[str, StoreError] = {
    "store-busy": StoreBusy("The store was busy for 5 s; nothing was kept. Try again."),
    "store-unavailable": StoreUnavailable(f"{WHERE} cannot be reached; nothing was kept. Try again."),
}


class Noted(Event):
    note_id: str
    trouble: str


class Note(Command):
    note_id: str
    trouble: str


class Ask(Query[int]):
    trouble: str


class Pad(Aggregate, id="note_id"):
    @handles
    def note(self, command: Note) -> Noted:
        raise TROUBLES[command.trouble]


@answers
async def ask(query: Ask) -> int:
    raise TROUBLES[query.trouble]


pad = App("pad", Pad, Noted, ask)


@pytest.mark.parametrize("slug", TROUBLES)
async def test_a_store_in_trouble_is_to_be_asked_again(slug: str) -> None:
    async with pad.open("memory:") as running, in_process(asgi(running)) as client:
        asked = await client.get(f"/queries/Ask?trouble={slug}")
        sent = await client.post("/commands/Note", json={"note_id": "n-1", "trouble": slug})
        for response in (asked, sent):
            found = problem(response, 503, slug)
            assert response.headers["retry-after"] == "1"
            assert "nothing was kept" in found["detail"]


async def test_a_client_is_not_told_where_the_database_is() -> None:
    async with pad.open("memory:") as running, in_process(asgi(running)) as client:
        response = await client.get("/queries/Ask?trouble=store-unavailable")
        assert "db.internal" not in response.text


async def test_the_description_tells_of_it() -> None:
    async with pad.open("memory:") as running, in_process(asgi(running)) as client:
        document = (await client.get("/openapi.json")).json()
    assert "503" in document["paths"]["/commands/Note"]["post"]["responses"]
