"""A connection that only appends: records what was planned, by whichever way is the shortest for its size."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from operator import itemgetter
from typing import Any, cast

from foldline.store.postgres.connect import CONNECT_WITHIN, Line, Settings, connect
from foldline.store.postgres.decide import Facts, Plan
from foldline.store.postgres.errors import ERRORS
from foldline.store.postgres.log import COLUMNS, DRAW, ENTER, LOCK, RECORD, RECORD_ONE, RECORD_PLAIN, SETTLE
from foldline.store.spi import Appended

COPY_FROM = 5_000
"""Events from which a batch, which is then one large append, goes by COPY."""

CLOSE_WITHIN = 5.0
"""Seconds that closing a connection may take."""

_STREAM_AND_VERSION = itemgetter(2, 4)


class Lane:
    """The connection, made when it is needed and again where it was lost."""

    def __init__(self, settings: Settings, pooled: bool) -> None:
        self._settings = settings
        self._pooled = pooled
        self._line: Line | None = None
        self._record: Callable[..., Any] | None = None
        self._record_one: Callable[..., Any] | None = None
        self._record_plain: Callable[..., Any] | None = None
        self.sent = False
        """Whether something was sent that may have been kept, though nobody said so."""
        self.until = math.inf
        """When, on the monotonic clock, what it is doing is to be given up as stalled."""

    @property
    def ready(self) -> Line | None:
        """The connection, if it stands."""
        return self._line if self._line is not None and not self._line.is_closed() else None

    async def line(self) -> Line:
        """The connection."""
        if (line := self.ready) is None:
            line = await connect(self._settings, pooled=self._pooled, raw=True)
            if not self._pooled:
                try:
                    # Preparing takes the statements' locks, and asyncpg keeps them until a transaction ends.
                    async with asyncio.timeout(CONNECT_WITHIN), line.transaction():
                        self._record = (await line.prepare(RECORD)).fetchval
                        self._record_one = (await line.prepare(RECORD_ONE)).fetchval
                        self._record_plain = (await line.prepare(RECORD_PLAIN)).fetch
                except BaseException:
                    line.terminate()
                    raise
            self._line = line
        return line

    async def ask(self, line: Line, facts: Facts) -> None:
        """Ask what is not known."""
        # Behind a pooler, what is prepared is only sure to be there until the transaction ends.
        async with _transaction(line) if self._pooled else nullcontext():
            await facts.ask(line)

    async def record(self, line: Line, groups: list[int], plan: Plan) -> list[int]:
        """Record what is planned, all of it or nothing, and return the positions in the order of the plan's rows."""
        rows, claims = plan.rows, plan.claims
        if not rows and not claims:
            if any(isinstance(outcome, Appended) for _, outcome in plan.answers):
                self.sent = True
                await line.execute(SETTLE)
            return []
        self.sent = True
        if len(rows) >= COPY_FROM:
            return await self._copy(line, groups, plan)
        if self._record_one is not None and len(rows) == 1 and not claims and len(groups) == 1:
            return [await self._record_one(groups[0], *rows[0][1:])]
        # In the order in which all batches of all processes queue for streams; see foldline_record().
        rows = rows if len(rows) < 2 else sorted(rows, key=_STREAM_AND_VERSION)
        if self._record_plain is not None and groups and plan.plain:
            positions = [0] * len(rows)
            for row, (position,) in zip(rows, await self._record_plain(groups, rows), strict=True):
                positions[row[0] - 1] = position
            return positions
        if self._record is not None:
            return cast("list[int]", await self._record(groups, rows, claims))
        # Behind a pooler, what is prepared is only sure to be there until the transaction ends.
        async with _transaction(line) if self._pooled else nullcontext():
            return cast("list[int]", await line.fetchval(RECORD, groups, rows, claims))

    async def _copy(self, line: Line, groups: list[int], plan: Plan) -> list[int]:
        async with _transaction(line):
            await line.fetchval(LOCK, groups)
            await line.fetchval(ENTER)
            positions = cast("list[int]", await line.fetchval(DRAW, len(plan.rows)))
            rows = [(positions[row[0] - 1], *row[1:]) for row in plan.rows]
            await line.copy_records_to_table("foldline_events", records=rows, columns=COLUMNS)
            # What has a position by now is given it as those that have no event are.
            claims = [
                (*claim[:4], -positions[claim[4] - 1] if claim[4] > 0 else claim[4], *claim[5:])
                for claim in plan.claims
            ]
            if claims:
                await line.fetchval(RECORD, [], [], claims)
        return positions

    def drop(self) -> None:
        """Let go of the connection without asking the other side."""
        if self._line is not None:
            self._line.terminate()
            self._line = None

    async def close(self) -> None:
        """Close the connection."""
        if (line := self.ready) is not None:
            try:
                await line.close(timeout=CLOSE_WITHIN)
            except ERRORS:
                line.terminate()


@asynccontextmanager
async def _transaction(line: Line) -> AsyncIterator[None]:
    """The transaction that the connection is in, or one that begins and ends here."""
    async with nullcontext() if line.is_in_transaction() else line.transaction(isolation="read_committed"):
        yield
