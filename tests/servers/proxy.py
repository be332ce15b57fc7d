"""A network between a client and a server on this machine that can be slow, stand still, be cut, or speak TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Self, TypeVar

from tests.servers.postgres import SUPERUSER, url_of

T = TypeVar("T")

_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)


class Proxy:
    """Forwards connections to a port of 127.0.0.1 until it is told otherwise.

    It runs in a thread of its own, so it may be told from anywhere, and what it is told is in force when the call
    returns. With a ``tls`` context it answers PostgreSQL clients that ask for TLS itself and forwards in plain, so that
    any server seems to have it.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target = port
        self.port = 0
        self._tls = tls
        self._delay = 0.0
        self._refusing = False
        self._lost: bytes | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._up: asyncio.Event
        self._down: asyncio.Event
        self._server: asyncio.Server

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *raised: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(
        self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None, **parameters: str
    ) -> str:
        """The URL of a database behind it."""
        return url_of(self.port, database, user=user, password=password, **parameters)

    @property
    def connections(self) -> int:
        """How many connections go through it now."""
        return self._do(lambda: len(self._links))

    def delay(self, seconds: float) -> None:
        """Keep everything that is sent from now on for so long, in either direction."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Forward nothing, to the server and to the client, and say nothing of it, as a network does that is broken."""

        def stall() -> None:
            if up:
                self._up.clear()
            if down:
                self._down.clear()

        self._do(stall)

    def flow(self) -> None:
        """Forward again, what was held back first; take new connections again; lose nothing more."""

        def flow() -> None:
            self._refusing = False
            self._lost = None
            self._up.set()
            self._down.set()

        self._do(flow)

    def cut(self) -> None:
        """Reset all connections; what was held back is lost. New ones are taken."""
        self._do(self._cut)

    def refuse(self) -> None:
        """Reset all connections, and every new one as soon as it is there."""

        def refuse() -> None:
            self._refusing = True
            self._cut()

        self._do(refuse)

    def lose_answer_to(self, sent: bytes) -> None:
        """Forward the next that has these bytes in it, and cut that connection when the server has begun to answer."""
        self._do(lambda: setattr(self, "_lost", sent))

    # --- In its thread ------------------------------------------------------------------------------------------------

    def _do(self, what: Callable[[], T]) -> T:
        async def done() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    async def _listen(self) -> None:
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()
        self._down.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _cut(self) -> None:
        for link in list(self._links):
            link.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link([writer])
        self._links.add(link)
        try:
            if not self._refusing:
                first = await self._secured(reader, writer)
                onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self.target)
                link.halves.append(onward_writer)
                onward_writer.write(first)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(link, reader, onward_writer, self._up, upward=True))
                    group.create_task(self._pump(link, onward_reader, writer, self._down, upward=False))
        except* (OSError, EOFError):
            pass  # either end was reset, and so is the other
        finally:
            self._links.discard(link)
            link.reset()
            for half in link.halves:
                with contextlib.suppress(OSError):
                    await half.wait_closed()

    async def _secured(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Take up TLS where a client asks for it and we have it; what else it has said already."""
        if self._tls is None:
            return b""
        first = await reader.readexactly(len(_SSL_REQUEST))
        if first != _SSL_REQUEST:
            return first
        writer.write(b"S")
        await writer.start_tls(self._tls)
        return b""

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
        *,
        upward: bool,
    ) -> None:
        while chunk := await reader.read(65_536):
            if self._delay:
                await asyncio.sleep(self._delay)
            await flows.wait()
            if upward and self._lost is not None and self._lost in chunk:
                self._lost = None
                link.loses_answer = True
            elif not upward and link.loses_answer:
                link.reset()
                return
            writer.write(chunk)
            await writer.drain()
        await flows.wait()
        if writer.can_write_eof():
            writer.write_eof()
        elif not writer.is_closing():
            writer.close()


class _Link:
    """One connection: its two halves, or the first of them."""

    def __init__(self, halves: list[asyncio.StreamWriter]) -> None:
        self.halves = halves
        self.loses_answer = False

    def reset(self) -> None:
        for half in self.halves:
            _reset(half)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        # Closing a socket that does not linger sends a reset, so that the other end hears of it at once.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
