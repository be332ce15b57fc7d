"""Waiting for commits: woken by this process, by NOTIFY from others, and by looking, as long as somebody waits.

Nothing rests on a notification. They are sent from a connection of their own, after the commit that they tell of and
many commits at a time, because NOTIFY within an append's transaction would make all appends commit one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from foldline.errors import StoreClosed, StoreError
from foldline.store.postgres import tables
from foldline.store.postgres.connect import CONNECT_WITHIN, Connection, Line, Pool, Settings, connect
from foldline.store.postgres.errors import ERRORS
from foldline.store.postgres.log import HEAD
from foldline.store.spi import Checkpoint

CHANNEL = "foldline"

LOOK_EVERY = 0.5
"""Seconds between two looks while notifications come in."""

LOOK_DEAF = 0.05
"""Seconds between two looks where none can come: behind PgBouncer, or while the connection for them is lost."""

LOOK_HELD = (0.004, 0.064)
"""Seconds between two looks, at first and at most, while appends in flight hold the followers."""

TELL_EVERY = 0.02
"""Seconds between two notifications at least."""

_TELL = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}; COMMIT"

log = logging.getLogger("foldline.store.postgres")


class Watch:
    """How far followers may read, and those who wait for more. Runs on the event loop."""

    def __init__(self, settings: Settings, *, pooled: bool, log_pool: Pool, view_pool: Pool) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._pooled = pooled
        self._log_pool = log_pool
        self._view_pool = view_pool
        self._head = 0
        self._held: int | None = None
        self._heads: dict[asyncio.Future[None], int] = {}
        self._points: dict[asyncio.Future[Checkpoint | None], tuple[str, int]] = {}
        self._look_now = asyncio.Event()
        self._waited_for = asyncio.Event()
        self._tell_now = asyncio.Event()
        self._deaf = True
        self._line: Line | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def start(self) -> None:
        """Begin to look and to listen."""
        self._tasks = [self._loop.create_task(self._look()), self._loop.create_task(self._talk())]

    async def close(self) -> None:
        """End every wait with StoreClosed, tell the others of the last commits, and let go."""
        self._closed = True
        self._fail(StoreClosed())
        for task in self._tasks[:1]:
            task.cancel()
        # Not cancelled while it connects, which asyncpg would complain of, nor before it has told of the last commits.
        self._tell_now.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CONNECT_WITHIN)
            self._tasks[1].cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- What is known ------------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The last position of which it is known that followers may read up to it."""
        return self._head

    async def ask_head(self) -> int:
        """Ask how far followers may read now."""
        head, held = await self._log_pool.call(_head)
        self._held = held
        self._head = max(self._head, head)
        self._wake_heads()
        return head

    async def ask_held(self) -> int | None:
        """Ask which position appends in flight hold the followers at, if there are any."""
        await self.ask_head()
        return self._held

    def forget(self) -> None:
        """Ask again, for the server may be another one than before, and may have less."""
        self._head = 0

    def settled(self) -> None:
        """This process has appended: see how far followers may read now, and tell the other processes."""
        if self._heads:
            self._look_now.set()
        self._tell_now.set()

    def moved(self, checkpoints: Iterable[Checkpoint]) -> None:
        """This process has moved checkpoints."""
        newest = {checkpoint.projection: checkpoint for checkpoint in checkpoints}
        if newest:
            self._wake_points(newest)
            self._tell_now.set()

    # --- Waiting ------------------------------------------------------------------------------------------------------

    async def wait(self, after: int, timeout: float) -> bool:
        """Wait until followers may read beyond a position; False where ``timeout`` seconds passed without."""
        self._check()
        if self._head > after:
            return True
        if timeout <= 0:
            return await self.ask_head() > after
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._heads[waiter] = after
        self._begin()
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            del self._heads[waiter]
        return True

    async def checkpoint(self, projection: str, position: int, timeout: float) -> Checkpoint | None:
        """Wait until a projection's checkpoint is at a position or beyond; None where it is not, or there is none."""
        self._check()
        waiter: asyncio.Future[Checkpoint | None] = self._loop.create_future()
        # Entered before the database is asked, so that no commit of this process falls between question and wait.
        self._points[waiter] = (projection, position)
        try:
            found = await self._view_pool.call(lambda connection: tables.checkpoint(connection, projection))
            if found is None or found.position >= position:
                return found
            if timeout <= 0:
                return None
            self._begin()
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            return None
        finally:
            del self._points[waiter]

    def _begin(self) -> None:
        self._waited_for.set()
        self._look_now.set()

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed

    def _fail(self, error: BaseException) -> None:
        waiters: list[asyncio.Future[Any]] = [*self._heads, *self._points]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _wake_heads(self) -> None:
        for waiter, after in self._heads.items():
            if self._head > after and not waiter.done():
                waiter.set_result(None)

    def _wake_points(self, newest: dict[str, Checkpoint]) -> None:
        for waiter, (projection, position) in self._points.items():
            checkpoint = newest.get(projection)
            if checkpoint is not None and checkpoint.position >= position and not waiter.done():
                waiter.set_result(checkpoint)

    # --- Looking ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Look for commits as long as somebody waits."""
        first, most = LOOK_HELD
        held_pause = first
        while True:
            if not (self._heads or self._points):
                self._waited_for.clear()
                await self._waited_for.wait()
            self._look_now.clear()
            before = self._head
            try:
                if self._heads:
                    await self.ask_head()
                if self._points:
                    self._wake_points(await self._view_pool.call(tables.checkpoints))
            except StoreError as error:
                # The pools have been patient already. Those who wait have deadlines of their own.
                log.warning("Looking for new events failed: %s", error)
            held = bool(self._heads) and self._held is not None
            held_pause = min(held_pause * 2, most) if held and self._head == before else first
            pause = held_pause if held else LOOK_DEAF if self._deaf else LOOK_EVERY
            try:
                async with asyncio.timeout(pause):
                    await self._look_now.wait()
            except TimeoutError:
                pass

    # --- Telling and listening ----------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        """Keep a connection on which other processes are told of commits, and tell of theirs."""
        pause = 0.05
        while not self._closed:
            line = None
            try:
                self._line = line = await connect(self._settings, pooled=self._pooled)
                if not self._pooled:
                    await line.add_listener(CHANNEL, self._hear)
                    self._deaf = False
                pause = 0.05
                # Commits from before we listened were not told us.
                self._look_now.set()
                await self._tell(line)
            except ERRORS as error:
                log.info("The connection for notifications was lost (%s): looking more often until it is back.", error)
            finally:
                self._deaf = True
                if line is not None:
                    line.terminate()
            self.forget()
            if not self._closed:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def _tell(self, line: Line) -> None:
        line.add_termination_listener(lambda _: self._tell_now.set())
        while not line.is_closed():
            await self._tell_now.wait()
            self._tell_now.clear()
            if not line.is_closed():
                await line.execute(_TELL, timeout=5)
                if self._closed:
                    await line.close(timeout=1)
                    return
                await asyncio.sleep(TELL_EVERY)

    def _hear(self, line: object, pid: int, channel: str, payload: object) -> None:
        if self._line is None or pid != self._line.get_server_pid():
            self._look_now.set()


async def _head(connection: Connection) -> tuple[int, int | None]:
    row = await connection.fetchrow(HEAD)
    if row is None:
        raise StoreError("foldline_head() told nothing.")
    return row[0], row[1]
