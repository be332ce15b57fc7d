"""Events as lines for people: columns that fit the terminal, printed as they come."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import datetime

from foldline.cli.console import colourful, plain
from foldline.store.spi import RecordedEvent

_WIDEST = {"stream": 32, "type": 36, "actor": 18}
_NARROW = 120
_WIDEST_WHERE_NARROW = {"stream": 20, "type": 22, "actor": 10}
_LEAST_DATA = 10
_STYLES = {"position": "2", "stream": "36", "version": "2", "type": "1", "time (UTC)": "2", "actor": "33"}
_RIGHT = ("position", "version")


def shown_time(moment: datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


class EventTable:
    """Prints events, with a line of headings first. Columns only ever widen, so that followed events line up.

    ``without`` names columns that are left out. On a terminal what is too long is cut short, and a narrow one
    shows no fractions of seconds; in a pipe or a file all of it is printed.
    """

    def __init__(self, without: Collection[str] = ()) -> None:
        every = ("position", "stream", "version", "type", "time (UTC)", "actor")
        self._columns = [name for name in every if name not in without]
        self._cut = sys.stdout.isatty()
        self._narrow = self._cut and shutil.get_terminal_size().columns < _NARROW
        self._widest = _WIDEST_WHERE_NARROW if self._narrow else _WIDEST
        self._colourful = colourful(sys.stdout)
        self._widths: dict[str, int] = {}

    def print(self, events: Sequence[RecordedEvent]) -> None:
        """Print some more events."""
        if not events:
            return
        cells = [self._cells(event) for event in events]
        first = not self._widths
        had_actors = "actor" in self._widths
        for name in self._columns:
            if name == "actor" and not had_actors and not any(row[name] for row in cells):
                continue
            needed = max(len(name), *(_width(row[name]) for row in cells))
            if self._cut:
                needed = min(needed, self._widest.get(name, needed))
            self._widths[name] = max(needed, self._widths.get(name, 0))
        lines: list[str] = []
        if first or ("actor" in self._widths) != had_actors:
            lines.append(self._line({name: name for name in (*self._columns, "data")}, heading=True))
        lines += [self._line(row) for row in cells]
        sys.stdout.write("\n".join(lines) + "\n")

    def _cells(self, event: RecordedEvent) -> dict[str, str]:
        return {
            "position": str(event.position),
            "stream": plain(event.stream_id),
            "version": str(event.version),
            "type": plain(event.type),
            "time (UTC)": shown_time(event.recorded_at)[: 19 if self._narrow else None],
            "actor": plain(event.actor or ""),
            "data": plain(event.data.decode(errors="backslashreplace")),
        }

    def _line(self, row: dict[str, str], *, heading: bool = False) -> str:
        parts: list[str] = []
        used = 0
        for name in self._columns:
            width = self._widths.get(name)
            if width is None:
                continue
            text = _fitted(row[name], width) if self._cut else row[name]
            space = " " * (width - _width(text))
            used += width + 2
            styled = self._styled(text, "2" if heading else _STYLES[name])
            parts.append(space + styled if name in _RIGHT else styled + space)
        room = shutil.get_terminal_size().columns - used if self._cut else None
        if room is None or room >= _LEAST_DATA:
            data = row["data"] if room is None else _fitted(row["data"], room)
            parts.append(self._styled(data, "2") if heading else data)
        return "  ".join(parts)

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colourful and text else text


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fitted(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    if text.isascii():
        return text[: width - 1] + "…"
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1).rstrip() + "…"
