"""The side file of an import: the rows that made no event, each with its line number and the reason."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import msgspec

from foldline.errors import CodecError
from foldline.transfer.columns import Origin

SHOWN = 10_000
"""How many characters of a row, or of a cell, are kept in the side file."""


class Rejection(msgspec.Struct):
    """A line of the side file. ``row`` is what stood there: cells by column where they fit, else the text."""

    line: int
    reason: str
    row: dict[str, str] | list[str] | str


_encode = msgspec.json.Encoder().encode


class Rejects:
    """Writes the side file; where no row was rejected, there is none. That of an earlier run is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.header: list[str] | None = None
        self._file: IO[bytes] | None = None
        if path.exists():
            with path.open("rb") as before:
                first = before.readline(1024 * 1024)
            try:
                if first:
                    msgspec.json.decode(first, type=Rejection)
            except msgspec.DecodeError:
                raise CodecError(
                    f"{path} is there already and lists no rejected rows: name another file for them."
                ) from None
            path.unlink()

    def add(self, line: int, reason: str, origin: Origin) -> None:
        """Note a row down."""
        if self._file is None:
            self._file = self.path.open("wb")
        self.count += 1
        self._file.write(_encode(Rejection(line, _text(reason), self._shown(origin))) + b"\n")

    def flush(self) -> None:
        """Have all that was noted in the file."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()

    def _shown(self, origin: Origin) -> dict[str, str] | list[str] | str:
        if isinstance(origin, bytes):
            return _text(origin[: 4 * SHOWN].decode(errors="backslashreplace"))
        cells = [_text(cell) for cell in origin]
        if self.header is not None and len(self.header) == len(cells):
            return dict(zip(self.header, cells, strict=True))
        return cells if len(cells) != 1 else cells[0]


def _text(text: str) -> str:
    """Text that JSON can hold, whatever bytes it was read from, and not too much of it."""
    return text[:SHOWN].encode("utf-8", errors="surrogateescape").decode(errors="backslashreplace")
