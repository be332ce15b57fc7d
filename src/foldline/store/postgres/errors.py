"""What PostgreSQL says, as typed errors: told apart by SQLSTATE, never by the text of a message."""

from __future__ import annotations

import asyncio
import ssl

import asyncpg
from asyncpg import exceptions as pg

from foldline.errors import (
    CannotOpen,
    FoldlineError,
    NotAStore,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

LOST = (
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    pg.PostgresConnectionError,  # class 08
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.CannotConnectNowError,
    pg.IdleSessionTimeoutError,
    pg.IdleInTransactionSessionTimeoutError,
    pg.TransactionTimeoutError,
    pg.ReadOnlySQLTransactionError,  # the server became a standby: the primary is elsewhere now
    pg.TargetServerAttributeNotMatched,
    pg.InternalClientError,
    asyncpg.InterfaceError,
)
"""The connection is gone, or of no more use: what was under way may be done or not, and another may be well."""

TRANSIENT = (pg.DeadlockDetectedError, pg.SerializationError, pg.InvalidCachedStatementError)
"""The transaction was rolled back for no fault of its own: doing it again may go well."""

ERRORS = (*LOST, pg.PostgresError)
"""Everything that a database call may raise which is not a mistake of the program."""


def translate(error: BaseException, where: str) -> FoldlineError:
    """The error for a statement that failed at a server (its URL without a password); nothing of it was kept."""
    said = reason(error)
    match error:
        case FoldlineError():
            return error
        case pg.DiskFullError() | pg.OutOfMemoryError() | pg.ConfigurationLimitExceededError():
            return StoreFull(f"{where} has no room left; nothing was kept: {said}. Make room and try again.")
        case pg.ReadOnlySQLTransactionError() | pg.TargetServerAttributeNotMatched():
            return StoreReadOnly(f"{where} cannot be written: it is a standby, or set to read only ({said}).")
        case pg.QueryCanceledError() | pg.LockNotAvailableError():
            return StoreBusy(f"{where} did not finish in time; nothing was kept: {said}. Try again.")
        case pg.DeadlockDetectedError() | pg.SerializationError():
            return StoreBusy(f"{where} is written by others at the same place; nothing was kept: {said}. Try again.")
        case TimeoutError():
            return StoreUnavailable(f"{where} did not answer in time; nothing was kept. Try again.")
        case pg.TooManyConnectionsError():
            return StoreBusy(f"{where} takes no more connections: {said}. Try again, or lower ?pool_size=.")
        case pg.InsufficientPrivilegeError():
            return StoreError(f"The role that {where} was opened with lacks a right: {said}.")
        case pg.UndefinedTableError() | pg.UndefinedFunctionError() | pg.UndefinedObjectError():
            return StoreError(f"{where} lacks something of Foldline's: {said}. Run foldline migrate.")
        case pg.PostgresError() if not isinstance(error, LOST):
            return StoreError(f"{where} refused: {said} (SQLSTATE {error.sqlstate}).")
    return StoreUnavailable(f"{where} cannot be reached; nothing was kept: {said}. Try again.")


def cannot_open(error: BaseException, where: str) -> CannotOpen:
    """The error for a database that cannot be connected to, with what is to be done about it."""
    said = reason(error)
    match error:
        case CannotOpen():
            return error
        case pg.InvalidAuthorizationSpecificationError():  # a wrong password is a kind of it
            return CannotOpen(f"{where} refuses the role or its password: {said}.")
        case pg.InvalidCatalogNameError():
            return CannotOpen(f"There is no such database: {where}. Make it with createdb.")
        case pg.InsufficientPrivilegeError():
            return CannotOpen(f"The role may not open {where}: {said}.")
        case pg.TargetServerAttributeNotMatched():
            return CannotOpen(f"{where} is a standby: name the primary, or all hosts in one URL.")
        case pg.TooManyConnectionsError():
            return CannotOpen(f"{where} takes no more connections: {said}.")
        case ssl.SSLError() | ConnectionError() if isinstance(error, ssl.SSLError) or "SSL" in said:
            return CannotOpen(f"{where} cannot be reached by TLS as asked for: {said}.")
        case TimeoutError():
            return CannotOpen(f"{where} does not answer.")
        case ValueError() | OverflowError():  # an option of the URL
            return CannotOpen(f"{where} cannot be opened: {said}.")
        case OSError() | asyncpg.InterfaceError():
            return CannotOpen(f"{where} cannot be reached: {said}.")
    return CannotOpen(f"{where} cannot be opened: {said}.")


def not_a_store(where: str, why: str) -> NotAStore:
    """The error for a database that is no store of ours."""
    return NotAStore(f"{where} is a PostgreSQL database, but not a Foldline store: {why}")


def reason(error: BaseException) -> str:
    """What the database or the network said, on one line and without an end."""
    said = str(error) or type(error).__name__
    return " ".join(said.split()).rstrip(".")
