"""Server-sent events: their frames, and a response that sends them until client or server goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from foldline.errors import StoreClosed
from foldline.http.problems import describe
from foldline.http.shutdown import until_shutdown

RETRY = 2000
"""After how many milliseconds a client should come back when the connection is lost."""


def opening(position: int) -> bytes:
    """What is sent first: how soon to come back, and where to go on from, should nothing else be received."""
    return b"retry: %d\nid: %d\n\n" % (RETRY, position)


def heartbeat(position: int) -> bytes:
    """A comment that shows the connection to be alive, with where to go on from; no event comes of it."""
    return b": still here\nid: %d\n\n" % position


def frame(event: str, data: bytes, position: int | None = None) -> bytes:
    """One message; without a position, the client would go on from where the last one stood."""
    lines = [] if position is None else [b"id: %d" % position]
    lines.append(b"event: " + event.encode())
    # Stored JSON may have line breaks between its tokens, and each line needs its own field.
    lines.extend(b"data: " + line for line in data.splitlines())
    return b"\n".join(lines) + b"\n\n"


class EventStream(ASGIResponse):
    """A response that pulls messages and sends each before it asks for the next: a slow client only reads
    later.

    It ends when the client goes away, the server stops, or the messages end. An error ends it with an event
    named ``problem``, whose data is the problem document.
    """

    _should_set_content_length = False

    def __init__(self, messages: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, media_type="text/event-stream"
        )
        self._messages = messages

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send messages until something ends it; leaves neither task nor generator behind."""
        with until_shutdown() as stopping:
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(send), name="foldline stream")
                watchers = (
                    tasks.create_task(_cancel_after(stopping.wait(), pump)),
                    tasks.create_task(_cancel_after(_gone(receive), pump)),
                )
                await asyncio.wait([pump])
                for watcher in watchers:
                    watcher.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._messages) as messages:
            try:
                async for message in messages:
                    await send({"type": "http.response.body", "body": message, "more_body": True})
            except StoreClosed:
                return
            except Exception as error:
                _, document = describe(error)
                await send({"type": "http.response.body", "body": frame("problem", document), "more_body": True})


async def _cancel_after(end: Awaitable[object], task: asyncio.Task[None]) -> None:
    await end
    task.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
