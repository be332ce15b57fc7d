"""A raw keep-alive HTTP/1.1 client, light enough that what is measured is the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

PATIENCE = 30.0
"""Seconds that a connection waits for an answer."""


class Failed(Exception):
    """The server said something else than 200."""


class Connection(asyncio.Protocol):
    """Sends the next request when the last one's answer is whole."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._seen = b""
        self.answers = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        seen = self._seen + data if self._seen else data
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            self._seen = seen
            return
        at = seen.find(b"content-length: ")
        size = int(seen[at + 16 : seen.find(b"\r", at)])
        if len(seen) < end + 4 + size:
            self._seen = seen
            return
        self._seen = b""
        if not seen.startswith(b"HTTP/1.1 200"):
            self._end(Failed(seen.decode(errors="replace")))
            return
        self.answers += 1
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or Failed("the server hung up"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end(None)
        else:
            self._transport.write(request)  # type: ignore[attr-defined]

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self._transport.close()


def request(port: int, path: str, body: bytes) -> bytes:
    """A POST as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send(port: int, connections: int, requests: list[bytes]) -> float:
    """Answers a second, over that many connections; raises Failed for any answer but 200."""
    loop = asyncio.get_running_loop()
    coming = iter(requests)
    started = time.perf_counter()
    made = [await loop.create_connection(lambda: Connection(coming), "127.0.0.1", port) for _ in range(connections)]
    async with asyncio.timeout(PATIENCE + len(requests) / 50):
        await asyncio.gather(*(protocol.done for _, protocol in made))
    spent = time.perf_counter() - started
    if sum(protocol.answers for _, protocol in made) != len(requests):
        raise Failed("some requests were not answered")
    return len(requests) / spent
