"""Ends endless responses when their server stops, for a server waits for its open responses and would wait
for ever.

`foldline.http.server` says so itself. Other servers, also those that a mounted application never hears of,
are noticed by the signal that stops them: while a stream is open on the main thread's loop, SIGINT and
SIGTERM pass through here on their way to the server's own handler.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_open: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
_stopping: set[asyncio.AbstractEventLoop] = set()
_handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
"""The handlers that ours stands before."""


@contextmanager
def until_shutdown() -> Iterator[asyncio.Event]:
    """An event that is set when the server of the running loop stops."""
    entry = (asyncio.get_running_loop(), asyncio.Event())
    _open.add(entry)
    if entry[0] in _stopping:
        entry[1].set()
    _listen()
    try:
        yield entry[1]
    finally:
        _open.discard(entry)
        if not _open:
            _unlisten()


@contextmanager
def streams_ended() -> Iterator[None]:
    """While this is entered, no stream of the running loop stays open."""
    loop = asyncio.get_running_loop()
    _stopping.add(loop)
    _end(loop)
    try:
        yield
    finally:
        _stopping.discard(loop)


def _end(loop: asyncio.AbstractEventLoop | None = None) -> None:
    for its_loop, event in list(_open):
        if loop is None or its_loop is loop:
            its_loop.call_soon_threadsafe(event.set)


def _listen() -> None:
    if _handlers or threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        # A signal that nobody handles stops the process anyway, and one that is ignored stops nothing.
        if callable(handler):
            _handlers[number] = handler
            signal.signal(number, _pass_on)


def _unlisten() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in list(_handlers.items()):
        # Somebody who came after us keeps their place.
        if signal.getsignal(number) is _pass_on:
            signal.signal(number, handler)
        del _handlers[number]


def _pass_on(number: int, frame: FrameType | None) -> None:
    _end()
    handler = _handlers.get(number)
    if handler is not None:
        handler(number, frame)
