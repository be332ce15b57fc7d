"""The description of an application's API: OpenAPI 3.1, with the schema of every message, made by msgspec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from foldline.app import App
from foldline.command.receipt import Receipt
from foldline.errors import (
    CodecError,
    CommandIdReused,
    Conflict,
    Forbidden,
    ProjectionHalted,
    Rejected,
    StoreBusy,
    StoreFull,
    StoreUnavailable,
    UnknownName,
    ValidationFailed,
    ViewBehind,
)
from foldline.http.live import LiveEventsParameters, LiveRowsParameters
from foldline.http.parameters import fields_of, is_sequence, takes_only_structures
from foldline.http.problems import MEDIA_TYPE as PROBLEM
from foldline.http.problems import BadHeader, BodyTooLarge, NotJson, VersionMismatch, problem_of
from foldline.http.reads import EventsParameters, PageParameters, StreamParameters
from foldline.http.wire import EventsOut, HealthOut, ProblemOut, ProjectionsOut, RowOut, StreamOut
from foldline.projection.filters import operators
from foldline.projection.query import Page
from foldline.projection.view import ViewType
from foldline.store.spi import Kind, Op

Json = dict[str, Any]

_JSON = "application/json"
_REF = "#/components/schemas/{name}"
_READ_ERRORS = (ValidationFailed, BadHeader, Forbidden, UnknownName, CodecError, ViewBehind, ProjectionHalted)
_COMMAND_ERRORS = (
    BadHeader,
    Forbidden,
    UnknownName,
    Rejected,
    Conflict,
    VersionMismatch,
    BodyTooLarge,
    NotJson,
    ValidationFailed,
    CommandIdReused,
    CodecError,
    StoreBusy,
    StoreUnavailable,
    StoreFull,
)


def describe_api(app: App, wait: float, max_body: int) -> Json:
    """The OpenAPI document, without its servers."""
    return _Describer(app, wait, max_body).document()


class _Describer:
    def __init__(self, app: App, wait: float, max_body: int) -> None:
        self._app = app
        self._wait = wait
        self._max_body = max_body
        self._queries = {name: answering.query for name, answering in app.queries.items()}
        self._answers = {name: answering.returns for name, answering in app.queries.items()}
        described = [
            *(Receipt, StreamOut, EventsOut, RowOut, ProjectionsOut, HealthOut, ProblemOut),
            *(StreamParameters, EventsParameters, PageParameters, LiveEventsParameters, LiveRowsParameters),
            *app.commands.values(),
            *app.events.values(),
            *self._queries.values(),
            *self._answers.values(),
            *(view.cls for view in app.views.values()),
            *(Page[view.cls] for view in app.views.values()),  # type: ignore[name-defined]
        ]
        known = [one for one in described if _can_be_described(one)]
        found, self._schemas = msgspec.json.schema_components(known, ref_template=_REF)
        self._references = list(zip(known, found, strict=True))

    def document(self) -> Json:
        """All of it."""
        paths: Json = {}
        for name, command in self._app.commands.items():
            paths[f"/commands/{_in_path(name)}"] = {"post": self._command(name, command)}
        for name, query in self._queries.items():
            paths[f"/queries/{_in_path(name)}"] = {"get": self._query(name, query)}
        for view in self._app.views.values():
            paths[f"/views/{view.name}"] = {"get": self._list(view)}
            paths[f"/views/{view.name}/{{key}}"] = {"get": self._row(view)}
            paths[f"/views/{view.name}/live"] = {"get": self._live_rows(view)}
        paths.update(self._log())
        for unused in (
            StreamParameters,
            EventsParameters,
            PageParameters,
            LiveEventsParameters,
            LiveRowsParameters,
        ):
            self._schemas.pop(unused.__name__, None)
        return {
            "openapi": "3.1.0",
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "info": {
                "title": self._app.name,
                "version": "1",
                "description": "Commands, queries and views of an event-sourced application, and its log of events.",
            },
            "tags": [{"name": name} for name in ("commands", "queries", "views", "log", "operations")],
            "paths": paths,
            "components": {
                "schemas": self._schemas,
                "responses": {
                    "Problem": {
                        "description": "A problem, as RFC 9457 has it.",
                        "content": {PROBLEM: {"schema": self._ref(ProblemOut)}},
                    }
                },
            },
        }

    # --- Operations -----------------------------------------------------------------------------------------

    def _command(self, name: str, command: type[Any]) -> Json:
        receipt = _answer("The receipt: its events are durable.", self._ref(Receipt))
        receipt["headers"] = {
            "Foldline-Position": {"schema": {"type": "integer"}, "description": "For Foldline-After."},
            "ETag": {"schema": {"type": "string"}, "description": "The version, for If-Match."},
            "Correlation-Id": {"schema": {"type": "string"}},
        }
        headers = [
            _header("Idempotency-Key", "The command id: sent again, the command is not carried out again.", 512),
            _header("If-Match", 'The version that you saw, as in "3".', pattern='^"[0-9]{1,18}"$'),
            _header("Correlation-Id", "What the events belong to.", 512),
        ]
        return {
            "operationId": f"command-{name}",
            "tags": ["commands"],
            "summary": _summary(command, name),
            "parameters": headers,
            "requestBody": {"required": True, "content": {_JSON: {"schema": self._ref(command)}}},
            "responses": {"200": receipt, **_problems(_COMMAND_ERRORS)},
        }

    def _query(self, name: str, query: type[Any]) -> Json:
        return {
            "operationId": f"query-{name}",
            "tags": ["queries"],
            "summary": _summary(query, name),
            "parameters": [*self._parameters(query), self._after()],
            "responses": {
                "200": _answer("The answer.", self._ref(self._answers.get(name))),
                **_problems(_READ_ERRORS),
            },
        }

    def _list(self, view: ViewType[Any]) -> Json:
        row = self._properties(view.cls)
        filters = []
        for column in view.columns:
            for op in operators(column):
                schema = row.get(column.name, {})
                if op is Op.NULL:
                    schema = {"type": "boolean"}
                elif op is Op.IN:
                    schema = {"type": "array", "items": _without_null(schema), "maxItems": 1000}
                elif op is not Op.EQ and op is not Op.NE and column.kind is Kind.TEXT:
                    schema = {"type": "string"}
                name = column.name if op is Op.EQ else f"{column.name}__{op.value}"
                filters.append(_parameter(name, _without_null(schema)))
        return {
            "operationId": f"list-{view.name}",
            "tags": ["views"],
            "summary": f"A page of {view.name}",
            "parameters": [*self._parameters(PageParameters), *filters, self._after()],
            "responses": {
                "200": _answer("Rows, and the next page's cursor.", self._ref(Page[view.cls])),  # type: ignore[name-defined]
                **_problems(_READ_ERRORS),
            },
        }

    def _row(self, view: ViewType[Any]) -> Json:
        key = {
            "name": "key",
            "in": "path",
            "required": True,
            "schema": self._properties(view.cls)[view.key.name],
        }
        return {
            "operationId": f"get-{view.name}",
            "tags": ["views"],
            "summary": f"One row of {view.name}",
            "parameters": [key, self._after()],
            "responses": {"200": _answer("The row.", self._ref(view.cls)), **_problems(_READ_ERRORS)},
        }

    def _live_rows(self, view: ViewType[Any]) -> Json:
        return {
            "operationId": f"follow-{view.name}",
            "tags": ["views"],
            "summary": f"Rows of {view.name} as they change",
            "description": "Server-sent events named row or deleted, with a position as id, and {key, row} as data.",
            "parameters": [*self._parameters(LiveRowsParameters), _LAST_EVENT_ID],
            "responses": {"200": _STREAM, **_problems(_READ_ERRORS)},
        }

    def _log(self) -> Json:
        stream = {
            "name": "stream",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }
        errors = (ValidationFailed, BadHeader, UnknownName, CodecError)
        return {
            "/streams/{stream}": {
                "get": {
                    "operationId": "read-stream",
                    "tags": ["log"],
                    "summary": "Part of a stream",
                    "parameters": [stream, *self._parameters(StreamParameters)],
                    "responses": {"200": _answer("Events.", self._ref(StreamOut)), **_problems(errors)},
                }
            },
            "/events": {
                "get": {
                    "operationId": "read-events",
                    "tags": ["log"],
                    "summary": "Part of the log",
                    "parameters": self._parameters(EventsParameters),
                    "responses": {"200": _answer("Events.", self._ref(EventsOut)), **_problems(errors)},
                }
            },
            "/events/live": {
                "get": {
                    "operationId": "follow-events",
                    "tags": ["log"],
                    "summary": "Events as they are recorded",
                    "description": "Server-sent events named as the event's type, with its position as id.",
                    "parameters": [*self._parameters(LiveEventsParameters), _LAST_EVENT_ID],
                    "responses": {"200": _STREAM, **_problems(errors)},
                }
            },
            "/projections": {
                "get": {
                    "operationId": "list-projections",
                    "tags": ["operations"],
                    "summary": "How far each projection has come",
                    "responses": {"200": _answer("All of them.", self._ref(ProjectionsOut)), **_problems(())},
                }
            },
            "/health": {
                "get": {
                    "operationId": "tell-health",
                    "tags": ["operations"],
                    "summary": "Whether the application is open and its store answers",
                    "responses": {"200": _answer("It is.", self._ref(HealthOut)), **_problems(())},
                }
            },
        }

    # --- Parts ----------------------------------------------------------------------------------------------

    def _ref(self, type_: Any) -> Any:
        """The schema of a type: a reference, its schema in place, or anything where msgspec cannot tell."""
        return next((schema for one, schema in self._references if one is type_ or one == type_), {})

    def _resolved(self, type_: Any) -> Json:
        schema: Json = self._ref(type_)
        name = schema.get("$ref", "").rpartition("/")[2]
        found: Json = self._schemas.get(name, schema)
        return found

    def _properties(self, type_: Any) -> Json:
        found: Json = self._resolved(type_).get("properties", {})
        return found

    def _parameters(self, type_: type[msgspec.Struct]) -> list[Json]:
        """A struct's fields as query parameters."""
        shapes = fields_of(type_)
        required = self._resolved(type_).get("required", ())
        parameters = []
        for name, schema in self._properties(type_).items():
            schema = _without_null(schema)
            parameter = _parameter(name, schema)
            if not is_sequence(shapes[name]) and takes_only_structures(shapes[name]):
                parameter = {"name": name, "in": "query", "content": {_JSON: {"schema": schema}}}
            parameter["required"] = name in required
            parameters.append(parameter)
        return parameters

    def _after(self) -> Json:
        return _header(
            "Foldline-After",
            f"A position that the answer must have reached; it waits for it, at most {self._wait:g} seconds.",
            pattern="^[0-9]{1,18}$",
        )


_STREAM: Json = {
    "description": "Server-sent events, without an end.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def _header(name: str, description: str, most: int | None = None, pattern: str | None = None) -> Json:
    schema: Json = {"type": "string"}
    if most is not None:
        schema |= {"minLength": 1, "maxLength": most}
    if pattern is not None:
        schema |= {"pattern": pattern}
    return {"name": name, "in": "header", "description": description, "schema": schema}


_LAST_EVENT_ID: Json = _header(
    "Last-Event-ID", "The last position that was received: go on after it.", pattern="^[0-9]{1,18}$"
)


def _parameter(name: str, schema: Any) -> Json:
    style: Json = {"style": "form", "explode": False} if name.endswith("__in") else {}
    return {"name": name, "in": "query", "schema": schema, **style}


def _answer(description: str, schema: Any) -> Json:
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _problems(errors: Iterable[type[Exception]]) -> Json:
    """A response for each status that these errors have, and for whatever else may happen."""
    reference = {"$ref": "#/components/responses/Problem"}
    statuses = sorted({str(problem_of(error).status) for error in errors})
    return {**dict.fromkeys(statuses, reference), "default": reference}


def _summary(message: type[Any], name: str) -> str:
    # msgspec gives a struct without a docstring its signature for one.
    text = (message.__doc__ or "").strip()
    return name if not text or text.startswith(f"{message.__name__}(") else text.partition("\n")[0]


def _in_path(name: str) -> str:
    return quote(name, safe="")


def _without_null(schema: Mapping[str, Any]) -> Json:
    """A schema without null among its alternatives, for text in an address is never null."""
    found = dict(schema)
    if found.get("default", 0) is None:
        del found["default"]
    if "anyOf" in found:
        members = [one for one in found["anyOf"] if one != {"type": "null"}]
        if len(members) == 1:
            del found["anyOf"]
            found |= members[0]
        else:
            found["anyOf"] = members
    return found


def _can_be_described(type_: Any) -> bool:
    try:
        msgspec.json.schema(type_)
    except (TypeError, NameError, RecursionError):
        # A query may be answered with a type that only the application can write as JSON.
        return False
    return True
