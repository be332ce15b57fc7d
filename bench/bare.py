"""The raw limit: the same rows in the same tables by plain apsw calls in one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
from uuid_utils.compat import uuid7

from bench import loops, shop
from bench.plan import Figures, Job
from bench.stores import empty

GROUP = 32
"""Rows of one transaction: what 32 tasks can have waiting at once."""

_INSERT = "INSERT INTO foldline_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ALL = (
    "SELECT position, event_id, stream_id, category, version, type, schema_version, CAST(data AS BLOB),"
    " CAST(metadata AS BLOB), recorded_at, correlation_id, causation_id, actor"
    " FROM foldline_events ORDER BY position"
)
_LEAN = "SELECT type, CAST(data AS BLOB) FROM foldline_events ORDER BY position"


def connect(path: Path) -> apsw.Connection:
    """A connection with the settings of Foldline's own, so that only what is around it differs."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("PRAGMA wal_autocheckpoint = 4000").fetchall()
    return connection


def append(job: Job) -> Figures:
    """Rows a second, in transactions of 32 rows that were made beforehand."""
    path = empty(job.here / "bare.db")
    groups = _groups(job.size(96_000, 960))
    connection = connect(path)
    loops.settle()
    started = time.perf_counter()
    for rows in groups:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, rows)
        connection.execute("COMMIT")
    spent = time.perf_counter() - started
    connection.close()
    return {"rate": len(groups) * GROUP / spent}


def read_and_decode(job: Job) -> Figures:
    """Events a second, whole rows and typed events; ``lean`` reads nothing but what decoding needs."""
    connection = connect(job.prepared / "orders.db")
    decoders = {one.__message_name__: msgspec.json.Decoder(one).decode for one in shop.EVENTS}
    started = time.perf_counter()
    events = 0
    for row in connection.execute(_ALL):
        decoders[row[5]](row[7])
        events += 1
    whole = events / (time.perf_counter() - started)
    started = time.perf_counter()
    for name, data in connection.execute(_LEAN):
        decoders[name](data)
    lean = events / (time.perf_counter() - started)
    connection.close()
    return {"rate": whole, "lean": lean}


def _groups(events: int) -> list[Sequence[tuple[Any, ...]]]:
    now = time.time_ns() // 1000
    rows: list[tuple[Any, ...]] = []
    for number in range(events):
        new = shop.first_event(number)
        # fmt: off
        rows.append((
            number + 1, uuid7().bytes, shop.stream_id(number), "order", 1, new.type, 1,
            new.data.decode(), "{}", now, None, None, None,
        ))
        # fmt: on
    return [rows[first : first + GROUP] for first in range(0, events, GROUP)]
