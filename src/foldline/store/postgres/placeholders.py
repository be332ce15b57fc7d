"""Placeholders: SQL with ``?`` or ``:name`` in it, written as PostgreSQL wants it, with ``$1`` and so on.

PostgreSQL has operators that are question marks: where one is meant, it is written twice (``data ?? 'key'``, ``??|``).
SQL is taken apart as PostgreSQL does it where ``standard_conforming_strings`` is on, which nobody should turn off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

Sort: TypeAlias = Literal["space", "text", "name", "number", "numbered", "named", "mark", "escaped", "sign"]

_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\n\r\f\v]+ | --[^\n\r]* )
    | (?P<comment> /\* )                                              # these nest: see _comment_end
    | (?P<text> [eE]'[^'\\]*(?:(?:''|\\.)[^'\\]*)*(?:'|\Z)            # with escapes
              | '[^']*(?:''[^']*)*(?:'|\Z)
              # quoted by dollars
              | \$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?)\$.*?(?:\$(?P=tag)\$|\Z) )
    | (?P<numbered> \$\d+ )
    | (?P<name> "[^"]*(?:""[^"]*)*(?:"|\Z) | [A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]* )
    | (?P<number> \d[\w.]* )
    | (?P<escaped> \?\? )
    | (?P<mark> \? )
    | (?P<cast> ::|:= )
    | (?P<named> :[^\W\d]\w* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_DELIMITER = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """A piece of SQL, and what sort of piece it is."""

    sort: Sort
    text: str


class Translated(NamedTuple):
    """SQL with numbered parameters, and what they stand for: so many in order, or these names."""

    sql: str
    size: int
    names: tuple[str, ...] = ()


def tokens(text: str) -> Iterator[Token]:
    """The pieces of which SQL consists, all of them: put together they are the text."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:  # never: any character is a sign
            return
        sort = found.lastgroup
        end = found.end()
        if sort == "comment":
            sort, end = "space", _comment_end(text, at)
        elif sort == "cast":
            sort = "sign"
        yield Token(sort, text[at:end])  # type: ignore[arg-type]
        at = end


@lru_cache(maxsize=1024)
def positional(text: str) -> Translated:
    """SQL with ``?`` parameters; raises ValueError where it has PostgreSQL's own as well."""
    parts: list[str] = []
    count = 0
    for sort, piece in tokens(text):
        if sort == "mark":
            count += 1
            parts.append(f"${count}")
        else:
            parts.append(_piece(sort, piece))
    return Translated("".join(parts), count)


@lru_cache(maxsize=1024)
def named(text: str) -> Translated:
    """SQL with ``:name`` parameters; raises ValueError where it has PostgreSQL's own as well."""
    parts: list[str] = []
    numbers: dict[str, int] = {}
    for sort, piece in tokens(text):
        if sort == "named":
            # One number for one name, so that one place where its type can be told tells it for all.
            parts.append(f"${numbers.setdefault(piece[1:], len(numbers) + 1)}")
        else:
            parts.append(_piece(sort, piece))
    return Translated("".join(parts), len(numbers), tuple(numbers))


def _piece(sort: Sort, piece: str) -> str:
    if sort == "numbered":
        raise ValueError(f"parameters are written ? here, not {piece}")
    return "?" if sort == "escaped" else piece


def _comment_end(text: str, begin: int) -> int:
    depth = 0
    for found in _DELIMITER.finditer(text, begin):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)
