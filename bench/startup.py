"""Row 7: whole processes, from their start to their end, as a shell sees them."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.plan import Figure, Figures, Job, Line, Measurement, Work

STARTS = 3
"""Starts of one run; its figure is their median."""

_PYTHON = (sys.executable,)


def _starts(*command: str) -> Work:
    def work(job: Job) -> Figures:
        return {"ms": _milliseconds(command, job.size(STARTS, 1))}

    return work


def prepare(job: Job) -> Figures:
    """Have everything compiled and in the system's cache, as it is from the second start on."""
    for command in (_HELP, _IMPORT, _USE):
        _milliseconds(command, 1)
    return {}


def _milliseconds(command: Sequence[str], starts: int) -> float:
    spent: list[float] = []
    for _ in range(starts):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        spent.append((time.perf_counter() - started) * 1000)
    return statistics.median(spent)


_IMPORT = (*_PYTHON, "-c", "import foldline")
_USE = (*_PYTHON, "-c", "from foldline import *")
_HELP = (str(Path(sys.executable).with_name("foldline")), "--help")

MEASUREMENT = Measurement(
    name="startup",
    title="import foldline and foldline --help",
    preparations=(prepare,),
    sides={
        "python": _starts(*_PYTHON, "-c", "pass"),
        "import": _starts(*_IMPORT),
        "use": _starts(*_USE),
        "help": _starts(*_HELP),
    },
    lines=(
        Line("import foldline, the whole process", Figure("import", "ms"), None, 120, most=True, unit="ms"),
        Line("foldline --help, the whole process", Figure("help", "ms"), None, 250, most=True, unit="ms"),
        Line("… import of every public name", Figure("use", "ms"), unit="ms"),
        Line("… the bare interpreter", Figure("python", "ms"), unit="ms"),
    ),
)
