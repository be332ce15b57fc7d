"""Row 3: the same commands, one after the other."""

from __future__ import annotations

from bench import shop
from bench.execute import execute, get_and_save, prepare, prepare_peer
from bench.plan import Figure, Figures, Job, Line, Measurement


def foldline(job: Job) -> Figures:
    """By one task."""
    return execute(job, shop.app(), 1, job.size(4_000, 160))


def eventsourcing(job: Job) -> Figures:
    """By one thread."""
    return get_and_save(job, 1, job.size(2_000, 160))


MEASUREMENT = Measurement(
    name="execute_one",
    title="execute: 1 task, aggregates of 20 events",
    preparations=(prepare, prepare_peer),
    sides={"foldline": foldline, "eventsourcing": eventsourcing},
    lines=(
        Line(
            "execute, 1 task, 20 events: beside eventsourcing, get + save, 1 thread",
            Figure("foldline"), Figure("eventsourcing"), 2,
        ),
    ),
)  # fmt: skip
