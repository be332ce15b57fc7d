"""Reads requests strictly: what cannot be understood is told with its place, never guessed at or dropped."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote

from litestar.types import Receive, Scope

from foldline.domain.message import check_id
from foldline.errors import Fault, ValidationFailed
from foldline.http.problems import BadHeader, BodyTooLarge, CrossSite, NotJson

MAX_POSITION = 2**63 - 1
MOST_PARAMETERS = 200


class ClientGone(Exception):
    """The client went away before it had sent its request; there is nobody to answer."""


# --- Address ------------------------------------------------------------------------------------------------


def pairs_of(scope: Scope) -> list[tuple[str, str]]:
    """The query string's names and values, in order; raises ValidationFailed for what is no UTF-8."""
    query = scope["query_string"]
    if not query:
        return []
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except UnicodeDecodeError:
        raise ValidationFailed("The query string", [Fault("$", "It is not percent-encoded UTF-8")]) from None
    except ValueError:
        raise ValidationFailed(
            "The query string", [Fault("$", f"It has more than {MOST_PARAMETERS} parameters")]
        ) from None


def tail_of(scope: Scope, marker: str) -> str:
    """What follows a marker such as ``/streams/`` in the path, decoded once.

    An id may hold slashes, encoded or not, doubled or last, which the router's view of the path no longer
    shows.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return scope["path"].partition(marker)[2]
    path = raw.partition(b"?")[0].decode("latin-1")
    path = path.removeprefix(quote(scope.get("root_path", "")))
    try:
        return unquote(path.partition(marker)[2], errors="strict")
    except UnicodeDecodeError:
        raise ValidationFailed("The path", [Fault("$", "It is not percent-encoded UTF-8")]) from None


# --- Headers ------------------------------------------------------------------------------------------------


def text_header(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    """A header's value as text that can be kept as an id, or None; raises ValidationFailed."""
    value = headers.get(name)
    if value is None:
        return None
    shown = name.decode().title()
    try:
        return check_id(f"The header {shown}", value.decode())
    except UnicodeDecodeError:
        raise ValidationFailed(f"The header {shown}", [Fault("$", "It is not UTF-8")]) from None


def command_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The ``Idempotency-Key``, or None; it may stand in quotes, as its specification wants."""
    key = text_header(headers, b"idempotency-key")
    if key is not None and len(key) > 2 and key[0] == key[-1] == '"':
        return key[1:-1]
    return key


def version_of(headers: Mapping[bytes, bytes]) -> int | None:
    """The version that ``If-Match`` asks for; raises BadHeader for what names no single version."""
    value = headers.get(b"if-match")
    if value is None:
        return None
    digits = value[1:-1]
    if len(value) > 2 and value[:1] == value[-1:] == b'"' and digits.isdigit() and len(digits) < 19:
        return int(digits)
    shown = value[:80].decode("ascii", "backslashreplace")
    if value == b"*":
        raise BadHeader('If-Match: * names no version. Send the version you saw, as in If-Match: "3", or leave it out.')
    raise BadHeader(f'If-Match: {shown} names no version. Send one strong tag with a number, as in If-Match: "3".')


def position_header(headers: Mapping[bytes, bytes], name: bytes) -> int | None:
    """A header that holds a position, or None; raises BadHeader."""
    value = headers.get(name)
    if value is None:
        return None
    if value.isdigit() and len(value) < 20 and (position := int(value)) <= MAX_POSITION:
        return position
    shown = value[:80].decode("ascii", "backslashreplace")
    raise BadHeader(f"{name.decode().title()}: {shown} is no position: send a number, as Foldline-Position has it.")


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The request's headers by lower-case name; the last one wins."""
    return dict(scope["headers"])


def check_site(headers: Mapping[bytes, bytes], origins: frozenset[bytes]) -> None:
    """Raise CrossSite for a request that a browser sends on behalf of another site's page.

    Browsers say where a request comes from, and scripts cannot change it; other clients say nothing and pass.
    """
    origin = headers.get(b"origin")
    site = headers.get(b"sec-fetch-site")
    if (origin is None and site is None) or site in (b"same-origin", b"none") or origin in origins:
        return
    if origin is not None and origin.partition(b"://")[2] == headers.get(b"host"):
        return
    shown = (origin or b"another site").decode("latin-1")
    raise CrossSite(f"A page of {shown:.200} may not send commands here: name its origin in asgi(..., origins=...).")


# --- Body ---------------------------------------------------------------------------------------------------


async def body_of(headers: Mapping[bytes, bytes], receive: Receive, most: int) -> bytes:
    """The request's whole body, declared to be JSON or nothing; raises NotJson, BodyTooLarge, ClientGone."""
    kind = headers.get(b"content-type")
    if kind is not None and kind != b"application/json":
        _check_json_type(kind.decode("latin-1"))
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise NotJson("The body is compressed, which this server does not read: send it plain.")
    declared = headers.get(b"content-length", b"0")
    if len(declared) > 18 or not declared.isdigit() or int(declared) > most:
        raise _too_large(most)
    message = await receive()
    body = bytearray()
    while message["type"] == "http.request":
        chunk: bytes = message["body"]
        if not message["more_body"]:
            # The usual body comes in one piece.
            if len(body) + len(chunk) > most:
                raise _too_large(most)
            return bytes(body) + chunk if body else chunk
        body += chunk
        if len(body) > most:
            raise _too_large(most)
        message = await receive()
    raise ClientGone


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body may have {most:,} bytes at most.")


def _check_json_type(declared: str) -> None:
    media_type, _, rest = declared.partition(";")
    media_type = media_type.strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise NotJson(f"The body is declared as {media_type or 'nothing'!s:.80}: send application/json.")
    for parameter in rest.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            raise NotJson(f"The body is declared to be in {value:.80}: JSON is UTF-8.")
