"""The real command in real processes, and files for it to read."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 60.0
SHOP = """
from collections.abc import Iterator

from foldline import Aggregate, App, Command, Event, View, applies, handles, projects


class OrderPlaced(Event):
    order_id: str
    total: int


class PlaceOrder(Command):
    order_id: str
    total: int


class Order(Aggregate, id="order_id"):
    total: int = 0

    @handles
    def place(self, command: PlaceOrder) -> Iterator[Event]:
        yield OrderPlaced(command.order_id, command.total)

    @applies
    def placed(self, event: OrderPlaced) -> None:
        self.total += event.total


class OrderTotal(View, key="order_id"):
    order_id: str
    total: int = 0

    @projects
    def placed(self, event: OrderPlaced) -> None:
        self.total += event.total


app = App("shop", Order, OrderTotal)
not_an_app = 17
"""


class Cli:
    """Runs ``foldline`` in a directory of its own, with the environment of nobody's terminal."""

    def __init__(self, place: Path) -> None:
        self.place = place
        hidden = ("FOLDLINE_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "foldline", *arguments]

    def __call__(
        self, *arguments: str, code: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.place,
            env={**self.environment, **(env or {})},
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def events(self, store: str, *arguments: str) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self("events", "--json", "--store", store, *arguments).stdout.split("\n")[:-1]
        ]

    def streams(self, store: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for event in self.events(store):
            found.setdefault(event["stream_id"], []).append(event)
        return found


HEADER = ["case:id", "concept:name", "time:timestamp", "org:resource", "case:note"]
NAMED = ("--stream", "case:id", "--type", "concept:name", "--time", "time:timestamp", "--category", "permit")


def permit_rows(cases: int, of_each: int = 4) -> Iterator[list[str]]:
    """Rows as a process log has them: types with spaces, offsets of summer and winter, empty cells."""
    types = (
        "Confirmation of receipt",
        "T02 Check confirmation of receipt",
        "T06 Determine, then stop",
        "T10 \u2260 T02",
    )
    for case in range(cases):
        for number in range(of_each):
            month, offset = ((case % 12) + 1, "+01:00") if case % 2 else ((case % 12) + 1, "+02:00")
            time = f"2011-{month:02d}-11 13:{number % 60:02d}:{case % 60:02d}.276000{offset}"
            note = "" if number % 2 else f'a "quoted",\nnote of {case}'
            yield [f"case-{case}", types[number % 4], time, f"Resource{number:02d}", note]


def write_csv(path: Path, rows: Sequence[list[str]] | Iterator[list[str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
