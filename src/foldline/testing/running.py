"""Async tests on a running application, without a plugin for them."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from foldline.app import App


def with_running(
    app: App, *, url: str = "memory:", timeout: float = 60.0, **options: Any
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Make an async test a plain one that gets the running application as its first argument.

    ``@with_running(shop)`` above ``async def test_it(running: Running) -> None``; fixtures may follow as further
    parameters. It runs on an event loop and a store of its own, and fails with TimeoutError after ``timeout`` seconds.
    ``options`` go to `App.open`, such as ``clock=``.
    """

    def decorated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        if not inspect.iscoroutinefunction(test):
            raise TypeError(f"with_running makes async tests plain ones, but {test!r} is not async.")
        parameters = list(inspect.signature(test).parameters.values())
        if not parameters:
            raise TypeError(f"{test!r} takes no running application: give it a first parameter for it.")

        async def run(*args: Any, **kwargs: Any) -> None:
            async with asyncio.timeout(timeout), app.open(url, **options) as running:
                await test(*leading(args), running, *args[len(leading(args)) :], **kwargs)

        in_class = parameters[0].name == "self"

        def leading(args: tuple[Any, ...]) -> tuple[Any, ...]:
            return args[:1] if in_class else ()

        @functools.wraps(test)
        def plain(*args: Any, **kwargs: Any) -> None:
            asyncio.run(run(*args, **kwargs))

        # What a test runner sees: the parameters that it has to fill.
        rest = [one for number, one in enumerate(parameters) if number != int(in_class)]
        plain.__signature__ = inspect.Signature(rest)  # type: ignore[attr-defined]
        del plain.__wrapped__
        return plain

    return decorated
