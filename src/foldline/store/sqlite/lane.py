"""Threads that own a connection, and how work reaches them: by whole lists, never job by job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from threading import get_ident
from typing import Any, Generic, TypeAlias, TypeVar

from foldline.errors import DefinitionError, StoreClosed

R = TypeVar("R")

Job: TypeAlias = "tuple[asyncio.Future[Any], Any]"
"""Work, and the future that waits for its result."""

JobQueue: TypeAlias = "SimpleQueue[list[Job] | None]"
"""Lists of jobs for the lanes that share the queue; None ends the lane that takes it."""


class Intake:
    """The event loop's end of a queue: what is submitted in one turn of the loop is handed over in one piece.

    Waking a thread costs more than most jobs do, and a whole list costs no more than one job.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, lanes: int = 1) -> None:
        self.queue: JobQueue = SimpleQueue()
        self._loop = loop
        self._create_future = loop.create_future
        self._thread = get_ident()
        self._lanes = lanes
        self._jobs: list[Job] = []
        self._closed = False

    def submit(self, work: Any) -> asyncio.Future[Any]:
        """Hand over the work at the end of this turn of the loop.

        Raises StoreClosed after close(), and DefinitionError on another thread than the loop's: there it would not be
        safe, and the work of a transaction, which runs on the writer's thread, would wait for itself.
        """
        if get_ident() != self._thread:
            raise DefinitionError(
                "A store belongs to the event loop that opened it; a transaction's work awaits only the transaction."
            )
        if not self._jobs:
            if self._closed:
                raise StoreClosed
            self._loop.call_soon(self._flush)
        future = self._create_future()
        self._jobs.append((future, work))
        return future

    def close(self) -> None:
        """Accept nothing more, and end the lanes when they have done what was accepted."""
        if not self._closed:
            self._closed = True
            self._flush()
            for _ in range(self._lanes):
                self.queue.put(None)

    def _flush(self) -> None:
        jobs = self._jobs
        if not jobs:
            return
        self._jobs = []
        if self._lanes == 1 or len(jobs) == 1:
            self.queue.put(jobs)
            return
        for first in range(min(self._lanes, len(jobs))):
            self.queue.put(jobs[first :: self._lanes])


class Lane(Generic[R]):
    """A thread that opens something, serves lists of jobs with it, and closes it.

    ``serve`` settles every job and raises nothing. With ``gather`` it is given all that waits and not only the next
    list; it then has the queue for itself.
    """

    def __init__(
        self,
        name: str,
        queue: JobQueue,
        *,
        enter: Callable[[], R],
        serve: Callable[[R, list[Job]], None],
        leave: Callable[[R], None],
        gather: bool = False,
    ) -> None:
        self._queue = queue
        self._enter = enter
        self._serve = serve
        self._leave = leave
        self._gather = gather
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon, so that a program that forgets to close its store can end; what was acknowledged is on the disk.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def start(self) -> None:
        """Start the thread and wait until it has opened what it owns; raises what that raised."""
        self._thread.start()
        # Shielded, since the thread would otherwise report to a future that nobody may set any more.
        await asyncio.shield(self._started)

    async def join(self, timeout: float) -> bool:
        """Wait until the thread has ended; False where it has not in ``timeout`` seconds. Raises what its end did."""
        if self._thread.ident is None or (self._started.done() and self._started.exception() is not None):
            return True
        ended, _ = await asyncio.wait([self._ended], timeout=timeout)
        if not ended:
            return False
        self._thread.join(timeout)
        self._ended.result()
        return True

    def _run(self) -> None:
        try:
            resource = self._enter()
        except BaseException as error:  # whatever it is, it belongs to the task that starts the lane
            post(self._loop, _fail, self._started, error)
            return
        post(self._loop, _finish, self._started)
        try:
            queue = self._queue
            going_on = True
            while going_on:
                jobs = queue.get()
                if jobs is None:
                    break
                if self._gather:
                    while not queue.empty():
                        more = queue.get()
                        if more is None:
                            going_on = False
                            break
                        jobs += more
                self._serve(resource, jobs)
            self._leave(resource)
        except BaseException as error:  # reported by join()
            post(self._loop, _fail, self._ended, error)
        else:
            post(self._loop, _finish, self._ended)


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: Any) -> None:
    """Run a callback on the loop. Where the loop is closed already nobody waits for it, so it is dropped."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


def settle(
    done: list[tuple[asyncio.Future[Any], Any]], failed: list[tuple[asyncio.Future[Any], BaseException]]
) -> None:
    """Give the futures their results; those whose waiters were cancelled meanwhile are left alone."""
    for future, result in done:
        if not future.done():
            future.set_result(result)
    for future, error in failed:
        if not future.done():
            future.set_exception(error)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
