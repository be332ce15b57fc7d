"""Reads server-sent events as a browser would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx


class Message(NamedTuple):
    """One event, with the id that a client would send to come back after it."""

    id: str
    event: str
    data: Any


class Source:
    """An open stream; ``last_id`` is kept as an EventSource keeps it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.lines = response.aiter_lines()
        self.last_id = ""
        self.comments = 0

    async def next(self, timeout: float = 10) -> Message:
        """The next event; ids and comments between are taken note of. Raises StopAsyncIteration at the end."""
        event = "message"
        data: list[str] = []
        async with asyncio.timeout(timeout):
            async for line in self.lines:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line == "":
                    if data:
                        return Message(self.last_id, event, json.loads("\n".join(data)))
                    event = "message"
                elif name == "id":
                    self.last_id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                elif name == "":
                    self.comments += 1
        raise StopAsyncIteration

    async def opened(self) -> int:
        """The position that the stream goes on from, once it has told."""
        async with asyncio.timeout(10):
            async for line in self.lines:
                if line.startswith("id:"):
                    self.last_id = line.removeprefix("id:").strip()
                if line == "" and self.last_id:
                    return int(self.last_id)
        raise StopAsyncIteration


@asynccontextmanager
async def listening(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Source]:
    """Open a stream."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", path, headers=sent, timeout=30) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Source(response)
