"""`make bench`: measures what was asked for and prints the table; exit status 1 where a target was missed."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MODULES = {
    "append": "append",
    "execute": "execute",
    "execute_one": "execute_one",
    "reading": "reading",
    "rebuild": "rebuild",
    "http": "http_post",
    "startup": "startup",
    "growth": "growth",
    "pg_append": "pg_append",
    "pg_execute": "pg_execute",
    "pg_log": "pg_log",
    "pg_latency": "pg_latency",
    "pg_growth": "pg_growth",
    "pg_head": "pg_head",
}
"""The modules of the measurements, in the order in which they are measured."""

GROUPS = {
    "sqlite": [name for name in MODULES if not name.startswith("pg_")],
    "postgres": [name for name in MODULES if name.startswith("pg_")],
}


def main() -> int:
    """Parse the command line and measure."""
    options = _options()
    # This file is run by its path, which leaves out the directory that its package is in.
    sys.path.insert(0, str(ROOT))
    from bench import report, runner
    from bench.plan import Measurement

    began = time.perf_counter()
    scratch = Path(options.dir) if options.dir else ROOT / "build" / "bench"
    scratch.mkdir(parents=True, exist_ok=True)
    mine = Path(tempfile.mkdtemp(prefix="run-", dir=scratch))
    rows: list[report.Row] = []
    raw: dict[str, runner.Runs] = {}
    try:
        for name in _chosen(options.only):
            measurement: Measurement = importlib.import_module(f"bench.{MODULES[name]}").MEASUREMENT
            found = runner.measure(
                MODULES[name], measurement, runs=options.runs, quick=options.quick, scratch=mine, tell=_tell
            )
            raw[name] = found
            fresh = [report.row(line, found, judge=not options.quick) for line in measurement.lines]
            rows += fresh
            _tell("")
            print(f"{measurement.title}\n{report.table(fresh)}\n", flush=True)
    finally:
        shutil.rmtree(mine)
    text = f"{report.table(rows)}\n\n{report.setting(options.runs)}\n"
    if options.quick:
        text += "A smoke run: the sizes are far too small for the numbers to mean anything.\n"
    print(f"{text}{(time.perf_counter() - began) / 60:.1f} minutes in all")
    if options.raw:
        Path(options.raw).write_text(json.dumps(raw, indent=1))
    if options.write:
        (ROOT / "bench" / "RESULTS.md").write_text(
            f"# Measured\n\nBy `make bench`; what each line is: [README](README.md).\n\n{text}"
        )
    missed = [one.cells[0] for one in rows if one.met is False]
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    names = [*GROUPS, *MODULES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each side (default 5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--raw", metavar="FILE", help="write every run's figures as JSON")
    parser.add_argument("--dir", metavar="DIR", help="a directory on the disk to measure (default build/bench)")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs is at least 1")
    if options.write and (options.quick or options.only):
        parser.error("--write needs a whole run: leave out --quick and --only")
    return options


def _chosen(only: list[str] | None) -> list[str]:
    """The measurements that were asked for, each once, with groups taken apart."""
    return list(dict.fromkeys(one for name in only or MODULES for one in GROUPS.get(name, [name])))


def _tell(words: str) -> None:
    """What is being done, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
