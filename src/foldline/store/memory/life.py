"""What the parts of the memory store share: being open, and waiting for a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from foldline.errors import DefinitionError, StoreClosed


class Life:
    """A store's life, from its making to its end."""

    def __init__(self) -> None:
        self._closed = False
        self._working = False  # a transaction's work runs right now
        self._changed = asyncio.Event()

    def _check(self) -> None:
        """Every operation begins with this; raises StoreClosed after the end."""
        if self._closed:
            raise StoreClosed
        if self._working:
            # A database would wait here for ever for the transaction, which waits for its work.
            raise DefinitionError(
                "A transaction's work may await only the transaction: fetch what it needs beforehand."
            )

    def _end(self) -> None:
        self._closed = True
        self._signal()

    def _signal(self) -> None:
        """Wake all who wait, so that each looks for itself whether it has come to what it waits for."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until it is reached; False when ``timeout`` seconds passed without."""
        self._check()
        try:
            async with asyncio.timeout(timeout):
                # Nothing awaits between the look and the wait, so no change can fall between them.
                while not reached():
                    await self._changed.wait()
                    self._check()
        except TimeoutError:
            return False
        return True
