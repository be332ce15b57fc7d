"""How the command talks: failures on standard error, colours for people, progress for those who wait."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Stop(Exception):
    """The command cannot go on; its message is for the user, its ``code`` for the shell."""

    def __init__(self, message: str, code: int = 1) -> None:
        self.code = code
        super().__init__(message)


def settle_streams() -> None:
    """Have text that the terminal's encoding cannot show escaped, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def colourful(stream: IO[str]) -> bool:
    """Whether a stream goes to a terminal that shows colours, and nobody asked for none."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def styled(text: str, code: str, stream: IO[str]) -> str:
    """Text in an ANSI style, such as ``"1;31"``, where the stream shows it."""
    return f"\x1b[{code}m{text}\x1b[0m" if colourful(stream) else text


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    print(f"{styled('foldline:', '1;31', sys.stderr)} {plain(message, newlines=True)}", file=sys.stderr)


def note(message: str) -> None:
    """Say something on standard error that is not part of the command's output."""
    print(plain(message, newlines=True), file=sys.stderr)


def plain(text: str, *, newlines: bool = False) -> str:
    """Text from a store, made harmless: control characters could move the cursor, or turn the text around."""
    return _UNSAFE.sub(lambda found: "\n" if newlines and found[0] == "\n" else _escaped(found[0]), text)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}"


def console() -> Console:
    """Rich on standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def progress(description: str, unit: str) -> Iterator[Bar]:
    """A bar on standard error with rate and time left, gone at the end; nothing where no terminal is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]:>12,} " + unit),
        TextColumn("[dim]{task.fields[rate]:>9,.0f}/s[/dim]"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]left[/dim]"),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
    if not sys.stderr.isatty():
        yield Bar(None, None)
        return
    with shown:
        yield Bar(shown, shown.add_task(description, total=None, count=0, rate=0.0))


class Bar:
    """A progress bar, or the place where one would be."""

    def __init__(self, shown: Progress | None, task: TaskID | None) -> None:
        self._shown = shown
        self._task = task

    def move(self, done: float, total: float, count: int, rate: float, description: str | None = None) -> None:
        """Show how far it is, out of a total (0: not known), how much has been done and how fast; and of what."""
        if self._shown is not None and self._task is not None:
            self._shown.update(
                self._task, completed=done, total=total or None, count=count, rate=rate, description=description
            )
