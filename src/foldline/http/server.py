"""Serves an ASGI application with uvicorn: to this machine only, and stopped without loss."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from foldline.errors import FoldlineError
from foldline.http.problems import MEDIA_TYPE, WrongHost, describe
from foldline.http.shutdown import streams_ended

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

Ready: TypeAlias = Callable[[str], None]
"""Is told the server's real address once it takes requests."""

logger = logging.getLogger("foldline.http")

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


async def serve(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    hosts: Collection[str] = (),
    grace: float = 30.0,
    ready: Ready | None = None,
) -> None:
    """Serve an ASGI application until SIGINT or SIGTERM comes, or the call is cancelled; then return,
    gracefully.

    Graceful means: no new connections, live streams end, requests in flight are answered for at most
    ``grace`` seconds, and the application's lifespan ends. A second SIGINT ends it at once. Port 0 takes any
    free port; ``ready`` is told the address. ``hosts`` are names, besides those of this machine's loopback,
    that a reverse proxy passes on.

    Raises FoldlineError for a host that is not loopback, an address that cannot be had, and what the
    application's own start raises.
    """
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"

    def started() -> None:
        logger.info("Serving at %s", address)
        if ready is not None:
            ready(address)

    guarded = _Guard(app, hosts=(*_LOCAL_NAMES, shown, *hosts))
    config = uvicorn.Config(
        guarded,
        lifespan="auto",
        http="httptools" if importlib.util.find_spec("httptools") else "h11",
        # Neither header is to be believed before there is authentication.
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    server = _Server(config, started)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="foldline server")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
    finally:
        listener.close()
    if not server.started:
        if isinstance(guarded.fault, Exception):
            raise guarded.fault
        raise FoldlineError("The application did not start; the log says why.")
    logger.info("Stopped serving at %s", address)


def run(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    hosts: Collection[str] = (),
    grace: float = 30.0,
    ready: Ready | None = None,
) -> None:
    """The same as `serve`, for a program that has no event loop yet; Ctrl-C and SIGTERM make it return."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(app, host, port, hosts=hosts, grace=grace, ready=ready))
    except KeyboardInterrupt:
        logger.info("Interrupted before the server had started, or after it had stopped.")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop of the fastest kind that is installed: uvloop, else asyncio's own."""
    if importlib.util.find_spec("uvloop"):
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise FoldlineError(f"There is no port {port}: use 1 to 65535, or 0 for any that is free.")
    try:
        # An empty host would mean every address of this machine.
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)  # nosec B104: it is refused
    except (OSError, UnicodeError) as error:
        raise FoldlineError(f"There is no address {host}:{port} to serve at: {error}.") from None
    if not all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found):
        raise FoldlineError(
            f"Refusing to serve at {host or 'every address'}: there is no authentication yet, so anybody on the "
            "network could read and change everything. Serve at 127.0.0.1, behind a reverse proxy that authenticates."
        )
    # IPv4 first: a browser that is told "localhost" tries both.
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise FoldlineError(f"Cannot serve at {host}:{port}: {error}. Choose another port; 0 takes any.") from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn, but it tells when it is ready, ends live streams, and returns where it would raise or exit."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            # uvicorn would end the process here; whoever called serve() is to hear of it instead.
            self.should_exit = True
            return
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        with streams_ended():
            await super().shutdown(sockets)
        if self.force_exit:
            # A second Ctrl-C means not to wait for connections; what the application holds is closed all the same.
            await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            # uvicorn would raise the signals again; that would kill the process before its callers could
            # clean up.
            for number, handler in before.items():
                signal.signal(number, handler)


class _Guard:
    """Stands before the application: refuses requests for other hosts, logs requests, remembers a failed
    start.

    A page of any site can have its own name resolve to 127.0.0.1 and would then be of the same origin as this
    server; the Host header gives it away.
    """

    def __init__(self, app: ASGI3Application, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().encode() for host in hosts)
        self._known: set[bytes] = set()
        self._logged = logger.isEnabledFor(logging.DEBUG)
        self.fault: BaseException | None = None

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            except BaseException as error:
                # litestar opens the application inside a task group.
                self.fault = error
                while isinstance(self.fault, BaseExceptionGroup) and len(self.fault.exceptions) == 1:
                    self.fault = self.fault.exceptions[0]
                raise
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), None)
        if host is not None and host not in self._known and not self._is_ours(host):
            await _refuse(send, scope["type"] == "http", host)
        elif self._logged and scope["type"] == "http":
            await self._log(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, host: bytes) -> bool:
        name, colon, port = host.lower().rpartition(b":")
        if (name if colon and port.isdigit() else host.lower()) not in self._hosts:
            return False
        if len(self._known) < 100:
            self._known.add(host)
        return True

    async def _log(self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        started = time.perf_counter()
        status = 0

        async def noting(message: ASGISendEvent) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            spent = (time.perf_counter() - started) * 1000
            logger.debug("%s %s %d %.1f ms", scope["method"], ascii(scope["path"])[1:-1], status, spent)


async def _refuse(send: ASGISendCallable, is_http: bool, host: bytes) -> None:
    if not is_http:
        await send({"type": "websocket.close", "code": 1008, "reason": "wrong host"})
        return
    shown = host[:200].decode("ascii", "backslashreplace")
    problem, body = describe(
        WrongHost(f"This server is not {shown}: name it in serve(..., hosts=...) if a reverse proxy passes it on.")
    )
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})
