"""The same application for code without asyncio: Django, Flask, Celery, scripts. Delegated, never written twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from foldline.app.running import Running
from foldline.errors import FoldlineError, StoreClosed

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Running, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncRunning, P], T]:
    def call(self: SyncRunning, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.wait_for(method(self.running, *args, **kwargs))

    call.__name__ = method.__name__
    call.__doc__ = method.__doc__
    return call


class SyncRunning:
    """A running application whose methods block. Any thread may call them, but not one that runs an event loop."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop, thread: int | None) -> None:
        self.running = running
        self._loop = loop
        self._thread = thread

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the application's own event loop and return its result.

        Raises StoreClosed after the block has ended, and FoldlineError where it would wait for itself.
        """
        if threading.get_ident() == self._thread:
            work.close()
            raise FoldlineError("This runs on the application's own event loop, so it must await instead of blocking.")
        if self._loop.is_closed():
            work.close()
            raise StoreClosed
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    execute = _blocking(Running.execute)
    load = _blocking(Running.load)
    show = _blocking(Running.show)
    position = _blocking(Running.position)
    ask = _blocking(Running.ask)


@contextmanager
def opened_sync(open_: Callable[[], AbstractAsyncContextManager[Running]]) -> Iterator[SyncRunning]:
    """Run the application on a background event loop until the block ends, whatever ends it."""
    ready: Future[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        async with open_() as running:
            done = asyncio.Event()
            ready.set_result((running, asyncio.get_running_loop(), done))
            await done.wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            # Told to whoever waits: the opening caller, or the one who leaves the block.
            if ready.done():
                failed.append(error)
            else:
                ready.set_exception(error)

    failed: list[BaseException] = []
    thread = threading.Thread(target=run, name="foldline-loop", daemon=True)
    thread.start()
    running, loop, done = ready.result()
    try:
        yield SyncRunning(running, loop, thread.ident)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
    if failed:
        raise failed[0]
