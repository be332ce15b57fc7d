"""What went wrong, as HTTP says it: RFC 9457 problem details, and the one table of status codes.

A problem's ``type`` is ``urn:foldline:problem:<slug>``; slugs are stable, titles and details may be reworded.
What programs need is in the members of its own that a problem has, such as ``faults``, ``code`` or
``actual``.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
)

from foldline.errors import (
    CodecError,
    CommandIdReused,
    Conflict,
    EventIdReused,
    FoldlineError,
    Forbidden,
    OutcomeUnknown,
    ProjectionHalted,
    Rejected,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    UnknownName,
    Unsupported,
    ValidationFailed,
    ViewBehind,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:foldline:problem:"

logger = logging.getLogger("foldline.http")


class BadHeader(FoldlineError):
    """A request header is malformed."""


class BodyTooLarge(FoldlineError):
    """The request's body is larger than this server takes."""


class NotJson(FoldlineError):
    """The request's body is declared to be something other than JSON in UTF-8."""


class VersionMismatch(Conflict):
    """The stream is not at the version that ``If-Match`` names."""


class CrossSite(Forbidden):
    """A page of another site may not send commands here."""


class WrongHost(FoldlineError):
    """The request is for a host that this server does not serve."""


class Problem(NamedTuple):
    """How a kind of error is told: its status, the end of its type, its title and the members of its own.

    ``retry_after`` is in seconds. ``detail`` replaces the error's text where that may tell more than a client
    should know. ``logged`` errors are the server's fault: they get an instance id under which the log has the
    whole story.
    """

    status: int
    slug: str
    title: str
    members: Mapping[str, Callable[[Any], Any]] = {}
    retry_after: int | None = None
    detail: str | None = None
    logged: bool = False


_CONFLICT: Mapping[str, Callable[[Any], Any]] = {
    "stream": lambda error: error.stream_id,
    "actual": lambda error: error.actual,
}
_SEE_LOG = "Something is wrong in the server; its log says what, under this problem's instance."

TABLE: Mapping[type[Exception], Problem] = {
    ValidationFailed: Problem(
        422,
        "validation-failed",
        "The request does not fit its schema",
        {"faults": lambda error: [{"path": path, "message": message} for path, message in error.faults]},
    ),
    Rejected: Problem(
        409,
        "rejected",
        "A business rule said no",
        {"code": lambda error: error.code, "details": lambda error: error.details},
    ),
    Conflict: Problem(409, "conflict", "The stream has moved on", _CONFLICT),
    VersionMismatch: Problem(412, "version-mismatch", "The stream is not at the version of If-Match", _CONFLICT),
    CommandIdReused: Problem(
        422,
        "command-id-reused",
        "The Idempotency-Key was used for another command",
        {"command_id": lambda error: error.command_id},
    ),
    Forbidden: Problem(403, "forbidden", "This is not allowed"),
    UnknownName: Problem(
        404,
        "unknown-name",
        "There is no such thing",
        {"kind": lambda error: error.kind, "name": lambda error: error.name},
    ),
    ViewBehind: Problem(
        503,
        "view-behind",
        "The view has not come that far yet",
        {
            "view": lambda error: error.view,
            "position": lambda error: error.position,
            "wanted": lambda error: error.wanted,
        },
        retry_after=1,
    ),
    ProjectionHalted: Problem(
        503,
        "projection-halted",
        "The view has stopped",
        {"view": lambda error: error.projection, "position": lambda error: error.position},
        detail="The view stopped at an event that its code cannot handle; until mended, it shows no more.",
    ),
    # What a store says of these is for whoever runs it, and may name its place.
    StoreBusy: Problem(
        503,
        "store-busy",
        "The store is busy",
        retry_after=1,
        detail="Others held the store for too long; nothing was kept. Send it again in a moment.",
    ),
    StoreUnavailable: Problem(
        503,
        "store-unavailable",
        "The database cannot be reached",
        retry_after=1,
        detail="The database cannot be reached; nothing was kept. Send it again in a moment.",
    ),
    StoreFull: Problem(
        507, "store-full", "The store is full", detail="No room is left; nothing was kept. Send it again when there is."
    ),
    StoreReadOnly: Problem(
        503, "store-read-only", "The store cannot be written", detail="The store cannot be written; nothing was kept."
    ),
    StoreClosed: Problem(503, "store-closed", "The application is closed or closing", retry_after=5),
    OutcomeUnknown: Problem(
        503,
        "outcome-unknown",
        "The store cannot tell whether the command was carried out",
        retry_after=1,
        detail="Send the command again with the same Idempotency-Key: it is carried out once.",
    ),
    EventIdReused: Problem(409, "event-id-reused", "An event id is recorded already"),
    Unsupported: Problem(501, "unsupported", "The store cannot do this"),
    BadHeader: Problem(400, "bad-header", "A request header is malformed"),
    BodyTooLarge: Problem(413, "body-too-large", "The request's body is too large"),
    NotJson: Problem(415, "not-json", "The request's body is not JSON"),
    CrossSite: Problem(403, "cross-site", "This came from a page of another site"),
    WrongHost: Problem(421, "wrong-host", "This server does not serve that host"),
    NotFoundException: Problem(
        404,
        "not-found",
        "There is nothing at this address",
        detail="What there is, is told at / and at /openapi.json.",
    ),
    MethodNotAllowedException: Problem(405, "method-not-allowed", "This address does not take that method"),
    ClientException: Problem(400, "bad-request", "The request cannot be understood"),
    CodecError: Problem(
        500,
        "codec-error",
        "Something stored cannot be read, or something to be stored cannot be written",
        detail=_SEE_LOG,
        logged=True,
    ),
    StoreError: Problem(500, "store-error", "The store failed", detail=_SEE_LOG, logged=True),
    Exception: Problem(500, "internal-error", "Something is wrong in the server", detail=_SEE_LOG, logged=True),
}
"""What each class of errors, and all classes derived from it, is told as."""


def problem_of(kind: type[Exception]) -> Problem:
    """The table's entry for a class of errors: its own, or that of the nearest class above it."""
    return next(TABLE[one] for one in kind.__mro__ if one in TABLE)


def describe(error: Exception) -> tuple[Problem, bytes]:
    """An error's entry in the table and its problem document; logs what is the server's own fault."""
    problem = problem_of(type(error))
    if isinstance(error, HTTPException) and type(error) not in TABLE:
        # A page of the user's raised it, and its status is the user's choice.
        problem = Problem(error.status_code, "http", "The request was refused", logged=error.status_code >= 500)
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.slug,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail or _text(error),
    }
    if problem.logged:
        document["instance"] = uuid.uuid4().urn
        logger.error("%s %s", problem.slug, document["instance"], exc_info=error)
    document.update({name: get(error) for name, get in problem.members.items()})
    return problem, _encode(document)


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The response for an error that any handler raised."""
    problem, body = describe(error)
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if isinstance(error, BodyTooLarge):
        # What is still on its way need not be read.
        headers["Connection"] = "close"
    if isinstance(error, HTTPException) and error.headers:
        headers.update({name.title(): value for name, value in error.headers.items()})
    return Response(body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def _text(error: Exception) -> str:
    return error.detail if isinstance(error, HTTPException) else str(error)


def _encode(document: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(document, enc_hook=str)
    except (TypeError, ValueError, RecursionError):
        # A rejection's details may hold anything; what JSON cannot say is told as Python shows it, in ASCII.
        return msgspec.json.encode({name: _plain(value) for name, value in document.items()})


def _plain(value: Any) -> Any:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return ascii(value)
    return value
