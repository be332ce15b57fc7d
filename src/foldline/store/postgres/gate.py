"""Keeps other people's SQL within bounds, as far as its text tells, and says which failures are its own fault.

What is enforced by whom: that recorded events stay as they are is PostgreSQL's doing (triggers on ``foldline_events``),
as is that sql() writes nothing (a transaction that only reads) and that a call is one statement (asyncpg's protocol).
That a statement neither ends its transaction, nor changes its session, nor writes a table of Foldline's is told here
by its words. That catches mistakes and not malice: nobody looks into the body of a function or of a DO block. A role
that may do no more than it must is the wall behind this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from asyncpg import exceptions as pg

from foldline.store.postgres.placeholders import Token, tokens

_READS = frozenset({"select", "with", "values", "table", "explain", "show"})
_ROWS = frozenset({"insert", "update", "delete", "merge"})
_SCHEMA = frozenset(
    {
        "alter", "analyze", "call", "comment", "create", "do", "drop", "grant", "lock", "refresh", "reindex", "revoke",
        "truncate",
    }
)  # fmt: skip
_BESIDES = frozenset({"only", "table", "from"})

# Classes of SQLSTATE: what a statement says or is given, and not how the server or another transaction is.
_OWN_FAULTS = frozenset(
    {
        "09", "0A", "0L", "0P", "0Z", "20", "21", "22", "23", "27", "2B", "2D", "2F", "34", "38", "39", "3B", "3F",
        "42", "44", "54", "P0",
    }
)  # fmt: skip


def ours(name: str) -> bool:
    """Whether a name in the schema is one that only Foldline or PostgreSQL may use."""
    return name.lower().startswith(("foldline_", "pg_"))


def own_fault(error: pg.PostgresError) -> bool:
    """Whether a statement failed for what it says or is given, and would do so again."""
    if isinstance(error, pg.InvalidCachedStatementError):
        return False
    state = error.sqlstate or ""
    return state[:2] in _OWN_FAULTS or state == "55000"


def given_badly(error: pg.PostgresError) -> bool:
    """Whether asyncpg refused a parameter before anything was sent, so that the transaction is as it was."""
    return isinstance(error, pg.DataError) and getattr(error, "severity", None) is None


def untyped(error: pg.PostgresError) -> bool:
    """Whether PostgreSQL could not tell which type a parameter is to have."""
    return isinstance(error, (pg.IndeterminateDatatypeError, pg.AmbiguousParameterError))


@lru_cache(maxsize=1024)
def refused_in_work(text: str) -> str | None:
    """Why a statement may not run in a read model's transaction, if it may not."""
    words, first = _words(text)
    if first not in _READS | _ROWS | _SCHEMA:
        return first.upper() or "no statement at all"
    return _refused(words, first)


@lru_cache(maxsize=1024)
def refused_in_reading(text: str) -> str | None:
    """Why a statement may not run where nothing may be written, if it may not."""
    words, first = _words(text)
    if first not in _READS:
        return first.upper() or "no statement at all"
    return _refused(words, first)


def _words(text: str) -> tuple[list[Token], str]:
    words = [token for token in tokens(text) if token.sort != "space"]
    while words and words[-1].text == ";":
        words.pop()
    first = next((token.text.lower() for token in words if token.text != "("), "")
    return words, first


def _refused(words: Sequence[Token], first: str) -> str | None:
    if any(token.text == ";" for token in words) and not _has_body(words):
        return "more than one statement"
    for place, token in enumerate(words):
        if token.sort != "name" or not _name(token).startswith("foldline_"):
            continue
        after = words[place + 1].text if place + 1 < len(words) else ""
        if _writes(words, place, first, after):
            return f"{first.upper()} of {_name(token)}"
        if after == "(":
            return f"{_name(token)}()"
    return None


def _has_body(words: Sequence[Token]) -> bool:
    """Whether semicolons may stand within a statement: CREATE FUNCTION … BEGIN ATOMIC …; … END."""
    return words[0].text.lower() == "create" and any(token.text.lower() == "atomic" for token in words)


def _writes(words: Sequence[Token], place: int, first: str, after: str) -> bool:
    """Whether the name at a place is that of a table which the statement changes."""
    place -= 1
    while place >= 1 and words[place].text == ".":
        place -= 2  # past the schema's name
    before = words[place].text.lower() if place >= 0 else ""
    if first in _SCHEMA:
        # Whatever is made, changed or dropped; but a view may be made that reads, and name columns in full.
        return not (first == "create" and (before in ("from", "join") or after == "."))
    begin = place
    while begin > 0 and words[begin].text.lower() in _BESIDES:
        begin -= 1
    told = [word.text.lower() for word in words[begin : place + 1]]
    return told[:1] == ["into"] or told[:1] == ["update"] or told[:2] == ["delete", "from"]


def _name(token: Token) -> str:
    text = token.text
    return text[1:-1].replace('""', '"').lower() if text.startswith('"') else text.lower()
