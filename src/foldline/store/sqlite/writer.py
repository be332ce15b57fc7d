"""The writing connection: group commit, in which one transaction decides and keeps all that waits.

Every append is decided against the versions that those before it in the same transaction made; a conflict or a
replayed append fails or succeeds alone. Only where a constraint is hit - an event id is there already - is the
transaction taken back and done again with care, one savepoint for each append. Nothing is acknowledged before the
COMMIT has returned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import apsw

from foldline.errors import CodecError, EventIdReused, FoldlineError, StoreError
from foldline.observe import AppendsCommitted, Observer
from foldline.store.spi import (
    Append,
    Appended,
    Checkpoint,
    Claimed,
    Clock,
    Expect,
    VersionConflict,
    to_micros,
)
from foldline.store.sqlite import log
from foldline.store.sqlite.decide import answer, decide_one, event_row, replayed
from foldline.store.sqlite.errors import BREAKING, translate, translate_commit
from foldline.store.sqlite.lane import Job, post, settle

MAX_JOBS = 2_000
"""The most jobs of one transaction, so that the first does not wait long for the last."""

MAX_BYTES = 8 * 1024 * 1024
"""A transaction takes no further append once its events' data has this many bytes."""

MAX_SECONDS = 0.05
"""A transaction takes no further job once read models' work has kept it busy for this long."""

MAX_STREAMS = 100_000
"""How many streams' versions are remembered, so that an append to one of them needs no look-up."""

_DAY = 86_400_000_000

_ANY = Expect.ANY
_NO_STREAM = Expect.NO_STREAM
_tuple = tuple.__new__


class Change(NamedTuple):
    """Other work on the writing connection: run in a savepoint of its own, with a list for checkpoints it moves.

    ``restores`` says that it writes to the log itself, so that what is remembered of the log is to be learnt anew.
    """

    run: Callable[[apsw.Connection, list[Checkpoint]], Any]
    restores: bool = False


class _Group:
    """What one transaction has done so far."""

    __slots__ = ("appends", "done", "events", "failed", "moved", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self.appends = 0
        self.events = 0
        self.done: list[tuple[asyncio.Future[Any], Any]] = []
        self.failed: list[tuple[asyncio.Future[Any], BaseException]] = []
        self.moved: list[Checkpoint] = []


class _TransactionLostError(Exception):
    """The SQL of the change at this index ended the transaction that it shares with others."""

    def __init__(self, index: int, error: BaseException) -> None:
        self.index = index
        self.error = error


# An event id that is there already, a value that SQLite does not keep, SQL of a projection that ended the transaction.
_SURPRISES = (apsw.Error, _TransactionLostError, ValueError, TypeError, OverflowError, AttributeError)


class Writer:
    """Owns the writing connection. All but the constructor runs on the writer's thread."""

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        observer: Observer | None,
        loop: asyncio.AbstractEventLoop,
        committed: Callable[[int, list[Checkpoint]], None],
    ) -> None:
        self._path = path
        self._clock = clock
        self._observer = observer
        self._loop = loop
        self._committed = committed
        # What follows mirrors the database as of the data version, and is forgotten when that changes.
        self._data_version: int | None = None
        self._versions: dict[str, int] = {}
        self._guessed = False
        self._position = 0
        self._time = 0

    def serve(self, connection: apsw.Connection, jobs: list[Job]) -> None:
        """Settle every job, in as few transactions as the bounds allow."""
        start = 0
        while start < len(jobs):
            upto = min(start + MAX_JOBS, len(jobs))
            try:
                start = self._transaction(connection, jobs, start, upto)
            except BaseException as error:  # whoever waits for these jobs is to know, and the lane is to go on
                if isinstance(error, apsw.BusyError):
                    upto = len(jobs)  # they all waited as long as these did
                self._give_up(connection, jobs[start:upto], error, translate)
                start = upto

    def _transaction(self, connection: apsw.Connection, jobs: list[Job], start: int, upto: int) -> int:
        began = time.perf_counter()
        self._begin(connection)
        group = _Group(self._position)
        try:
            end = self._decide(connection, jobs, start, upto, group, guess=True)
        except BREAKING:
            raise
        except _SURPRISES:
            end, group = self._decide_again(connection, jobs, start, upto)
        try:
            connection.execute("COMMIT")
        except apsw.Error as error:
            self._give_up(connection, jobs[start:end], error, translate_commit)
            return end
        self._position = group.position
        self._guessed = False
        if len(self._versions) > MAX_STREAMS:
            self._versions.clear()
        post(self._loop, self._deliver, group)
        if self._observer is not None and group.appends:
            self._observer(AppendsCommitted(group.appends, group.events, time.perf_counter() - began))
        return end

    def _deliver(self, group: _Group) -> None:
        self._committed(group.position, group.moved)
        settle(group.done, group.failed)

    def _begin(self, connection: apsw.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        data_version = connection.execute("PRAGMA data_version").get
        if data_version != self._data_version:
            self._versions.clear()
            latest = connection.execute(log.LATEST).fetchone()
            self._position, recorded = latest or (0, 0)
            # An import may bring times of the future, which the clock is not to follow.
            if recorded <= to_micros(self._clock()) + _DAY:
                self._time = max(self._time, recorded)
            self._data_version = data_version

    def _now(self) -> int:
        """The clock's time, once for each transaction; never less than it told before."""
        self._time = max(self._time, to_micros(self._clock()))
        return self._time

    # --- The usual way: one INSERT for all --------------------------------------------------------------------------

    def _decide(
        self, connection: apsw.Connection, jobs: list[Job], start: int, upto: int, group: _Group, guess: bool
    ) -> int:
        versions = self._versions
        claimed: dict[str, Claimed] | None = None
        now = self._now()
        position = group.position
        done = group.done
        rows: list[tuple[Any, ...]] = []
        claim_rows: list[tuple[str, bytes, bytes, int]] = []
        conflicts: list[tuple[asyncio.Future[Any], Append, VersionConflict]] = []
        size = 0
        until: float | None = None
        end = upto
        for index in range(start, upto):
            future, work = jobs[index]
            if future.cancelled():
                continue
            if type(work) is not Append:
                if until is None:
                    until = time.monotonic() + MAX_SECONDS
                self._insert(connection, rows, claim_rows)
                group.events += position - group.position
                group.position = position
                self._change(connection, index, future, work, group)
                position = group.position
                if work.restores:
                    claimed = None
                if time.monotonic() > until:
                    end = index + 1
                    break
                continue
            streams, claim = work
            if claim is not None:
                if claimed is None:
                    claimed = self._learn_claims(connection, jobs, index, upto)
                if (known := claimed.get(claim.command_id)) is not None:
                    done.append((future, answer(claim.command_id, claim.fingerprint, known)))
                    continue
            for stream_id, expected, events in streams:
                version = versions.get(stream_id, -1)
                if version < 0:
                    # Asking for every new stream would cost as much as a third of its insert. Where it is there after
                    # all, its first version is taken, which the index finds out.
                    if guess and events and len(streams) == 1 and (expected is _NO_STREAM or expected == 0):
                        self._guessed = True
                        versions[stream_id] = version = 0
                    else:
                        self._learn_versions(connection, jobs, index, upto)
                        version = versions[stream_id]
                if expected is not _ANY and version != expected and (version or expected is not _NO_STREAM):
                    conflicts.append((future, work, VersionConflict(stream_id, expected, version)))
                    break
            else:
                if len(streams) == 1 and len(events) == 1:
                    # The usual append, spelt out: there are a hundred thousand of them in a second.
                    event_id, name, schema_version, data, metadata, correlation, cause, actor, at = events[0]
                    position += 1
                    versions[stream_id] = version = version + 1
                    rows.append(
                        (
                            position, event_id.bytes, stream_id, stream_id.partition("-")[0], version, name,
                            schema_version, data, metadata, now if at is None else at, correlation, cause, actor,
                        )
                    )  # fmt: skip
                    size += len(data)
                    outcome: Appended = _tuple(Appended, (((stream_id, version),), position, (event_id,), False))
                else:
                    after: list[tuple[str, int]] = []
                    ids: list[UUID] = []
                    for stream_id, _, events in streams:
                        version = versions[stream_id]
                        for event in events:
                            version += 1
                            position += 1
                            size += len(event.data)
                            ids.append(event.event_id)
                            rows.append(event_row(event, position, stream_id, version, now))
                        versions[stream_id] = version
                        after.append((stream_id, version))
                    outcome = Appended(tuple(after), position, tuple(ids))
                done.append((future, outcome))
                group.appends += 1
                if claim is not None and claimed is not None:
                    claim_rows.append(log.claim_row(claim, outcome, now))
                    claimed[claim.command_id] = Claimed(claim.fingerprint, outcome)
                if size > MAX_BYTES:
                    end = index + 1
                    break
        self._insert(connection, rows, claim_rows)
        if conflicts:
            self._settle_conflicts(connection, conflicts, group)
        group.events += position - group.position
        group.position = position
        return end

    def _learn_versions(self, connection: apsw.Connection, jobs: list[Job], start: int, upto: int) -> None:
        """Look up all streams from here on that are not known, in one query."""
        known = self._versions
        works = [work for _, work in islice(jobs, start, upto) if type(work) is Append]
        unknown = {stream.stream_id for work in works for stream in work.streams}.difference(known)
        known.update(log.versions(connection, list(unknown)))

    def _learn_claims(self, connection: apsw.Connection, jobs: list[Job], start: int, upto: int) -> dict[str, Claimed]:
        """Look up all claims from here on, in one query."""
        works = [work for _, work in islice(jobs, start, upto) if type(work) is Append]
        return log.claims(connection, [work.claim.command_id for work in works if work.claim is not None])

    def _insert(
        self,
        connection: apsw.Connection,
        rows: list[tuple[Any, ...]],
        claim_rows: list[tuple[str, bytes, bytes, int]],
    ) -> None:
        if rows:
            connection.executemany(log.INSERT_EVENT, rows)
            rows.clear()
        if claim_rows:
            connection.executemany(log.INSERT_CLAIM, claim_rows)
            claim_rows.clear()

    def _settle_conflicts(
        self,
        connection: apsw.Connection,
        conflicts: list[tuple[asyncio.Future[Any], Append, VersionConflict]],
        group: _Group,
    ) -> None:
        # A retried append finds its stream at a later version, which looks like a conflict until its ids are known.
        events = [event for _, append, _ in conflicts for stream in append.streams for event in stream.events]
        there = log.recorded(connection, events)
        for future, append, conflict in conflicts:
            if not there:
                group.done.append((future, conflict))
                continue
            try:
                first = replayed(connection, append, there)
            except EventIdReused as error:
                group.failed.append((future, error))
            else:
                group.done.append((future, first or conflict))

    # --- Other changes ----------------------------------------------------------------------------------------------

    def _change(
        self, connection: apsw.Connection, index: int, future: asyncio.Future[Any], work: Change, group: _Group
    ) -> None:
        moved: list[Checkpoint] = []
        connection.execute("SAVEPOINT foldline_job")
        try:
            result = work.run(connection, moved)
        except BaseException as error:  # of any kind: it is the caller's, and the thread lives on
            if not connection.in_transaction:
                raise _TransactionLostError(index, error) from error
            connection.execute("ROLLBACK TO foldline_job")
            connection.execute("RELEASE foldline_job")
            if isinstance(error, BREAKING):
                raise
            group.failed.append((future, self._typed(error, connection)))
            return
        if not connection.in_transaction:
            raise _TransactionLostError(index, StoreError("The SQL ended the transaction it ran in; nothing was kept."))
        connection.execute("RELEASE foldline_job")
        if work.restores:
            self._versions.clear()
            self._data_version = None  # so that the next transaction looks at the log's end, and its time
            group.position = log.head(connection)
        group.done.append((future, result))
        group.moved += moved

    def _typed(self, error: BaseException, connection: apsw.Connection) -> BaseException:
        if isinstance(error, apsw.Error):
            return translate(error, connection, self._path)
        if isinstance(error, StopIteration):
            return RuntimeError("the work raised StopIteration")
        return error

    # --- With care: a savepoint for each ----------------------------------------------------------------------------

    def _decide_again(self, connection: apsw.Connection, jobs: list[Job], start: int, upto: int) -> tuple[int, _Group]:
        """Do it without guessing, if that was the mistake; else find out which of the appends cannot be kept."""
        guessed = self._guessed
        self._undo(connection)
        if guessed:
            self._begin(connection)
            group = _Group(self._position)
            try:
                return self._decide(connection, jobs, start, upto, group, guess=False), group
            except BREAKING:
                raise
            except _SURPRISES:
                self._undo(connection)
        return self._decide_carefully(connection, jobs, start, upto)

    def _decide_carefully(
        self, connection: apsw.Connection, jobs: list[Job], start: int, upto: int
    ) -> tuple[int, _Group]:
        lost: dict[int, BaseException] = {}
        while True:
            self._begin(connection)
            group = _Group(self._position)
            try:
                for index in range(start, upto):
                    future, work = jobs[index]
                    if future.cancelled():
                        continue
                    if index in lost:
                        group.failed.append((future, self._typed(lost[index], connection)))
                    elif type(work) is Append:
                        self._append_alone(connection, future, work, group)
                    else:
                        self._change(connection, index, future, work, group)
            except _TransactionLostError as error:
                # It took everybody's work with it, so all but it is done again.
                self._undo(connection)
                lost[error.index] = error.error
                continue
            return upto, group

    def _append_alone(
        self, connection: apsw.Connection, future: asyncio.Future[Any], append: Append, group: _Group
    ) -> None:
        connection.execute("SAVEPOINT foldline_job")
        try:
            outcome, rows = decide_one(connection, append, group.position, self._now())
            connection.executemany(log.INSERT_EVENT, rows)
            if append.claim is not None and isinstance(outcome, Appended) and not outcome.replayed:
                connection.executemany(log.INSERT_CLAIM, [log.claim_row(append.claim, outcome, self._time)])
        except BREAKING:
            raise
        except (apsw.Error, FoldlineError, ValueError, TypeError, OverflowError, AttributeError) as error:
            connection.execute("ROLLBACK TO foldline_job")
            connection.execute("RELEASE foldline_job")
            group.failed.append((future, self._unkeepable(error, connection)))
            return
        connection.execute("RELEASE foldline_job")
        group.done.append((future, outcome))
        if isinstance(outcome, Appended) and not outcome.replayed:
            group.appends += 1
            group.events += len(rows)
            group.position += len(rows)

    def _unkeepable(self, error: Exception, connection: apsw.Connection) -> Exception:
        if isinstance(error, (ValueError, OverflowError)):  # an int beyond 64 bits, text that is no Unicode
            return CodecError(f"An event of this append cannot be kept by SQLite: {error}.")
        if isinstance(error, apsw.Error):
            return translate(error, connection, self._path)
        return error

    # --- When it fails ------------------------------------------------------------------------------------------------

    def _undo(self, connection: apsw.Connection) -> None:
        """Take the transaction back, and forget what was learnt from it."""
        self._data_version = None
        self._versions.clear()
        self._guessed = False
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _give_up(
        self,
        connection: apsw.Connection,
        jobs: Sequence[Job],
        error: BaseException,
        typed: Callable[[apsw.Error, apsw.Connection, str], FoldlineError],
    ) -> None:
        """Fail these jobs and be ready for the next ones: what made room, or let go of the lock, needs no repair."""
        failed: list[tuple[asyncio.Future[Any], BaseException]] = []
        for future, _ in jobs:
            # One error for each: they are raised in different tasks, and each gets its own traceback.
            failed.append((future, typed(error, connection, self._path) if isinstance(error, apsw.Error) else error))
        try:
            self._undo(connection)
        except apsw.Error as again:
            # SQLite rolls back by itself when it cannot be told to; the next BEGIN tells whether it is well.
            for _, earlier in failed:
                earlier.add_note(f"Rolling back failed, too: {again}")
        post(self._loop, settle, [], failed)
