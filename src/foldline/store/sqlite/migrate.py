"""Brings a file's schema to the newest migration, and refuses one whose history is not ours."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.resources import files
from typing import NamedTuple

import apsw

from foldline.errors import CannotOpen, NotAStore, StoreTooNew

APPLICATION_ID = 0x464F4C44
"""Marks a file as Foldline's: the letters FOLD."""


class Migration(NamedTuple):
    """A numbered step of the schema and the digest of its file."""

    number: int
    name: str
    sql: str
    checksum: str


@functools.cache
def migrations() -> tuple[Migration, ...]:
    """All migrations, in order."""
    found = []
    for file in files("foldline.store.sqlite.migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            # Git may have turned line ends to CRLF on checkout, which changes nothing.
            raw = file.read_bytes().replace(b"\r\n", b"\n")
            found.append(Migration(int(match[1]), match[2], raw.decode(), hashlib.sha256(raw).hexdigest()))
    return tuple(sorted(found))


def check_ours(connection: apsw.Connection, path: str) -> int:
    """The number of the file's newest migration, 0 for an empty file; it changes nothing.

    Raises NotAStore for a database that is not Foldline's and StoreTooNew for one that a newer Foldline migrated.
    """
    connection.execute("BEGIN")  # all three in one snapshot: another process may be making the store just now
    try:
        application_id = connection.execute("PRAGMA application_id").get
        version: int = connection.execute("PRAGMA user_version").get
        objects = connection.execute("SELECT count(*) FROM sqlite_schema").get
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if application_id != APPLICATION_ID and (application_id or version or objects):
        raise NotAStore(f"{path} is a SQLite database, but not a Foldline store: name another file.")
    newest = migrations()[-1].number
    if version > newest:
        raise StoreTooNew(
            f"{path} was written by a newer Foldline (its schema is {version}, this one knows {newest}): "
            "upgrade Foldline."
        )
    return version


def migrate(connection: apsw.Connection, path: str, now: int) -> list[Migration]:
    """Apply what is missing, each migration in a transaction of its own, and tell what that was.

    ``now`` is in microseconds. Several processes may do this at once: each migration is applied by whoever gets the
    write lock first.
    """
    applied: list[Migration] = []
    for migration in migrations():
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read inside the transaction that may apply it: another process may have done so meanwhile.
            if connection.execute("PRAGMA user_version").get < migration.number:
                connection.execute(migration.sql)
                connection.execute(
                    "INSERT INTO foldline_migrations VALUES (?, ?, ?, ?)",
                    (migration.number, migration.name, migration.checksum, now),
                )
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {migration.number}")
                applied.append(migration)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return applied


def script() -> str:
    """All migrations as SQL that makes a store of an empty file, as ``sqlite3 FILE < SCRIPT`` runs it."""
    return "\n".join(["PRAGMA journal_mode = WAL;\n", *map(_scripted, migrations())])


def _scripted(migration: Migration) -> str:
    number, name, sql, checksum = migration
    return (
        f"-- Migration {number:04d}_{name}\n\nBEGIN IMMEDIATE;\n\n{sql.strip()}\n\n"
        f"INSERT INTO foldline_migrations VALUES ({number}, '{name}', '{checksum}', "  # nosec B608
        "strftime('%s', 'now') * 1000000);\n"
        f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\n\nCOMMIT;\n"
    )


def check_history(connection: apsw.Connection, path: str) -> None:
    """Raise CannotOpen where a migration was applied with another content than this Foldline's."""
    applied = connection.execute("SELECT number, name, checksum FROM foldline_migrations ORDER BY number").fetchall()
    known = [(migration.number, migration.name, migration.checksum) for migration in migrations()]
    for (number, name, checksum), ours in zip(applied, known, strict=False):
        if (number, name, checksum) != ours:
            raise CannotOpen(
                f"{path} was made by migration {number:04d}_{name} with another content than this Foldline's: "
                "use the Foldline that made it."
            )
    if len(applied) != len(known):
        raise CannotOpen(
            f"{path} records {len(applied)} migrations where {len(known)} are due: it was changed by hand."
        )
