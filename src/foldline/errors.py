"""Everything Foldline raises, in one tree.

    FoldlineError
    ├── DefinitionError             a class, a handler or an App is put together wrongly
    ├── ValidationFailed            a message does not fit its schema; carries every fault with its path
    ├── Rejected                    a business rule said no; carries a stable code
    ├── Forbidden                   the actor may not do this
    ├── UnknownName                 no command, query, view, projection or stream of that name
    ├── Conflict                    the stream is not at the version the writer expected
    ├── CommandIdReused             the command id was used before, for another body
    ├── ViewBehind                  a view did not reach the asked position in time
    ├── ProjectionHalted            the projection stopped on an event it cannot handle
    ├── CodecError                  a value cannot be stored, or stored bytes cannot be read, as the type asked for
    ├── Unsupported                 the store does not have this capability
    └── StoreError                  the store could not do what was asked
        ├── CannotOpen              the store cannot be opened at all
        │   ├── NotAStore           there is something there, but it is not a Foldline store
        │   └── StoreTooNew         the store was written by a newer Foldline
        ├── StoreReadOnly           the store cannot be written
        ├── StoreFull               no room left; nothing of the append was kept
        ├── StoreBusy               another process held the store for too long; nothing was kept
        ├── StoreUnavailable        the database cannot be reached; nothing was kept
        ├── StoreClosed             the store was closed; nothing was kept
        ├── EventIdReused           an event id of the append is recorded already, as part of something else
        ├── NotACopy                the store to copy to holds something else than the one to copy from
        ├── CopyDiffers             a copy was made and does not hold the same as what was copied
        └── OutcomeUnknown          the store cannot tell whether the append was kept; retry it with the same event ids

The docstring of an error is its message when it is raised without one.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class FoldlineError(Exception):
    """Something went wrong in Foldline."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").partition("\n\n")[0])


class DefinitionError(FoldlineError):
    """A class, a handler or an App is put together wrongly."""


class Fault(NamedTuple):
    """One thing wrong with a message: where (a path such as ``$.lines[0].quantity``) and what."""

    path: str
    message: str


class ValidationFailed(FoldlineError):
    """The message does not fit its schema.

    ``faults`` lists each fault with its path; there is at least one.
    """

    def __init__(self, subject: str, faults: Sequence[Fault]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        listed = "; ".join(f"{fault.path}: {fault.message}" for fault in self.faults)
        super().__init__(f"{subject} does not fit its schema: {listed}")


class Rejected(FoldlineError):
    """A business rule said no.

    ``code`` is stable and meant for programs, the message is meant for people, and ``details`` are values
    that either may need. Nothing is recorded when a handler raises it.
    """

    def __init__(self, code: str, message: str | None = None, **details: Any) -> None:
        self.code = code
        self.details = details
        super().__init__(message or code)


class Forbidden(FoldlineError):
    """The actor may not do this."""


class UnknownName(FoldlineError):
    """No command, query, view, projection or stream has that name."""

    def __init__(self, kind: str, name: str, known: Sequence[str] = ()) -> None:
        self.kind = kind
        self.name = name
        hint = f" Known are: {', '.join(sorted(known))}." if known else ""
        super().__init__(f"There is no {kind} named {name!r}.{hint}")


class Conflict(FoldlineError):
    """The stream is not at the version the writer expected; ``actual`` is where it is (0: no stream)."""

    def __init__(self, stream_id: str, expected: object, actual: int) -> None:
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"Stream {stream_id!r} is at version {actual}, not at {expected}: read it again and decide again."
        )


class CommandIdReused(FoldlineError):
    """The command id was used before, for another body."""

    def __init__(self, command_id: str) -> None:
        self.command_id = command_id
        super().__init__(
            f"Command id {command_id!r} was used before for another command: give each command its own id."
        )


class ViewBehind(FoldlineError):
    """A view did not reach the asked position in time.

    What was written is safe; the view will show it later. ``position`` is where it is, ``wanted`` what was asked.
    """

    def __init__(self, view: str, position: int, wanted: int, waited: float) -> None:
        self.view = view
        self.position = position
        self.wanted = wanted
        super().__init__(
            f"View {view!r} is at position {position} and did not reach {wanted} within {waited:g} s: ask again later."
        )


class ProjectionHalted(FoldlineError):
    """The projection stopped on an event it cannot handle.

    It stays at its checkpoint until its code is mended and it is started again or rebuilt.
    """

    def __init__(self, projection: str, position: int, reason: str) -> None:
        self.projection = projection
        self.position = position
        self.reason = reason
        super().__init__(
            f"Projection {projection!r} halted at position {position}: {reason}. "
            "Mend its handler and restart, or rebuild it."
        )


class CodecError(FoldlineError):
    """A value cannot be stored, or stored bytes cannot be read, as the type asked for."""


class Unsupported(FoldlineError):
    """The store does not have this capability."""


class StoreError(FoldlineError):
    """The store could not do what was asked."""


class CannotOpen(StoreError):
    """The store cannot be opened."""


class NotAStore(CannotOpen):
    """There is something at that place, but it is not a Foldline store."""


class StoreTooNew(CannotOpen):
    """The store was written by a newer Foldline; upgrade this one."""


class StoreReadOnly(StoreError):
    """The store cannot be written."""


class StoreFull(StoreError):
    """No room is left for the store; nothing of the append was kept. Make room and try again."""


class StoreBusy(StoreError):
    """Another process held the store for too long; nothing was kept. Try again."""


class StoreUnavailable(StoreError):
    """The database cannot be reached; nothing was kept. Try again."""


class StoreClosed(StoreError):
    """The store is closed; nothing was kept."""


class EventIdReused(StoreError):
    """An event id of this append is recorded already, as part of something else."""


class NotACopy(StoreError):
    """The store to copy to holds something else than the one to copy from; nothing was written."""


class CopyDiffers(StoreError):
    """The copy does not hold the same as what was copied; do not use it."""


class OutcomeUnknown(StoreError):
    """The store cannot tell whether the append was kept; retry it with the same event ids."""
