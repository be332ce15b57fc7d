"""From a row of somebody's file to an event: which column is what, and an id that the row always gets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from typing import NamedTuple, TypeAlias
from uuid import UUID

from foldline.domain.message import check_id
from foldline.errors import DefinitionError, ValidationFailed
from foldline.store.spi import MAX_DATA_BYTES, NewEvent

REMEMBERED_ROWS = 500_000
"""How many rows at the least lie between two identical ones before they are taken for the same event."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Columns(NamedTuple):
    """How to read a file that Foldline did not write: which columns (or keys) hold what.

    ``category`` is the category of all streams: a row of stream ``17`` goes to ``category-17``. ``id`` names
    what tells rows apart; without it, the row's content does. ``timezone`` is for times without a UTC offset.
    ``delimiter`` (a tab for ``.tsv`` files, else a comma) and ``encoding`` are for CSV.
    """

    stream: str
    type: str
    time: str
    category: str
    id: str | None = None
    timezone: tzinfo | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"

    def checked(self) -> Columns:
        """These columns; raises DefinitionError where no event could come of them."""
        if not self.category or "-" in self.category:
            raise DefinitionError(
                f"{self.category!r} cannot be a category: it needs a name without a hyphen, such as permit."
            )
        try:
            check_id("The category", self.category)
        except ValidationFailed as error:
            raise DefinitionError(f"{self.category!r} cannot be a category: {reason_of(error)}.") from None
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n"'):
            raise DefinitionError(f"{self.delimiter!r} cannot separate columns: it must be one character.")
        return self


Origin: TypeAlias = list[str] | bytes
"""What stood in the file: the cells of a CSV record, or a line's bytes."""


class Candidate(NamedTuple):
    """A row that makes an event; ``version`` is what it must become, where the file says so."""

    line: int
    stream_id: str
    event: NewEvent
    version: int | None
    origin: Origin


class Bad(NamedTuple):
    """A row that makes none, and why."""

    line: int
    reason: str
    origin: Origin


class Maker:
    """Makes events of rows. One a file, since identical rows are told apart by how often they came before."""

    def __init__(self, columns: Columns) -> None:
        self._prefix = f"{columns.category}-"
        self._timezone = columns.timezone
        self._names = columns
        self._seen = _Occurrences(REMEMBERED_ROWS)

    def make(
        self, line: int, stream: str, type_: str, time: str, id_: str | None, data: bytes, origin: Origin
    ) -> Candidate | Bad:
        """The event of a row, or what is wrong with it."""
        if not (stream and type_ and time and id_ != ""):
            named = ((stream, self._names.stream), (type_, self._names.type), (time, self._names.time))
            empty = next((name for value, name in named if not value), self._names.id)
            return Bad(line, f"its {empty!r} is empty", origin)
        stream_id = self._prefix + stream
        try:
            check_id("its stream", stream_id)
            check_id("its type", type_)
            if len(data) > MAX_DATA_BYTES:
                return Bad(line, f"its data is {len(data):,} bytes long; {MAX_DATA_BYTES:,} is the most", origin)
            micros = micros_of(time, self._timezone)
            if id_ is not None:
                event_id = _id_of_key(stream_id, id_)
            else:
                event_id = self._id_of_content(stream_id, type_, micros, data)
            event = NewEvent(event_id, type_, 1, data, recorded_micros=micros)
        except ValidationFailed as error:
            return Bad(line, reason_of(error), origin)
        except UnicodeEncodeError:
            return Bad(line, "it is not text in the file's encoding", origin)
        except ValueError as error:
            return Bad(line, f"its {self._names.time!r} {error}", origin)
        return Candidate(line, stream_id, event, None, origin)

    def _id_of_content(self, stream_id: str, type_: str, micros: int, data: bytes) -> UUID:
        # Neither ids nor types hold NUL, so no two rows run together into the same text.
        content = f"{stream_id}\0{type_}\0{micros}\0".encode() + data
        digest = blake2b(content, digest_size=16).digest()
        number = self._seen.count(int.from_bytes(digest[:8]))
        if number:
            digest = blake2b(digest + number.to_bytes(8), digest_size=16).digest()
        # Led by the event's time, as a UUIDv7 is, so that a store's index of ids grows at its end.
        return _uuid8(digest, micros // 1000)


def micros_of(text: str, timezone: tzinfo | None) -> int:
    """Microseconds since 1970 UTC of an ISO 8601 time; raises ValueError with the reason."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"is no ISO 8601 time: {text[:80]!r}") from None
    if moment.tzinfo is None:
        if timezone is None:
            raise ValueError(f"has no UTC offset, and no time zone was given: {text[:80]!r}")
        moment = moment.replace(tzinfo=timezone)
    since = moment - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not _LEAST <= micros <= _MOST:
        raise ValueError(f"lies outside the years 1 to 9999: {text[:80]!r}")
    return micros


def reason_of(error: ValidationFailed) -> str:
    """What was wrong, without the words for people who sent a message."""
    return "; ".join(f"{error.subject}: {fault.message}" for fault in error.faults)


def _id_of_key(stream_id: str, key: str) -> UUID:
    if _UUID.fullmatch(key):
        return UUID(key)
    digest = blake2b(f"{stream_id}\0{key}".encode(), digest_size=16).digest()
    return _uuid8(digest, int.from_bytes(digest[10:16]))


def _uuid8(digest: bytes, lead: int) -> UUID:
    """A UUID of version 8 (RFC 9562: whatever its maker says): 48 bits of lead, 74 bits of digest."""
    return UUID(int=(lead & _48_BITS) << 80 | int.from_bytes(digest[:10]) & _74_BITS | _VERSION_8)


class _Occurrences:
    """Counts how often a row came before, as far back as memory is spared for: two generations of a size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._newer: set[int] = set()
        self._older: set[int] = set()
        self._again: dict[int, int] = {}
        self._again_before: dict[int, int] = {}

    def count(self, row: int) -> int:
        if row not in self._newer and row not in self._older:
            self._newer.add(row)
            number = 0
        else:
            self._newer.add(row)
            number = self._again.get(row, self._again_before.get(row, 0)) + 1
            self._again[row] = number
        if len(self._newer) >= self._size:
            self._older, self._newer = self._newer, set()
            self._again_before, self._again = self._again, {}
        return number


_48_BITS = (1 << 48) - 1
_VERSION_8 = 8 << 76 | 2 << 62
_74_BITS = (1 << 80) - 1 & ~(0xF << 76 | 3 << 62)
_LEAST = -62_135_596_800_000_000
_MOST = 253_402_300_799_999_999
