"""What all routes share: the running application, the limits, and who is asking."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias

from litestar import Request

from foldline.app import App, Running
from foldline.errors import StoreClosed

Actor: TypeAlias = Callable[[Request[Any, Any, Any]], "str | Awaitable[str | None] | None"]
"""Tells who sends a request, for authorisation and for the record; it may raise Forbidden."""


class Api:
    """The application behind the routes, from when it is opened until it is closed."""

    def __init__(
        self,
        app: App,
        *,
        max_body: int,
        wait: float,
        heartbeat: float,
        actor: Actor | None,
        origins: Collection[str],
    ) -> None:
        self.app = app
        self.max_body = max_body
        self.wait = wait
        self.heartbeat = heartbeat
        self.actor = actor
        self.origins = frozenset(origin.encode() for origin in origins)
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """The open application; raises StoreClosed where it is not open."""
        if self._running is None:
            raise StoreClosed(
                f"Application {self.app.name!r} is not open: its lifespan has not run. Mounted into "
                "another ASGI application it never does: open it there, and give asgi() the open Running."
            )
        return self._running

    @running.setter
    def running(self, running: Running | None) -> None:
        self._running = running

    async def actor_of(self, request: Request[Any, Any, Any]) -> str | None:
        """Who sends this request; None where nobody was asked to find out."""
        if self.actor is None:
            return None
        told = self.actor(request)
        return await told if inspect.isawaitable(told) else told
