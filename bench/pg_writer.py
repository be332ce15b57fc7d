"""A process that appends when it is told to: one of several in the same database."""

from __future__ import annotations

import asyncio
import sys
import time

from bench import loops
from bench.pg_append import append, new_appends


def main() -> None:
    """``python -m bench.pg_writer URL TASKS APPENDS SEED``: ready; at the end of stdin, go; then from when to when."""
    url, tasks, appends, seed = sys.argv[1:]
    made = new_appends(int(appends), 1, int(seed))
    loops.settle()
    print("ready", flush=True)
    sys.stdin.read()
    rate = asyncio.run(append(url, made, int(tasks)))
    # Of one clock for all processes.
    end = time.monotonic()
    print(end - len(made) / rate, end, flush=True)


if __name__ == "__main__":
    main()
