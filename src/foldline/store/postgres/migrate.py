"""Brings a database's schema to the newest migration, and refuses one whose history is not ours."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.resources import files
from typing import NamedTuple

import asyncpg
from asyncpg import exceptions as pg

from foldline.errors import CannotOpen, StoreTooNew
from foldline.store.postgres.errors import cannot_open, not_a_store, reason

_LOCK = "SELECT pg_advisory_xact_lock(17996, 0)"  # groups of streams have the numbers from 1 on
_RECORD = "INSERT INTO foldline_migrations (number, name, checksum) VALUES ($1, $2, $3)"
_APPLIED = "SELECT number, name, checksum FROM foldline_migrations ORDER BY number"
_TABLES = (
    "SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
)


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
    for file in files("foldline.store.postgres.migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            # Git may have turned line ends to CRLF on checkout, which changes nothing.
            raw = file.read_bytes().replace(b"\r\n", b"\n")
            found.append(Migration(int(match[1]), match[2], raw.decode(), hashlib.sha256(raw).hexdigest()))
    return tuple(sorted(found))


def script() -> str:
    """All migrations as one text for psql, for those who run their own; each is a transaction, and records itself."""
    parts = ["\\set ON_ERROR_STOP on\n"]
    for number, name, sql, checksum in migrations():
        # The names of files and digests, which are ours, are all that stands between quotes.
        record = f"INSERT INTO foldline_migrations (number, name, checksum) VALUES ({number}, '{name}', '{checksum}');"  # nosec B608
        parts.append(f"-- Migration {number:04d}_{name}\nBEGIN;\n{_LOCK};\n\n{sql}\n{record}\nCOMMIT;\n")
    return "\n".join(parts)


async def pending(connection: asyncpg.Connection[asyncpg.Record], where: str) -> list[Migration] | None:
    """The migrations that are still to be applied; None where there is nothing of ours yet.

    Raises StoreTooNew where a newer Foldline migrated the database, NotAStore where something else has our tables'
    names, and CannotOpen where what was applied is not what this Foldline has.
    """
    if await connection.fetchval("SELECT to_regclass('foldline_migrations')") is None:
        if await connection.fetchval("SELECT to_regclass('foldline_events')") is not None:
            raise not_a_store(where, "it has a table foldline_events, but no foldline_migrations.")
        return None
    try:
        applied = [tuple(row) for row in await connection.fetch(_APPLIED)]
    except (pg.UndefinedColumnError, pg.WrongObjectTypeError):
        raise not_a_store(where, "its table foldline_migrations is another program's.") from None
    except pg.InsufficientPrivilegeError as error:
        raise CannotOpen(f"The role may not read {where}: {reason(error)}.") from error
    known = [(one.number, one.name, one.checksum) for one in migrations()]
    if applied and applied[-1][0] > known[-1][0]:
        raise StoreTooNew(
            f"{where} was migrated by a newer Foldline (its schema is {applied[-1][0]}, this one knows "
            f"{known[-1][0]}): upgrade Foldline."
        )
    if not applied:
        raise not_a_store(where, "its table foldline_migrations is empty.")
    for mine, theirs in zip(known, applied, strict=False):
        if mine != theirs:
            raise CannotOpen(
                f"{where} was made by migration {theirs[0]:04d}_{theirs[1]} where this Foldline has "
                f"{mine[0]:04d}_{mine[1]}, or with another content: use the Foldline that made it."
            )
    return list(migrations()[len(applied) :])


async def is_empty(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether the schema that we would go to has no tables."""
    return bool(await connection.fetchval(_TABLES) == 0)


async def migrate(connection: asyncpg.Connection[asyncpg.Record], where: str) -> list[Migration]:
    """Apply what is missing, each migration in a transaction of its own, and return it.

    Several processes may do this at once: they stand in line, and all but the first find nothing to do. Raises what
    `pending` raises, and CannotOpen where the role may not make tables.
    """
    done: list[Migration] = []
    try:
        while True:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(_LOCK)
                # Read under the lock: another process may have done it meanwhile.
                due = await pending(connection, where)
                if due is None:
                    due = list(migrations())
                if not due:
                    return done
                await connection.execute(due[0].sql)
                await connection.execute(_RECORD, *due[0][:2], due[0].checksum)
            done.append(due[0])
    except pg.InsufficientPrivilegeError as error:
        raise CannotOpen(
            f"The role may not make Foldline's tables in {where} ({reason(error)}): "
            "run foldline migrate with a role that may."
        ) from error
    except pg.InvalidSchemaNameError as error:
        raise CannotOpen(f"{where} has no schema for tables to be made in: {reason(error)}.") from error
    except pg.DuplicateObjectError as error:
        raise not_a_store(where, f"something of another program has a name of ours: {reason(error)}.") from error
    except pg.PostgresError as error:
        raise cannot_open(error, where) from error
