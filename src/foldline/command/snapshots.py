"""Snapshots: folded states kept off the command's path, so that long streams load fast.

They are a cache. One that does not fit the code is ignored and replaced; deleting all of them changes no answer.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from foldline.domain.aggregate import AggregateType
from foldline.domain.codec import decode, encode
from foldline.errors import CodecError, StoreError
from foldline.observe import Observer, SnapshotIgnored, SnapshotWritten
from foldline.store.spi import Snapshot, SnapshotStore

log = logging.getLogger("foldline.snapshots")


class Snapshots(AbstractAsyncContextManager["Snapshots"]):
    """Reads snapshots, and writes them in the background.

    At most ``backlog`` wait to be written; what does not fit is let go, for the next one will do.
    """

    def __init__(self, store: SnapshotStore, *, observer: Observer | None = None, backlog: int = 256) -> None:
        self._store = store
        self._observer = observer
        self._waiting: asyncio.Queue[Snapshot | None] = asyncio.Queue(backlog)
        self._fingerprints: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Snapshots:
        """Start writing."""
        self._task = asyncio.create_task(self._write(), name="foldline-snapshots")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, then stop."""
        if self._task is not None:
            await self._waiting.put(None)
            await self._task

    async def load(self, aggregate: AggregateType[Any], stream_id: str) -> tuple[Any, Snapshot] | None:
        """The state of a stream at its snapshot, or None where there is none that fits the code."""
        if aggregate.snapshot_every is None or aggregate.state_type is None:
            return None
        snapshot = await self._store.load_snapshot(stream_id)
        if snapshot is None:
            return None
        if snapshot.fingerprint != self._fingerprint(aggregate):
            self._ignored(stream_id, "it was made by other code")
            return None
        try:
            return decode(aggregate.state_type, snapshot.state), snapshot
        except CodecError as error:
            self._ignored(stream_id, str(error))
            return None

    def offer(
        self, aggregate: AggregateType[Any], stream_id: str, state: Any, before: int, version: int, position: int
    ) -> None:
        """Keep the state if the policy asks for it between versions ``before`` and ``version``. Never waits."""
        every = aggregate.snapshot_every
        if every is None or aggregate.state_type is None or version // every == before // every or self._waiting.full():
            return
        # A state that would come back as another (a tuple in a field of any type, say, as a list) must not come back.
        try:
            encoded = encode(state)
            same = decode(aggregate.state_type, encoded) == state
        except CodecError as error:
            log.warning("no snapshot of %s: %s", stream_id, error)
            return
        if not same:
            log.warning("no snapshot of %s: its state would be read back as another", stream_id)
            return
        self._waiting.put_nowait(Snapshot(stream_id, version, position, self._fingerprint(aggregate), encoded))

    async def _write(self) -> None:
        while (snapshot := await self._waiting.get()) is not None:
            try:
                await self._store.save_snapshot(snapshot)
            except Exception as error:
                # Nobody waits for a snapshot, and whatever keeps one from being written must not stop the next.
                known = isinstance(error, StoreError)
                log.warning(
                    "snapshot of %s at version %d not kept: %s",
                    snapshot.stream_id,
                    snapshot.version,
                    error if known else repr(error),
                    exc_info=not known,
                )
            else:
                if self._observer is not None:
                    self._observer(SnapshotWritten(snapshot.stream_id, snapshot.version))

    def _fingerprint(self, aggregate: AggregateType[Any]) -> str:
        known = self._fingerprints.get(aggregate.category)
        if known is None:
            known = self._fingerprints[aggregate.category] = aggregate.fingerprint()
        return known

    def _ignored(self, stream_id: str, reason: str) -> None:
        log.info("snapshot of %s ignored: %s", stream_id, reason)
        if self._observer is not None:
            self._observer(SnapshotIgnored(stream_id, reason))
