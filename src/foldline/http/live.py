"""Server-sent events that follow the log: every event, or every row of a view that changes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Collection
from typing import Any

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from foldline.errors import ViewBehind
from foldline.http.api import Api
from foldline.http.parameters import Position, parameters
from foldline.http.reads import AnyRequest, names_of, view_of
from foldline.http.requests import headers_of, position_header
from foldline.http.sse import EventStream, frame, heartbeat, opening
from foldline.http.wire import RowOut, encode, event_out
from foldline.projection.filters import key_value
from foldline.projection.view import ViewType
from foldline.subscription import next_batch

BATCH = 50
"""How many events a stream holds in memory at most."""


class LiveEventsParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Which events to follow: those above position ``after``, or from now on; of these types, if any."""

    after: Position | None = None
    types: list[str] = []


class LiveRowsParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Which rows to follow: those that change above position ``after``, or now on; of one key, if any."""

    after: Position | None = None
    key: str | None = None


def live_routes(api: Api) -> list[HTTPRouteHandler]:
    """The routes that do not end."""

    @get("/events/live", include_in_schema=False)
    async def follow_events(request: AnyRequest) -> EventStream:
        """Every event, as it is recorded."""
        wanted = parameters(LiveEventsParameters, request.scope)
        start = await _start(api, request, wanted.after)
        return EventStream(_events(api, start, names_of(wanted.types)))

    @get("/views/{view:str}/live", include_in_schema=False)
    async def follow_view(request: AnyRequest, view: FromPath[str]) -> EventStream:
        """Every row of a view that changes, once the view has it."""
        known = view_of(api, view)
        wanted = parameters(LiveRowsParameters, request.scope)
        only = None if wanted.key is None else key_value(known, wanted.key, strict=False)
        start = await _start(api, request, wanted.after)
        return EventStream(_rows(api, known, start, only))

    return [follow_events, follow_view]


async def _start(api: Api, request: AnyRequest, after: int | None) -> int:
    """Where to begin: after what a client that comes back saw last, else where it asks to, else now.

    A position beyond the log's end is one of another log, which was replaced by this one; then it is now,
    too.
    """
    seen = position_header(headers_of(request.scope), b"last-event-id")
    head = await api.running.position()
    wanted = after if seen is None else seen
    return head if wanted is None else min(wanted, head)


async def _events(api: Api, after: int, types: Collection[str] | None) -> AsyncGenerator[bytes, None]:
    store = api.running.store
    yield opening(after)
    sent = time.monotonic()
    while True:
        batch = await next_batch(store, after, types=types, limit=BATCH, poll=api.heartbeat)
        for event in batch.events:
            yield frame(event.type, encode(event_out(event)), event.position)
            sent = time.monotonic()
        after = max(after, batch.position)
        if time.monotonic() - sent >= api.heartbeat:
            yield heartbeat(after)
            sent = time.monotonic()


async def _rows(api: Api, view: ViewType[Any], after: int, only: Any) -> AsyncGenerator[bytes, None]:
    running, store = api.running, api.running.store
    yield opening(after)
    sent = time.monotonic()
    while True:
        batch = await next_batch(store, after, types=view.names, limit=BATCH, poll=api.heartbeat)
        # Keys in the order of their last change: whoever goes on after a position has missed no key up to it.
        touched: dict[Any, int] = {}
        for recorded in batch.events:
            event = running.app.codec.decode_event(recorded.type, recorded.schema_version, recorded.data)
            for key in () if event is None else view.keys_of(event):
                stored = view.key.stored(key)
                if only is None or stored == only:
                    touched.pop(stored, None)
                    touched[stored] = recorded.position
        if touched:
            changed = list(touched.items())
            while True:
                try:
                    await running.projections.wait([view.name], changed[-1][1], api.heartbeat)
                    break
                except ViewBehind:
                    yield heartbeat(after)
            rows = {row[0]: view.struct(row) for row in await store.load(view.table, list(touched))}
            for index, (key, position) in enumerate(changed):
                # Of several keys that one event changed, only the last may move the client on beyond that
                # event.
                last = index + 1 == len(changed) or changed[index + 1][1] > position
                row = rows.get(key)
                yield frame("deleted" if row is None else "row", encode(RowOut(key, row)), position if last else None)
            sent = time.monotonic()
        after = max(after, batch.position)
        if time.monotonic() - sent >= api.heartbeat:
            yield heartbeat(after)
            sent = time.monotonic()
