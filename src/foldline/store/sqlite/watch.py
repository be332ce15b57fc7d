"""Waiting for commits: woken by those of this process, and by looking for those of others while somebody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import apsw

from foldline.errors import StoreClosed
from foldline.store.spi import Checkpoint
from foldline.store.sqlite import log, tables
from foldline.store.sqlite.lane import Intake
from foldline.store.sqlite.reading import Reader

LOOK_EVERY = 0.02
"""Seconds between two looks for what other processes have committed."""


class Watch:
    """Those who wait, and the look that is repeated as long as there are any. Runs on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, intake: Intake) -> None:
        self._loop = loop
        self._intake = intake
        self._heads: dict[asyncio.Future[None], int] = {}
        self._points: dict[asyncio.Future[Checkpoint | None], tuple[str, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Future[tuple[int, dict[str, Checkpoint]] | None] | None = None
        self._closed = False

    def committed(self, head: int, moved: list[Checkpoint]) -> None:
        """Wake those whose wait is over."""
        if self._heads:
            for waiter, after in self._heads.items():
                if head > after and not waiter.done():
                    waiter.set_result(None)
        if self._points and moved:
            newest = {checkpoint.projection: checkpoint for checkpoint in moved}
            for found, (projection, position) in self._points.items():
                checkpoint = newest.get(projection)
                if checkpoint is not None and checkpoint.position >= position and not found.done():
                    found.set_result(checkpoint)

    async def head(self, after: int, timeout: float, read: Callable[[], asyncio.Future[int]]) -> bool:
        """Wait until the log's end is beyond a position; ``read`` asks the database for it."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        # Entered before the database is asked, so that no commit falls between the question and the wait.
        self._heads[waiter] = after
        try:
            async with asyncio.timeout(timeout if timeout > 0 else None):
                if await read() > after:
                    return True
                if timeout <= 0:
                    return waiter.done()
                self._keep_looking()
                await waiter
        except TimeoutError:
            return False
        finally:
            del self._heads[waiter]
        return True

    async def checkpoint(
        self,
        projection: str,
        position: int,
        timeout: float,
        read: Callable[[], asyncio.Future[Checkpoint | None]],
    ) -> Checkpoint | None:
        """Wait until a projection's checkpoint is at a position or beyond; None when it is not, or there is none."""
        waiter: asyncio.Future[Checkpoint | None] = self._loop.create_future()
        self._points[waiter] = (projection, position)
        try:
            async with asyncio.timeout(timeout if timeout > 0 else None):
                found = await read()
                if found is None or found.position >= position:
                    return found
                if timeout <= 0:
                    return None
                self._keep_looking()
                return await waiter
        except TimeoutError:
            return None
        finally:
            del self._points[waiter]

    def close(self) -> None:
        """End every wait with StoreClosed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fail(StoreClosed())

    def _fail(self, error: BaseException) -> None:
        waiters: list[asyncio.Future[Any]] = [*self._heads, *self._points]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _keep_looking(self) -> None:
        if self._timer is None and self._look is None and not self._closed:
            self._timer = self._loop.call_later(LOOK_EVERY, self._start_look)

    def _start_look(self) -> None:
        self._timer = None
        if self._heads or self._points:
            self._look = self._intake.submit(look)
            self._look.add_done_callback(self._looked)

    def _looked(self, look: asyncio.Future[tuple[int, dict[str, Checkpoint]] | None]) -> None:
        self._look = None
        if look.cancelled():
            return
        error = look.exception()
        if error is not None:
            # Those who wait are told, rather than left to their deadlines.
            self._fail(error)
            return
        seen = look.result()
        if seen is not None:
            self.committed(seen[0], list(seen[1].values()))
        if self._heads or self._points:
            self._keep_looking()


class Lookout(Reader):
    """The reader that looks; SQLite tells each connection whether others have committed since it last asked."""

    seen: int | None = None


def look(reader: Lookout) -> tuple[int, dict[str, Checkpoint]] | None:
    """The log's end and the checkpoints, or None where nothing was committed since the last look."""
    connection: apsw.Connection = reader.connection
    seen = connection.execute("PRAGMA data_version").get
    if seen == reader.seen:
        return None
    reader.seen = seen
    return log.head(connection), tables.checkpoints(connection)
