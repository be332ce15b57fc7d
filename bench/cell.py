"""One run of one side, in this process alone: nothing is cached, compiled or left over from another."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from bench.plan import Job, Measurement


def main() -> None:
    """``python -m bench.cell MODULE SIDE|NUMBER HERE PREPARED RUN full|quick``: the last line is JSON."""
    module, work, here, prepared, run, size = sys.argv[1:]
    measurement: Measurement = importlib.import_module(f"bench.{module}").MEASUREMENT
    job = Job(Path(here), Path(prepared), int(run), size == "quick")
    chosen = measurement.preparations[int(work)] if work.isdecimal() else measurement.sides[work]
    figures = chosen(job)
    sys.stdout.flush()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
