"""What SQLite complains of, as Foldline's typed errors."""

from __future__ import annotations

import errno

import apsw

from foldline.errors import (
    CodecError,
    FoldlineError,
    OutcomeUnknown,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

BREAKING: tuple[type[apsw.Error], ...] = (
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.InterruptError,
    apsw.ConnectionClosedError,
)
"""Errors that are about the database as a whole and not about the one statement that met them."""


def translate(error: apsw.Error, connection: apsw.Connection | None, path: str) -> FoldlineError:
    """The typed error for something that failed before its COMMIT was sent, so that nothing of it was kept."""
    said = f"{error}".partition("\n")[0]
    if isinstance(error, apsw.FullError) or _no_room(error, connection):
        return StoreFull(f"No room is left for {path}: nothing was kept. Make room and try again ({said}).")
    if isinstance(error, (apsw.BusyError, apsw.LockedError, apsw.ProtocolError)):
        return StoreBusy(f"Another process held {path} for too long: nothing was kept. Try again ({said}).")
    if isinstance(error, (apsw.ReadOnlyError, apsw.PermissionsError)):
        return StoreReadOnly(f"{path} cannot be written ({said}).")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreError(f"{path} is damaged: restore it from a backup ({said}).")
    if isinstance(error, apsw.TooBigError):
        return CodecError(f"A value is too large for {path} ({said}).")
    return StoreError(f"{path} could not do what was asked: {said}.")


def translate_commit(error: apsw.Error, connection: apsw.Connection | None, path: str) -> FoldlineError:
    """The typed error for a COMMIT that failed.

    A write-ahead log that could not be written has no commit frame, so nothing was kept. Where it was written but
    could not be synced, SQLite takes it back, yet a crash before the next commit would bring it to life: unknown.
    """
    detail: int | None = getattr(error, "extendedresult", None)
    if isinstance(error, apsw.IOError) and not (detail == apsw.SQLITE_IOERR_WRITE and _no_room(error, connection)):
        return OutcomeUnknown(
            f"{path} failed while committing, so it is not known whether this was kept: "
            f"retry it with the same event ids ({error})."
        )
    return translate(error, connection, path)


def _no_room(error: apsw.Error, connection: apsw.Connection | None) -> bool:
    # A quota or a size limit is met as an I/O error; only errno tells it from a broken disk.
    return isinstance(error, apsw.IOError) and connection is not None and connection.system_errno in _NO_ROOM
