"""Opens the file: every check before anything is written to it, then the settings that the guarantees rest on."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from foldline.errors import CannotOpen, NotAStore, StoreReadOnly
from foldline.store.sqlite.migrate import Migration, check_history, check_ours, migrate

OLDEST_SQLITE = (3, 51, 3)
"""Older libraries may corrupt a WAL database when two connections reset its log at once."""

WAL_PAGES = 4_000
"""Pages in the write-ahead log (16 MB) at which the commit that adds the last of them moves them into the database."""

WAL_BYTES = 64 * 1024 * 1024
"""What a write-ahead log that grew beyond it, behind a long reader, is cut back to."""


def open_writer(path: str, *, synchronous: str, busy_timeout: float, now: Callable[[], int]) -> apsw.Connection:
    """The one connection that writes, to a file that exists now and has the newest schema.

    Raises CannotOpen, NotAStore, StoreTooNew or StoreReadOnly, each naming the file and the reason.
    """
    return _open(path, synchronous, busy_timeout, now)[0]


def migrate_file(path: str, *, busy_timeout: float, now: Callable[[], int]) -> list[Migration]:
    """Bring a file to the newest schema, making it where it is missing, and tell what was applied; raises the same."""
    connection, applied = _open(path, "FULL", busy_timeout, now)
    connection.close(True)
    return applied


def _open(
    path: str, synchronous: str, busy_timeout: float, now: Callable[[], int]
) -> tuple[apsw.Connection, list[Migration]]:
    _check_library()
    _check_path(path)
    connection = _connect(path, busy_timeout)
    try:
        try:
            check_ours(connection, path)
            _use_wal(connection, path, busy_timeout)
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if synchronous == 'NORMAL' else 'FULL'}")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}").fetchall()
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}").fetchall()
            applied = migrate(connection, path, now())
            check_history(connection, path)
        except apsw.Error as error:
            raise _reason(error, path) from error
    except BaseException:
        connection.close(True)
        raise
    return connection, applied


def open_reader(path: str, *, busy_timeout: float) -> apsw.Connection:
    """A connection that cannot write, to a file that open_writer has found good."""
    try:
        connection = _connect(path, busy_timeout)
        connection.execute("PRAGMA query_only = on")
        connection.execute("PRAGMA cache_size = -16384")
    except apsw.Error as error:
        raise _reason(error, path) from error
    return connection


def _check_library() -> None:
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        raise CannotOpen(
            f"This apsw brings SQLite {version}, which can corrupt a store: "
            f"upgrade apsw to one with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer."
        )


def _check_path(path: str) -> None:
    parent = Path(path).parent
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        if not parent.is_dir():
            raise CannotOpen(f"{path} cannot be opened: there is no directory {parent}.") from None
        if not os.access(parent, os.W_OK | os.X_OK):
            raise CannotOpen(f"{path} cannot be made: the directory {parent} cannot be written.") from None
        return
    except (OSError, ValueError) as error:
        raise CannotOpen(f"{path!r} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(mode):
        raise CannotOpen(f"{path} is a directory: name a file in it.")
    if not stat.S_ISREG(mode):
        raise CannotOpen(f"{path} is not a regular file.")
    if not os.access(path, os.R_OK):
        raise CannotOpen(f"{path} cannot be read: its permissions do not allow it.")
    if not os.access(path, os.W_OK):
        raise StoreReadOnly(f"{path} cannot be written: the file, or its file system, is read-only.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StoreReadOnly(f"{path} cannot be written: SQLite keeps files beside it, and {parent} is read-only.")


def _connect(path: str, busy_timeout: float) -> apsw.Connection:
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    except apsw.Error as error:
        raise _reason(error, path) from error
    if connection.readonly("main"):
        connection.close(True)
        raise StoreReadOnly(f"{path} cannot be written: the file, or its file system, is read-only.")
    connection.set_busy_timeout(round(busy_timeout * 1000))
    # Waiting in steps of a millisecond, where SQLite's own handler would sleep for up to 100 between two looks.
    connection.setlk_timeout(round(busy_timeout * 1000), 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    # "x" is never the text 'x': a misspelt column is an error and not a constant.
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    return connection


def _use_wal(connection: apsw.Connection, path: str, busy_timeout: float) -> None:
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").get
        except apsw.BusyError:
            # Two processes that switch a new file at once deadlock on its lock, and SQLite tells both at once.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
            continue
        if mode != "wal":
            raise CannotOpen(f"{path} cannot be opened: its file system does not support a write-ahead log.")
        return


def _reason(error: apsw.Error, path: str) -> CannotOpen | StoreReadOnly:
    said = f"{error}".partition("\n")[0]
    if isinstance(error, (apsw.NotADBError, apsw.CorruptError)):
        return NotAStore(f"{path} is not a SQLite database, or is damaged ({said}).")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreReadOnly(f"{path} cannot be written ({said}).")
    if isinstance(error, apsw.BusyError):
        return CannotOpen(f"{path} cannot be opened: another process held it for too long ({said}).")
    return CannotOpen(f"{path} cannot be opened: {said}.")
