"""One decision at a time for each stream of this process, so that only other processes can make it conflict."""

from __future__ import annotations

import asyncio
from collections import deque

from foldline.errors import StoreBusy


class Gates:
    """A fair lock for every stream that is in use; one that nobody holds costs nothing and is not kept."""

    def __init__(self, patience: float = 30.0) -> None:
        self._patience = patience
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    def is_free(self, stream_id: str) -> bool:
        """Whether `enter` would not wait."""
        return stream_id not in self._queues

    async def enter(self, stream_id: str) -> None:
        """Take the stream's gate, after those who asked before; raises StoreBusy after ``patience`` seconds."""
        queue = self._queues.get(stream_id)
        if queue is None:
            self._queues[stream_id] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            # Cancelled or out of patience: a turn that was given in the same moment is passed on.
            if turn.done() and not turn.cancelled():
                self.leave(stream_id)
            if isinstance(error, TimeoutError):
                raise StoreBusy(
                    f"Stream {stream_id!r} was busy for {self._patience:g} s: a handler that holds it does not end "
                    "(does it execute another command on the same aggregate?)."
                ) from None
            raise

    def leave(self, stream_id: str) -> None:
        """Give the gate to the next in line."""
        queue = self._queues[stream_id]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[stream_id]
