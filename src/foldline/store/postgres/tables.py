"""The tables of projections: made, owned, checked for drift, and dropped with the checkpoint that goes with them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import asyncpg
import msgspec
from asyncpg import exceptions as pg

from foldline.errors import DefinitionError, StoreError
from foldline.store.postgres.columns import check_name, form, quote
from foldline.store.postgres.connect import Connection
from foldline.store.postgres.errors import reason
from foldline.store.postgres.gate import ours, own_fault, refused_in_work
from foldline.store.spi import Checkpoint, ProjectionSpec

_CHECKPOINTS = "SELECT projection, position, generation, fingerprint FROM foldline_checkpoints"
_CHECKPOINT = f"{_CHECKPOINTS} WHERE projection = $1"
_MINE = "SELECT position, generation, fingerprint, tables::text FROM foldline_checkpoints WHERE projection = $1"
_HOLD = "SELECT FROM foldline_checkpoints WHERE projection = $1 FOR UPDATE"
_KEEP = (
    "INSERT INTO foldline_checkpoints (projection, position, generation, fingerprint, tables)"
    " VALUES ($1, 0, $2, $3, $4::text::json) ON CONFLICT (projection) DO UPDATE SET"
    " position = excluded.position, generation = excluded.generation, fingerprint = excluded.fingerprint,"
    " tables = excluded.tables"
)
_ADVANCE = (
    "UPDATE foldline_checkpoints SET position = $1"
    " WHERE projection = $2 AND position = $3 AND generation = $4 AND fingerprint = $5"
)

# "FV" and a number, in the half of the keys that the log's locks do not use: see foldline_enter().
_PREPARING = 0x4656 << 48 | 1
"""The advisory lock under which tables are made: by one process at a time, in all of the database."""

# What an object is like, in words that a dump and a restore, or a newer PostgreSQL, leave as they are: hence no text
# of expressions, defaults, checks or views, which PostgreSQL words anew, and names as JSON, for each version has other
# words that quote_ident() quotes. Extra indexes are others' business.
_SCHEMA = """
SELECT c.relname AS name, c.oid::bigint AS oid, c.relkind::text AS kind, c.relpersistence = 'p' AS lasting,
       CASE WHEN c.relkind IN ('i', 'I')
            THEN (SELECT concat_ws(' ', CASE WHEN i.indisunique THEN 'unique' END, 'on', to_json(o.relname), m.amname,
                                   string_agg(concat_ws(' ', coalesce(to_json(a.attname)::text, 'expression'),
                                                        k.option), ', ' ORDER BY k.place),
                                   CASE WHEN i.indpred IS NOT NULL THEN 'partial' END)
                  FROM pg_index AS i
                  JOIN pg_class AS o ON o.oid = i.indrelid
                  JOIN pg_am AS m ON m.oid = c.relam
                  CROSS JOIN LATERAL unnest(i.indkey, i.indoption) WITH ORDINALITY AS k (number, option, place)
                  LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number <> 0
                  WHERE i.indexrelid = c.oid
                  GROUP BY i.indexrelid, o.relname, m.amname)
            ELSE (SELECT string_agg(concat_ws(' ', to_json(a.attname), format_type(a.atttypid, a.atttypmod),
                                              'collate ' || to_json(l.collname),
                                              CASE WHEN a.attnotnull THEN 'not null' END,
                                              'generated ' || nullif(a.attgenerated::text, ''),
                                              'identity ' || nullif(a.attidentity::text, '')),
                                    ', ' ORDER BY a.attnum)
                  FROM pg_attribute AS a
                  LEFT JOIN pg_type AS t ON t.oid = a.atttypid
                  LEFT JOIN pg_collation AS l ON l.oid = a.attcollation AND a.attcollation <> t.typcollation
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
       END AS shape,
       c.xmin = pg_current_xact_id()::xid AS made_here
FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'i', 'I', 'S')
UNION ALL
SELECT 'trigger ' || to_json(g.tgname) || ' on ' || to_json(c.relname), g.oid::bigint, 'trigger', true,
       CASE WHEN g.tgenabled = 'D' THEN 'disabled' ELSE 'enabled' END, g.xmin = pg_current_xact_id()::xid
FROM pg_trigger AS g
JOIN pg_class AS c ON c.oid = g.tgrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT g.tgisinternal
"""
_TABLES = frozenset("rpf")
_VIEWS = {"v": "VIEW", "m": "MATERIALIZED VIEW"}
_LACKS = "The role that the store was opened with lacks a right: {} ({})."
_decode = msgspec.json.Decoder(dict[str, str]).decode


class _Object(NamedTuple):
    """A table, view, index, sequence or trigger as it is in the schema."""

    name: str
    oid: int
    kind: str
    lasting: bool
    shape: str | None
    made_here: bool

    @property
    def said(self) -> str:
        """What it is like, to be remembered."""
        return f"{self.kind}: {self.shape}"


async def prepare(connection: Connection, spec: ProjectionSpec, anew: bool) -> Checkpoint:
    """Make the projection's tables where they are missing, changed or to be made anew, and tell its checkpoint.

    To be called in a READ COMMITTED transaction, so that who had to wait for another process sees what that one made.
    What was made is remembered with the checkpoint, object by object; tables that are no longer like that have been
    changed by hand, so they are made again and filled from the start.
    """
    _check_spec(spec)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _PREPARING)
    row = await connection.fetchrow(_MINE, spec.name)
    generation, mine = 0, dict[str, str]()
    if row is not None:
        position, generation, fingerprint, kept = row
        mine = _decode(kept)
        if not anew and fingerprint == spec.fingerprint:
            said = {name: found.said for name, found in (await _schema(connection)).items()}
            if mine.items() <= said.items():
                return Checkpoint(spec.name, position, generation, fingerprint)
    # The checkpoint's lock before the tables', in the order in which a projection takes them.
    await connection.execute(_HOLD, spec.name)
    await _drop(connection, spec, mine)
    made = await _make(connection, spec)
    checkpoint = Checkpoint(spec.name, 0, generation + 1, spec.fingerprint)
    try:
        await connection.execute(
            _KEEP, spec.name, checkpoint.generation, spec.fingerprint, msgspec.json.encode(made).decode()
        )
    except pg.InsufficientPrivilegeError as error:
        raise StoreError(_LACKS.format("INSERT and UPDATE on table foldline_checkpoints", reason(error))) from error
    return checkpoint


async def checkpoints(connection: Connection) -> dict[str, Checkpoint]:
    """All checkpoints, by projection."""
    return {row[0]: Checkpoint(*row) for row in await connection.fetch(_CHECKPOINTS)}


async def checkpoint(connection: Connection, projection: str) -> Checkpoint | None:
    """A projection's checkpoint."""
    row = await connection.fetchrow(_CHECKPOINT, projection) if _is_text(projection) else None
    return None if row is None else Checkpoint(*row)


async def advance(connection: Connection, checkpoint: Checkpoint, position: int) -> bool:
    """Move a checkpoint on, unless it is no longer as it is given."""
    projection, before, generation, fingerprint = checkpoint
    if not (_is_text(projection) and _is_text(fingerprint)):
        return False
    moved = await connection.execute(_ADVANCE, position, projection, before, generation, fingerprint)
    return moved == "UPDATE 1"


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _check_spec(spec: ProjectionSpec) -> None:
    for what in (spec.name, spec.fingerprint):
        if not _is_text(what):
            raise DefinitionError(f"A projection cannot be kept under {what!r}.")
    for table in spec.tables:
        form(table)
    for name in spec.owned:
        if ours(name):
            raise DefinitionError(f"A view cannot be named {name!r}: names that start with foldline_ or pg_ are taken.")
        check_name("A table", name)


async def _schema(connection: Connection) -> dict[str, _Object]:
    """All that there is in the schema where our tables are made."""
    return {row[0]: _Object(*row) for row in await connection.fetch(_SCHEMA)}


async def _drop(connection: Connection, spec: ProjectionSpec, names: Collection[str]) -> None:
    if not names:
        return
    found = [one for name, one in (await _schema(connection)).items() if name in names]
    # What was made later may stand on what was made before. Indexes, triggers and columns' sequences go by themselves.
    found.sort(key=lambda one: one.oid, reverse=True)
    statements = [f"DROP {_VIEWS[one.kind]} {quote(one.name)}" for one in found if one.kind in _VIEWS]
    if tables := ", ".join(quote(one.name) for one in found if one.kind in _TABLES):
        statements.append(f"DROP TABLE {tables}")
    statements += [f"DROP SEQUENCE IF EXISTS {quote(one.name)}" for one in found if one.kind == "S"]
    for statement in statements:
        try:
            await connection.execute(statement)
        except pg.DependentObjectsStillExistError as error:
            said = " ".join(f"{error.detail or reason(error)}".split())
            raise StoreError(
                f"The tables of projection {spec.name!r} cannot be made anew, because something that no projection "
                f"made stands on them ({said}): drop that first, and make it again afterwards."
            ) from error
        except pg.InsufficientPrivilegeError as error:
            raise StoreError(
                _LACKS.format(
                    f"to own the tables of projection {spec.name!r}, which are to be made anew", reason(error)
                )
            ) from error


async def _make(connection: Connection, spec: ProjectionSpec) -> dict[str, str]:
    before = await _schema(connection)
    wanted = [*(table.name for table in spec.tables), *spec.owned]
    for name in wanted:
        await _check_free(connection, spec, name, before)
    try:
        for table in spec.tables:
            for statement in form(table).definition():
                await connection.execute(statement)
    except (pg.InsufficientPrivilegeError, pg.InvalidSchemaNameError) as error:
        raise StoreError(_LACKS.format("CREATE on the schema for views' tables", reason(error))) from error
    except pg.PostgresError as error:
        if not own_fault(error):
            raise
        raise DefinitionError(f"The tables of projection {spec.name!r} cannot be made: {reason(error)}.") from error
    for statement in spec.setup:
        await _set_up(connection, spec, statement)
    after = {name: one for name, one in (await _schema(connection)).items() if one.made_here and name not in before}
    folded = {name.lower() for name in wanted}
    for name, one in after.items():
        if one.kind not in (*_TABLES, *_VIEWS):
            continue
        if name.lower() not in folded:
            raise DefinitionError(
                f"The setup of projection {spec.name!r} makes {name!r}, which its tables do not name."
            )
        if not one.lasting:
            raise DefinitionError(
                f"The setup of projection {spec.name!r} makes {name!r} UNLOGGED: a crash would empty it and leave the "
                "checkpoint where it is, so leave that word out."
            )
    for name in spec.owned:
        if name.lower() not in {made.lower() for made in after}:
            raise DefinitionError(f"The setup of projection {spec.name!r} does not make its table {name!r}.")
    return {name: one.said for name, one in after.items()}


async def _set_up(connection: Connection, spec: ProjectionSpec, statement: str) -> None:
    refused = refused_in_work(statement)
    if refused is not None:
        raise DefinitionError(f"The setup of projection {spec.name!r} may not do this: {refused}.")
    try:
        # Prepared, for then PostgreSQL takes one statement and no more; without a name, for it is used once.
        prepared = await connection.prepare(statement, name="")
        await prepared.fetch()
    except pg.InsufficientPrivilegeError as error:
        raise StoreError(_LACKS.format(f"what the setup of projection {spec.name!r} needs", reason(error))) from error
    except asyncpg.PostgresError as error:
        if not own_fault(error):
            raise
        raise DefinitionError(f"The setup of projection {spec.name!r} is no good SQL: {reason(error)}.") from error
    except asyncpg.InterfaceError as error:
        if connection.is_closed():
            raise
        raise DefinitionError(f"The setup of projection {spec.name!r} is no good SQL: {reason(error)}.") from error


async def _check_free(connection: Connection, spec: ProjectionSpec, name: str, schema: Collection[str]) -> None:
    if name.lower() not in {known.lower() for known in schema}:
        return
    for projection, tables in await connection.fetch("SELECT projection, tables::text FROM foldline_checkpoints"):
        if projection != spec.name and name.lower() in {owned.lower() for owned in _decode(tables)}:
            raise DefinitionError(
                f"Projection {spec.name!r} wants a table {name!r}, which belongs to projection {projection!r}: "
                "give one of them another name."
            )
    raise DefinitionError(
        f"Projection {spec.name!r} wants a table {name!r}, and there is one that no projection made: "
        "rename it or give the view another name."
    )
