"""Proves a view insensitive to how the log reaches it: batches cut anywhere, delivered again, with restarts between."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from foldline.domain.codec import Codec
from foldline.projection.projector import FoldFailed, ViewShare, decode
from foldline.projection.view import ViewType
from foldline.store.memory import MemoryStore
from foldline.store.spi import Checkpoint, RecordedEvent, Row, Select, Transaction
from foldline.testing.history import Past, recorded
from foldline.testing.outside import Outside, watched
from foldline.testing.projected import compiled_view, stored_rows, with_event

T = TypeVar("T")
V = TypeVar("V")

_MOST_CUTS = 40


class _Crashed(Exception):
    """Stands for whatever keeps a transaction from being committed."""


class Step(NamedTuple):
    """One delivery: the events up to a number of them, and what befalls it.

    ``crash`` undoes its transaction, whereupon it is delivered again. ``restart`` begins it in a new process.
    ``stale`` delivers all from the beginning again, as to a worker that does not know what is committed. ``keep``
    folds on the rows that the last batch left in memory, as a catching-up projection does.
    """

    upto: int
    crash: bool = False
    restart: bool = False
    stale: bool = False
    keep: bool = False

    def __str__(self) -> str:
        before = "restart, " if self.restart else "all events again, " if self.stale else ""
        return f"{before}up to event {self.upto}{' (rolled back, then again)' if self.crash else ''}"


class Plan(NamedTuple):
    """A way for the log to reach a view, and how to tell a person of it."""

    name: str
    steps: tuple[Step, ...]


def check_view(view: type[V], events: Iterable[Past], *, seed: int = 0, rounds: int = 25) -> list[V]:
    """Prove that a view's rows depend on its events alone, and return them.

    The events, in the order of the log, are projected in one batch, one by one, cut in two at each place, and in
    ``rounds`` random ways drawn from ``seed``; with transactions rolled back and tried again, batches delivered again
    that were committed already, and restarts that forget all but the rows. Every way must lead to the same table.
    Raises AssertionError that tells the row, the field, both values and the cut where one does not, and where a
    handler looks at the clock or draws random numbers. What a handler raises comes through.
    """
    __tracebackhide__ = True
    compiled = compiled_view(view)
    codec, log = recorded(events, compiled.events)
    outside = Outside(compiled)
    whole = Plan("in one batch", (Step(len(log)),))
    try:
        with watched() as impure:
            expected = _run(compiled, codec, log, whole, outside)
        if impure:
            raise AssertionError(
                f"{view.__name__} does not depend on its events alone: it calls\n"
                + "\n".join(f"    {one}" for one in impure)
                + "\nTake the time from the envelope (envelope.recorded_at), and let the event carry what was drawn."
            )
        for plan in _plans(len(log), random.Random(seed), rounds):  # nosec B311: no secret
            outside.restore()
            found = _run(compiled, codec, log, plan, outside)
            if found != expected:
                raise AssertionError(_told(compiled, expected, found, plan, log, outside.changed(), seed))
    finally:
        outside.restore()
    return [compiled.struct(row) for row in expected.values()]


def _plans(count: int, rng: random.Random, rounds: int) -> Iterator[Plan]:
    """The simplest first, so that a failure tells the simplest cut that shows it."""
    yield Plan("in one batch, a second time", (Step(count),))
    if not count:
        return
    cuts = range(1, count)
    if len(cuts) > _MOST_CUTS:
        cuts = sorted(rng.sample(cuts, _MOST_CUTS))  # type: ignore[assignment]
    for cut in cuts:
        yield Plan(f"cut after event {cut}", (Step(cut), Step(count)))
    for cut in cuts:
        yield Plan(f"cut after event {cut}, with its rows kept in memory", (Step(cut), Step(count, keep=True)))
    for cut in cuts:
        yield Plan(f"restarted after event {cut}", (Step(cut), Step(count, restart=True)))
    for cut in (*cuts, count):
        yield Plan(f"rolled back at event {cut} and tried again", (Step(cut, crash=True), Step(count)))
    for cut in (*cuts, count):
        yield Plan(f"delivered again after event {cut}", (Step(cut), Step(count, stale=True)))
    numbers = range(1, count + 1)
    yield Plan("one event at a time", tuple(Step(number) for number in numbers))
    yield Plan("one event at a time, restarted before each", tuple(Step(number, restart=True) for number in numbers))
    yield Plan("one event at a time, each twice", tuple(Step(number, crash=True) for number in numbers))
    for _ in range(rounds):
        ends = sorted({*rng.choices(numbers, k=rng.randint(1, min(count, 12))), count})
        yield Plan("a random way", tuple(_random_step(end, rng) for end in ends))


def _random_step(upto: int, rng: random.Random) -> Step:
    first = rng.choice(("plain", "plain", "restart", "stale", "keep", "keep"))
    return Step(upto, rng.random() < 0.3, first == "restart", first == "stale", first == "keep")


def _run(
    view: ViewType[Any], codec: Codec, log: Sequence[RecordedEvent], plan: Plan, outside: Outside
) -> dict[Any, Row]:
    """The table after a plan, by key."""
    store = MemoryStore()
    worker = _Worker(view, codec, store)
    for step in plan.steps:
        if step.restart:
            outside.restart()
            worker = _Worker(view, codec, store)
        if step.stale:
            worker.forget()
        elif not step.keep:
            worker.states = {}
        try:
            if step.crash:
                worker.deliver(log[: step.upto], crash=True)
            while not worker.deliver(log[: step.upto]):
                pass
        except FoldFailed as failed:
            raise with_event(failed, view, list(log)) from None
    rows = _now(store.select(Select(view.table)))
    stored = stored_rows(view)
    key = next(at for at, column in enumerate(view.columns) if column.name == view.key.name)
    return {row[key]: stored(row) for row in rows}


class _Worker:
    """One process's part in a projection: reads from where it believes to be, folds, commits with its checkpoint."""

    def __init__(self, view: ViewType[Any], codec: Codec, store: MemoryStore) -> None:
        self._view = view
        self._codec = codec
        self._store = store
        self._checkpoint: Checkpoint = _now(store.prepare(view.spec))
        self._stored = stored_rows(view)
        self.states: dict[Any, Any] = {}

    def forget(self) -> None:
        """Believe that nothing is committed yet."""
        self._checkpoint = self._checkpoint._replace(position=0)
        self.states = {}

    def deliver(self, log: Sequence[RecordedEvent], *, crash: bool = False) -> bool:
        """Go on to the end of the log as it is given; False where the checkpoint turned out to be elsewhere."""
        view, checkpoint, states = self._view, self._checkpoint, self.states
        batch = [event for event in log if event.position > checkpoint.position]
        reached = max(checkpoint.position, log[-1].position if log else 0)
        share = ViewShare(view, decode(self._codec, batch, view.names), reached, after=checkpoint.position)
        rows = _now(self._store.load(view.table, share.stored_keys(states)))
        changes = share.fold([self._stored(row) for row in rows], states)

        async def work(transaction: Transaction) -> bool:
            if not await transaction.advance(checkpoint, share.position):
                return False
            await transaction.delete(view.table, changes.deletes)
            await transaction.upsert(view.table, changes.upserts)
            if crash:
                raise _Crashed
            return True

        try:
            advanced = _now(self._store.transact(work))
        except _Crashed:
            self.states = {}
            return False
        if advanced:
            self._checkpoint = checkpoint._replace(position=share.position)
        else:
            self._checkpoint = _now(self._store.checkpoints())[view.name]
            self.states = {}
        return advanced


def _now(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as those of the store in memory do not: no event loop is needed."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("The store in memory waited where it was not expected to.")


def _told(
    view: ViewType[Any],
    expected: dict[Any, Row],
    found: dict[Any, Row],
    plan: Plan,
    log: Sequence[RecordedEvent],
    changed: list[str],
    seed: int,
) -> str:
    key = next(key for key in {**expected, **found} if expected.get(key) != found.get(key))
    left, right = expected.get(key), found.get(key)
    again = "  in one batch"
    other = f"  {plan.name}"
    width = max(len(again), len(other))
    if left is None or right is None:
        shown = [("the whole row", left, right)]
    else:
        shown = [
            (f"field {column.name!r}", one, two)
            for column, one, two in zip(view.columns, left, right, strict=True)
            if one != two
        ]
    lines = [f"{view.cls.__name__} does not depend on its events alone."]
    for what, one, two in shown:
        lines += [f"row {key!r}, {what}:", f"{again:<{width}}  {one!r}", f"{other:<{width}}  {two!r}"]
    if len(plan.steps) > 1:
        lines.append("the cut: " + "; ".join(str(step) for step in plan.steps))
    if changed:
        lines.append("changed outside of its rows, where a restart loses it: " + ", ".join(changed))
    lines.append("events:")
    lines += [f"  {number:>3} {one.type} {one.data.decode()}" for number, one in enumerate(log[:50], 1)]
    if len(log) > 50:
        lines.append(f"      and {len(log) - 50} more")
    lines.append(f"seed={seed}")
    return "\n".join(lines)
