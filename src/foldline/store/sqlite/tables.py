"""The tables of projections: made, owned, checked for drift, and dropped with the checkpoint that goes with them."""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from foldline.errors import DefinitionError
from foldline.store.spi import Checkpoint, ProjectionSpec
from foldline.store.sqlite.columns import form, quote
from foldline.store.sqlite.gate import MARK, Gate, ours

_CHECKPOINTS = "SELECT projection, position, generation, fingerprint FROM foldline_checkpoints"
_CHECKPOINT = f"{_CHECKPOINTS} WHERE projection = ?"
_MINE = "SELECT position, generation, fingerprint, tables FROM foldline_checkpoints WHERE projection = ?"
_SCHEMA = "SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL"
_KEEP = (
    "INSERT INTO foldline_checkpoints VALUES (?, ?, ?, ?, ?) ON CONFLICT (projection) DO UPDATE SET"
    " position = excluded.position, generation = excluded.generation, fingerprint = excluded.fingerprint,"
    " tables = excluded.tables"
)
_ADVANCE = (
    "UPDATE foldline_checkpoints SET position = ?"
    " WHERE projection = ? AND position = ? AND generation = ? AND fingerprint = ?"
)
_decode = msgspec.json.Decoder(dict[str, str]).decode


def prepare(connection: apsw.Connection, gate: Gate, spec: ProjectionSpec, anew: bool) -> Checkpoint:
    """Make the projection's tables where they are missing, changed or to be made anew, and tell its checkpoint.

    What was made is remembered with the checkpoint, statement by statement; tables that are no longer like that have
    been changed by hand, so they are made again and filled from the start.
    """
    row = connection.execute(_MINE, (spec.name,)).fetchone()
    if row is None:
        generation, mine = 0, {}
    else:
        position, generation, fingerprint, kept = row
        mine = _decode(kept)
        if not anew and fingerprint == spec.fingerprint and mine.items() <= _schema(connection).items():
            return Checkpoint(spec.name, position, generation, fingerprint)
    _drop(connection, mine)
    made = _make(connection, gate, spec)
    checkpoint = Checkpoint(spec.name, 0, generation + 1, spec.fingerprint)
    connection.execute(
        _KEEP, (spec.name, 0, checkpoint.generation, spec.fingerprint, msgspec.json.encode(made).decode())
    )
    return checkpoint


def checkpoints(connection: apsw.Connection) -> dict[str, Checkpoint]:
    """All checkpoints, by projection."""
    return {row[0]: Checkpoint(*row) for row in connection.execute(_CHECKPOINTS)}


def checkpoint(connection: apsw.Connection, projection: str) -> Checkpoint | None:
    """A projection's checkpoint."""
    row = connection.execute(_CHECKPOINT, (projection,)).fetchone()
    return None if row is None else Checkpoint(*row)


def advance(connection: apsw.Connection, checkpoint: Checkpoint, position: int) -> bool:
    """Move a checkpoint on, unless it is no longer as it is given."""
    connection.execute(
        _ADVANCE,
        (position, checkpoint.projection, checkpoint.position, checkpoint.generation, checkpoint.fingerprint),
    )
    return connection.changes() == 1


def _schema(connection: apsw.Connection) -> dict[str, str]:
    return {name: sql for name, _, sql in connection.execute(_SCHEMA)}


def _drop(connection: apsw.Connection, names: Iterable[str]) -> None:
    kinds = {name: kind for name, kind, _ in connection.execute(_SCHEMA)}
    # Indexes and triggers go with their tables.
    for name in names:
        if kinds.get(name) in ("table", "view"):
            connection.execute(f"DROP {kinds[name].upper()} {quote(name)}")


def _make(connection: apsw.Connection, gate: Gate, spec: ProjectionSpec) -> dict[str, str]:
    before = _schema(connection)
    wanted = [*(table.name for table in spec.tables), *spec.owned]
    for name in wanted:
        _check_free(connection, spec, name, before)
    for table in spec.tables:
        for statement in form(table).definition():
            connection.execute(statement)
    with gate.narrowed():
        for statement in spec.setup:
            try:
                connection.execute(MARK + statement)
            except apsw.AuthError as error:
                raise DefinitionError(
                    f"The setup of projection {spec.name!r} may not do this: {gate.refused or error}."
                ) from error
            except (apsw.SQLError, apsw.ConstraintError) as error:
                raise DefinitionError(f"The setup of projection {spec.name!r} is no good SQL: {error}.") from error
    after = {name: (kind, sql) for name, kind, sql in connection.execute(_SCHEMA) if name not in before}
    folded = {name.lower() for name in wanted}
    for name, (kind, _) in after.items():
        if kind in ("table", "view") and name.lower() not in folded:
            raise DefinitionError(
                f"The setup of projection {spec.name!r} makes {name!r}, which its tables do not name."
            )
    for name in spec.owned:
        if name.lower() not in {made.lower() for made in after}:
            raise DefinitionError(f"The setup of projection {spec.name!r} does not make its table {name!r}.")
    return {name: sql for name, (_, sql) in after.items()}


def _check_free(connection: apsw.Connection, spec: ProjectionSpec, name: str, schema: dict[str, str]) -> None:
    if ours(name) or not name:
        raise DefinitionError(f"A view cannot be named {name!r}: names that start with foldline_ or sqlite_ are taken.")
    if name.lower() not in {known.lower() for known in schema}:
        return
    for projection, tables in connection.execute("SELECT projection, tables FROM foldline_checkpoints"):
        if projection != spec.name and name.lower() in {owned.lower() for owned in _decode(tables)}:
            raise DefinitionError(
                f"Projection {spec.name!r} wants a table {name!r}, which belongs to projection {projection!r}: "
                "give one of them another name."
            )
    raise DefinitionError(
        f"Projection {spec.name!r} wants a table {name!r}, and there is one that no projection made: "
        "rename it or give the view another name."
    )
