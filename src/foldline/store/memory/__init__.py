"""The store in memory: the readable specification of what every adapter does.

One event loop uses it, and no operation awaits between reading and changing, so each is atomic by itself.
What a database keeps in tables and indexes is lists and dictionaries here; all of it is gone with the object.

Read `log` for appending and reading, `views` for read models, and `values` for what columns keep and how
they compare.
"""

from __future__ import annotations

from datetime import UTC, datetime

from foldline.observe import Observer
from foldline.store.memory.log import MemoryLog
from foldline.store.memory.views import MemoryViews
from foldline.store.spi import Capabilities, Clock


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryStore(MemoryLog, MemoryViews):
    """A store that lives as long as its object, for tests and trials; it belongs to one event loop."""

    def __init__(self, *, clock: Clock = _utc_now, observer: Observer | None = None) -> None:
        super().__init__(clock=clock, observer=observer)

    @property
    def capabilities(self) -> Capabilities:
        """Neither durable, nor with SQL, nor shared with other processes."""
        return Capabilities(durable=False, sql=False, shared=False)

    async def close(self) -> None:
        """End every wait and every later call with StoreClosed. Nothing is ever half done, so nothing is lost."""
        self._end()
