"""Runs a measurement's sides in turn, A B C A B C …, each in a process and a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from bench.plan import Figures, Measurement

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 900.0
"""Seconds after which a process is given up; the longest makes 5,000,000 events."""

Runs: TypeAlias = list[dict[str, Figures]]
"""The figures of every side, run by run."""

Tell: TypeAlias = Callable[[str], None]


def measure(module: str, measurement: Measurement, *, runs: int, quick: bool, scratch: Path, tell: Tell) -> Runs:
    """Prepare, then let the sides take turns. Raises RuntimeError where one fails; it told why on stderr."""
    here = Path(tempfile.mkdtemp(prefix=f"{measurement.name}-", dir=scratch))
    try:
        prepared = here / "prepared"
        prepared.mkdir()
        with ExitStack() as stack:
            if measurement.service is not None:
                stack.enter_context(measurement.service(prepared))
            return _measure(module, measurement, runs, quick, here, tell)
    finally:
        shutil.rmtree(here)


def _measure(module: str, measurement: Measurement, runs: int, quick: bool, here: Path, tell: Tell) -> Runs:
    prepared = here / "prepared"
    for number in range(len(measurement.preparations)):
        tell(f"{measurement.name}: preparing {number + 1} of {len(measurement.preparations)}")
        _cell(module, str(number), prepared, prepared, 0, quick)
    # What the system has still to write would be written while something is measured.
    os.sync()
    found: Runs = []
    for run in range(runs):
        figures: dict[str, Figures] = {}
        for side in measurement.sides:
            tell(f"{measurement.name}: run {run + 1} of {runs}, {side}")
            mine = here / f"{run}-{list(measurement.sides).index(side)}"
            mine.mkdir()
            figures[side] = _cell(module, side, mine, prepared, run, quick)
            shutil.rmtree(mine)
        found.append(figures)
    return found


def _cell(module: str, work: str, here: Path, prepared: Path, run: int, quick: bool) -> Figures:
    command = [sys.executable, "-m", "bench.cell", module, work, str(here), str(prepared), str(run)]
    try:
        done = subprocess.run(
            [*command, "quick" if quick else "full"],
            cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{module}, {work}, run {run} failed: {error}") from error
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _environment() -> dict[str, str]:
    """As it is, but for settings that would change what is measured."""
    meant_for_others = ("PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONPROFILEIMPORTTIME", "PYTHONTRACEMALLOC")
    return {name: value for name, value in os.environ.items() if name not in meant_for_others}
