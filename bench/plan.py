"""What a measurement is made of: sides that do the same work, and lines drawn from their figures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeAlias

Figures: TypeAlias = dict[str, float]
"""What one run of one side came to, by name: rates a second, seconds, MiB."""


class Job(NamedTuple):
    """What a side is given to do one run in a process of its own.

    ``here`` is an empty directory for this run alone, ``prepared`` what the measurement's preparations left
    for all of its runs. ``run`` counts from 0 and seeds what is random: alike for all sides, new every run.
    """

    here: Path
    prepared: Path
    run: int
    quick: bool

    def size(self, full: int, quick: int) -> int:
        """How many: the number that is measured with, or the one that only shows that it works."""
        return quick if self.quick else full

    def copy(self, name: str, to: str | None = None) -> Path:
        """A copy of what was prepared, for this run alone and on the disk before anything is measured."""
        made = Path(shutil.copy(self.prepared / name, self.here / (to or name)))
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        return made


Work: TypeAlias = Callable[[Job], Figures]

Service: TypeAlias = Callable[[Path], AbstractContextManager[None]]
"""What runs beside all of a measurement: a server, which leaves word of itself in the directory ``prepared``."""


class Figure(NamedTuple):
    """One figure of one side."""

    side: str
    name: str = "rate"


class Line(NamedTuple):
    """A line of the table: a figure, maybe beside another, maybe with a target.

    With ``theirs`` the target is for the ratio of the two, run by run; without, for the figure itself. It is
    the least that is good enough; with ``most``, a limit to stay below.
    """

    what: str
    ours: Figure
    theirs: Figure | None = None
    target: float | None = None
    most: bool = False
    unit: str = "/s"


class Measurement(NamedTuple):
    """One row of the issue: its sides, in the order in which they take turns, and its lines.

    ``preparations`` make what all runs share, each in a process of its own, before the first run.
    """

    name: str
    title: str
    sides: dict[str, Work]
    lines: tuple[Line, ...]
    preparations: tuple[Work, ...] = ()
    service: Service | None = None
