"""``POST /commands/{name}``: the raw body in, a receipt out.

It is a plain ASGI handler inside Litestar, for this is the hot path: one decode, one call, one encode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import Receive, Scope, Send

from foldline.command.receipt import Receipt
from foldline.domain.codec import parse
from foldline.errors import Conflict, UnknownName
from foldline.http.api import Api
from foldline.http.problems import VersionMismatch
from foldline.http.requests import (
    ClientGone,
    body_of,
    check_site,
    command_id_of,
    headers_of,
    text_header,
    version_of,
)

_encode = msgspec.json.Encoder().encode


def command_route(api: Api) -> ASGIRouteHandler:
    """The route that takes every command of the application."""
    commands = dict(api.app.commands)

    @asgi("/commands", is_mount=True, copy_scope=False)
    async def handle_command(scope: Scope, receive: Receive, send: Send) -> None:
        """Carry out a command and answer with its receipt."""
        if scope["type"] != ScopeType.HTTP:
            raise NotFoundException
        name = scope["path"].strip("/")
        kind = commands.get(name)
        if kind is None:
            raise UnknownName("command", name, list(commands))
        if scope["method"] != "POST":
            raise MethodNotAllowedException(headers={"Allow": "POST"})
        headers = headers_of(scope)
        check_site(headers, api.origins)
        running = api.running
        expected = version_of(headers)
        command_id = command_id_of(headers)
        correlation_id = text_header(headers, b"correlation-id") or text_header(headers, b"x-correlation-id")
        try:
            command = parse(kind, await body_of(headers, receive, api.max_body))
        except ClientGone:
            return
        actor = None
        if api.actor is not None:
            actor = await api.actor_of(Request[Any, Any, Any](scope))
        parent = headers.get(b"traceparent")
        with nullcontext() if parent is None else _traced(headers):
            try:
                receipt = await running.execute(
                    command,
                    command_id=command_id,
                    expected_version=expected,
                    actor=actor,
                    correlation_id=correlation_id,
                )
            except Conflict as conflict:
                if expected is None:
                    raise
                raise VersionMismatch(conflict.stream_id, conflict.expected, conflict.actual) from conflict
        body = _encode(receipt)
        response = _response_headers(receipt, correlation_id, len(body))
        await send({"type": "http.response.start", "status": 200, "headers": response})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return handle_command


def _response_headers(receipt: Receipt, correlation_id: str | None, length: int) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % length),
        (b"foldline-position", b"%d" % receipt.position),
        # A command without a correlation id starts its own: its command id.
        (b"correlation-id", (correlation_id or receipt.command_id).encode()),
    ]
    if receipt.stream:
        headers.append((b"etag", b'"%d"' % receipt.version))
    return headers


@contextmanager
def _traced(headers: Mapping[bytes, bytes]) -> Iterator[None]:
    """Carry the sender's W3C trace context, so that the events are recorded as part of its trace."""
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {
        name: headers[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in headers
    }
    token = context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        yield
    finally:
        context.detach(token)
