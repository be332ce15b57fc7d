"""A digest over events: two logs have the same one if they hold the same events at the same positions.

It is the SHA-256 of all events in the order of their positions, each written as

- its position, its id, its version, its schema version and its time (microseconds since 1970 UTC), as a signed 64-bit
  number each and the id as its 16 bytes;
- the lengths in bytes of its stream id, category, type, data, metadata, correlation id, causation id and actor, as an
  unsigned 32-bit number each, where 4294967295 stands for one that there is not;
- these eight themselves, text in UTF-8.

Numbers have their highest byte first. So no two different logs are written as the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

from foldline.store.spi import RecordedEvent

_pack = struct.Struct(">q16sqqq8I").pack
_ABSENT = 0xFFFFFFFF


class LogDigest:
    """The digest of the events added so far, how many these are, in how many streams, and the last one's position."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.events = 0
        self.streams = 0
        self.position = 0

    def add(self, events: Iterable[RecordedEvent]) -> None:
        """Add the events that follow."""
        written: list[bytes] = []
        for event in events:
            (
                position, raw_id, stream_id, category, version, name, schema_version, data, metadata, recorded_micros,
                correlation_id, causation_id, actor,
            ) = event  # fmt: skip
            texts = (
                stream_id.encode(),
                category.encode(),
                name.encode(),
                data,
                metadata,
                b"" if correlation_id is None else correlation_id.encode(),
                b"" if causation_id is None else causation_id.encode(),
                b"" if actor is None else actor.encode(),
            )
            lengths = list(map(len, texts))
            for place, value in ((5, correlation_id), (6, causation_id), (7, actor)):
                if value is None:
                    lengths[place] = _ABSENT
            written.append(_pack(position, raw_id, version, schema_version, recorded_micros, *lengths))
            written += texts
            self.events += 1
            self.streams += version == 1
            self.position = position
        self._hash.update(b"".join(written))

    def hexdigest(self) -> str:
        """The digest, in hexadecimal digits."""
        return self._hash.hexdigest()
