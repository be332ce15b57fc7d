"""Keeps other people's SQL away from what is Foldline's own.

SQLite asks the gate about every action while it prepares a statement, and never while it runs one, so it costs the
prepared statements of the append path nothing. Statements of ours and of theirs never share a prepared one, since
theirs carry a mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

MARK = "-- foldline: view\n"
"""Goes before every statement that is not Foldline's own."""

_READS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE})
_ROWS = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
# The argument of the action that names what is made, changed or dropped; a trigger and an index name their table, too.
_SCHEMA = {
    apsw.SQLITE_CREATE_TABLE: (0,),
    apsw.SQLITE_CREATE_VIEW: (0,),
    apsw.SQLITE_CREATE_INDEX: (0, 1),
    apsw.SQLITE_CREATE_TRIGGER: (0, 1),
    apsw.SQLITE_CREATE_VTABLE: (0,),
    apsw.SQLITE_DROP_TABLE: (0,),
    apsw.SQLITE_DROP_VIEW: (0,),
    apsw.SQLITE_DROP_INDEX: (0, 1),
    apsw.SQLITE_DROP_TRIGGER: (0, 1),
    apsw.SQLITE_DROP_VTABLE: (0,),
    apsw.SQLITE_ALTER_TABLE: (1,),
    apsw.SQLITE_REINDEX: (0,),
    apsw.SQLITE_ANALYZE: (0,),
}
_PRAGMAS = frozenset(
    {
        "compile_options", "foreign_key_list", "function_list", "index_info", "index_list", "index_xinfo",
        "page_count", "page_size", "table_info", "table_list", "table_xinfo", "user_version",
    }
)  # fmt: skip


def ours(name: str | None) -> bool:
    """Whether a name in the schema is one that only Foldline or SQLite may use."""
    # An index that SQLite makes for a key belongs to its table.
    lowered = (name or "").lower()
    return lowered.startswith(("foldline_", "sqlite_")) and not lowered.startswith("sqlite_autoindex_")


class Gate:
    """A connection's authorizer: open to Foldline, and narrow while somebody else's SQL is prepared."""

    def __init__(self, connection: apsw.Connection, *, reading: bool) -> None:
        self._narrow = False
        self._reading = reading
        self.refused: str | None = None
        connection.authorizer = self._ask

    @contextmanager
    def narrowed(self, narrow: bool = True) -> Iterator[None]:
        """Narrow (or, within that, open) the gate for a while."""
        before = self._narrow
        self._narrow = narrow
        self.refused = None
        try:
            yield
        finally:
            self._narrow = before

    def _ask(self, action: int, first: str | None, second: str | None, database: str | None, cause: str | None) -> int:
        if not self._narrow or self._allows(action, first, second, database):
            return apsw.SQLITE_OK
        self.refused = _describe(action, first, second)
        return apsw.SQLITE_DENY

    def _allows(self, action: int, first: str | None, second: str | None, database: str | None) -> bool:
        if action in _READS:
            return True
        if action == apsw.SQLITE_PRAGMA:
            # Those that set something take it as their argument; of these, that is what they tell about.
            return first is not None and first.lower() in _PRAGMAS and (first != "user_version" or second is None)
        if self._reading:
            return False
        if action in _ROWS:
            # SQLite's own tables are written by the making of others, and refuse any other writing by themselves.
            return first is not None and not first.lower().startswith("foldline_")
        if action in _SCHEMA:
            names = (first, second)
            return database != "temp" and not any(ours(names[place]) for place in _SCHEMA[action])
        return False


def _describe(action: int, first: str | None, second: str | None) -> str:
    name = apsw.mapping_authorizer_function[action]
    words = str(name).removeprefix("SQLITE_").replace("_", " ")
    return " ".join([words, *(part for part in (first, second) if part)])
