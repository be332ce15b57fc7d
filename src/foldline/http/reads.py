"""The reading routes: queries, views, streams, the log, projections, health."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from foldline.domain.codec import encode
from foldline.domain.message import check_id
from foldline.errors import Fault, UnknownName, ValidationFailed
from foldline.http.api import Api
from foldline.http.parameters import Position, from_text, parameters
from foldline.http.requests import MAX_POSITION, headers_of, pairs_of, position_header, tail_of
from foldline.http.wire import EventsOut, HealthOut, ProjectionOut, ProjectionsOut, StreamOut, event_out
from foldline.projection.query import Views
from foldline.projection.runtime import read_status
from foldline.projection.view import ViewType

AnyRequest = Request[Any, Any, Any]

MOST_ROWS = 1000
MOST_EVENTS = 1000

_reads = partial(route, http_method=["GET", "HEAD"], include_in_schema=False)

Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST_EVENTS)]


class StreamParameters(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """Which part of a stream: versions from ``from`` on, at most ``limit``; downwards when ``backwards``."""

    start: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)] | None = None
    limit: Limit = 100
    backwards: bool = False


class EventsParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of the log: at most ``limit`` events above position ``after``, of these types if any are
    named.

    ``types`` may be repeated, or hold several names with commas between.
    """

    after: Position = 0
    types: list[str] = []
    limit: Limit = 100


class PageParameters(msgspec.Struct):
    """How a view's rows are sorted and paged. ``sort`` holds fields with commas between, ``-`` before
    descending ones.

    ``cursor`` is the ``next`` of the page before.
    """

    sort: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)] = 50
    cursor: str | None = None


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """A route that takes no parameters."""


def read_routes(api: Api) -> list[HTTPRouteHandler]:
    """The routes that answer questions."""

    @_reads("/queries/{name:str}")
    async def ask_query(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        """The answer to a query, whose fields are the parameters."""
        known = api.app.queries.get(name)
        if known is None:
            raise UnknownName("query", name, list(api.app.queries))
        query = from_text(name, known.query, pairs_of(request.scope))
        after = _after(request)
        actor = await api.actor_of(request)
        return _json(await api.running.ask(query, after=after, timeout=api.wait, actor=actor))

    @_reads("/views/{view:str}")
    async def browse_view(request: AnyRequest, view: FromPath[str]) -> Response[bytes]:
        """A page of a view's rows that fit the filters."""
        known = view_of(api, view)
        filters, paging = split_filters(pairs_of(request.scope))
        page = from_text("The query string", PageParameters, paging)
        try:
            rows = await _views(api, request).browse(
                known.cls,
                filters,
                order_by=page.sort or None,
                after=page.cursor,
                limit=page.limit,
                strict=False,
            )
        except ValidationFailed as error:
            raise _as_parameters(error, filters) from None
        return _json(rows)

    @_reads("/views/{view:str}/{key:path}")
    async def get_row(request: AnyRequest, view: FromPath[str]) -> Response[bytes]:
        """One row of a view."""
        known = view_of(api, view)
        parameters(NoParameters, request.scope)
        key = tail_of(request.scope, f"/views/{view}/")
        row = await _views(api, request).get(known.cls, key, strict=False)
        if row is None:
            raise UnknownName(f"row of view {view}", key)
        return _json(row)

    @_reads(["/streams", "/streams/{stream:path}"])
    async def read_stream(request: AnyRequest) -> Response[bytes]:
        """Part of a stream's events."""
        wanted = parameters(StreamParameters, request.scope)
        stream = check_id("The stream's id", tail_of(request.scope, "/streams/"))
        store = api.running.store
        last = await store.read_stream(stream, limit=1, backwards=True)
        if not last:
            raise UnknownName("stream", stream)
        if wanted.backwards:
            events = await store.read_stream(stream, upto=wanted.start, limit=wanted.limit, backwards=True)
            more = bool(events) and events[-1].version > 1
        else:
            events = await store.read_stream(stream, after=(wanted.start or 1) - 1, limit=wanted.limit)
            more = bool(events) and events[-1].version < last[0].version
        following = None
        if more:
            following = events[-1].version + (-1 if wanted.backwards else 1)
        version = max([last[0].version, *(event.version for event in events)])
        body = StreamOut(stream, version, [event_out(event) for event in events], following)
        return _json(body, headers={"ETag": f'"{version}"'})

    @_reads("/events")
    async def read_events(request: AnyRequest) -> Response[bytes]:
        """Part of the log."""
        wanted = parameters(EventsParameters, request.scope)
        batch = await api.running.store.read_all(after=wanted.after, limit=wanted.limit, types=names_of(wanted.types))
        following = batch.position if len(batch.events) == wanted.limit else None
        return _json(EventsOut([event_out(event) for event in batch.events], batch.position, following))

    @_reads("/projections")
    async def list_projections(request: AnyRequest) -> Response[bytes]:
        """How far each projection has come."""
        parameters(NoParameters, request.scope)
        running = api.running
        found = running.projections.status() or await read_status(
            running.store, running.store, api.app.projections.values()
        )
        return _json(ProjectionsOut([ProjectionOut(*one) for one in found]))

    @_reads("/health")
    async def tell_health(request: AnyRequest) -> Response[bytes]:
        """Whether the application is open and its store answers."""
        parameters(NoParameters, request.scope)
        return _json(HealthOut("ok", await api.running.position()))

    return [ask_query, browse_view, get_row, read_stream, read_events, list_projections, tell_health]


def split_filters(pairs: list[tuple[str, str]]) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """The filters of a list's parameters, and the others. Raises ValidationFailed for a filter given twice.

    Only ``__in`` may be: then each of its values is taken as it is, and else commas stand between them.
    """
    filters: dict[str, object] = {}
    others: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in PageParameters.__struct_fields__:
            others.append((name, value))
        elif name not in filters:
            filters[name] = value
        elif name.endswith("__in"):
            before = filters[name]
            filters[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            raise ValidationFailed("The query string", [Fault(f"$.{name}", "It is given more than once")])
    return filters, others


def _as_parameters(error: ValidationFailed, filters: dict[str, object]) -> ValidationFailed:
    """An error of `Views.browse` in the request's words, ``sort`` and ``cursor``."""
    names = {"$.order_by": "$.sort", "$.after": "$.cursor"}
    faults = [Fault(path if path[2:] in filters else names.get(path, path), message) for path, message in error.faults]
    return ValidationFailed(error.subject, faults)


def view_of(api: Api, name: str) -> ViewType[Any]:
    """The view of that name; raises UnknownName."""
    views = api.app.views
    if name not in views:
        raise UnknownName("view", name, list(views))
    return views[name]


def names_of(types: list[str]) -> frozenset[str] | None:
    """Type names given one by one or with commas between; None for all types.

    A text with commas is also taken as one name, for the types of imported events may hold commas. Raises
    ValidationFailed for what can be no type's name.
    """
    if not types:
        return None
    names = {name.strip() for text in types for name in text.split(",")} - {""}
    return frozenset(check_id("An event type", name) for name in {*types, *names} - {""})


def _after(request: AnyRequest) -> int | None:
    return position_header(headers_of(request.scope), b"foldline-after")


def _views(api: Api, request: AnyRequest) -> Views:
    after = _after(request)
    return api.running.views if after is None else api.running.views_after(after, api.wait)


def _json(value: object, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(
        encode(value), media_type="application/json", headers={"Cache-Control": "no-store", **(headers or {})}
    )
