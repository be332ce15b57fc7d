"""The pytest plugin in runs of its own, the helper for async tests, the clock and the ids."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from foldline import Aggregate, App, Command, Event, Running, View, applies, handles, projects
from foldline.errors import StoreClosed
from foldline.testing import ManualClock, SequentialIds, with_running
from foldline.testing.plugin import Open

SHOP = """
from __future__ import annotations
from foldline import Aggregate, App, Command, Event, Query, View, Views, answers, applies, handles, projects

class Opened(Event):
    id: str

class Open(Command):
    id: str

class Thing(Aggregate, id="id"):
    count: int = 0

    @handles
    def open(self, command: Open):
        yield Opened(command.id)

    @applies
    def opened(self, event: Opened):
        self.count += 1

class Row(View, key="id"):
    id: str
    count: int = 0

    @projects
    def opened(self, event: Opened):
        self.count += 1

class CountOf(Query[int]):
    id: str

@answers
async def count_of(query: CountOf, views: Views) -> int:
    row = await views.get(Row, query.id)
    return row.count if row else 0

shop = App("shop", Thing, Row, count_of)
"""

TESTS = """
from datetime import UTC, datetime
from shop import CountOf, Open, Thing, shop

def test_running(foldline_running, foldline_clock):
    receipt = foldline_running.execute(Open("a"))
    assert foldline_running.ask(CountOf("a"), after=receipt) == 1
    foldline_clock.advance(days=1)
    foldline_running.execute(Open("a"))
    assert foldline_running.load(Thing, "a", at=datetime(2026, 1, 1, 12, tzinfo=UTC)).count == 1

def test_each_test_has_its_own(foldline_running):
    assert foldline_running.position() == 0

def test_several(foldline_open, tmp_path):
    one, two = foldline_open(shop), foldline_open(shop, f"sqlite:{tmp_path}/shop.db")
    one.execute(Open("a"))
    assert (one.position(), two.position()) == (1, 0)
"""


def run(folder: Path, *arguments: str, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:schemathesis",
            "-W",
            "error",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_an_app_named_in_the_settings_runs(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfoldline_app = shop:shop\n")
    done = run(tmp_path, shop=SHOP, test_shop=TESTS)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_an_app_from_an_overridden_fixture_runs(tmp_path: Path) -> None:
    conftest = "import pytest\nfrom shop import shop\n@pytest.fixture\ndef foldline_app():\n    return shop\n"
    done = run(tmp_path, shop=SHOP, test_shop=TESTS, conftest=conftest)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("", "Which App is to run? Set foldline_app"),
        ("foldline_app = nowhere:shop", "foldline_app = 'nowhere:shop' names no App: No module named 'nowhere'"),
        ("foldline_app = shop:nothing", "foldline_app = 'shop:nothing' names no App"),
        ("foldline_app = shop:Thing", "not an App"),
    ],
)
def test_a_missing_or_wrong_app_is_told_clearly(tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{setting}\n")
    done = run(tmp_path, "-k", "own", shop=SHOP, test_shop=TESTS)
    assert done.returncode != 0 and said in done.stdout + done.stderr


def test_failures_show_the_test_and_not_the_kit(tmp_path: Path) -> None:
    test = (
        "from foldline.testing import given\nfrom shop import Open, Opened, Thing\n"
        "def test_it():\n    given(Thing).when(Open('a')).then(Opened('b'))\n"
    )
    done = run(tmp_path, shop=SHOP, test_it=test)
    assert "id: expected 'b', got 'a'" in done.stdout
    assert "scenario.py" not in done.stdout and "test_it.py:4: AssertionError" in done.stdout


def test_a_run_that_needs_nothing_loads_nothing(tmp_path: Path) -> None:
    test = (
        "import sys\ndef test_it():\n"
        "    loaded = {name for name in sys.modules if name.partition('.')[0] in "
        "('foldline', 'msgspec', 'apsw', 'litestar')}\n"
        "    assert loaded == {'foldline', 'foldline.testing', 'foldline.testing.plugin'}\n"
    )
    done = run(tmp_path, test_it=test)
    assert "1 passed" in done.stdout, done.stdout


# --- In this run -----------------------------------------------------------------------------------------------------


class Opened(Event):
    id: str


class OpenIt(Command):
    id: str


class Thing(Aggregate, id="id"):
    count: int = 0

    @handles
    def open(self, command: OpenIt) -> Iterator[Opened]:
        yield Opened(command.id)

    @applies
    def opened(self, event: Opened) -> None:
        self.count += 1


class Row(View, key="id"):
    id: str
    count: int = 0

    @projects
    def opened(self, event: Opened) -> None:
        self.count += 1


things = App("things", Thing, Row)
clock = ManualClock()


@with_running(things, clock=clock)
async def test_an_async_test_gets_a_running_app(running: Running) -> None:
    receipt = await running.execute(OpenIt("a"))
    row = await running.views_after(receipt).get(Row, "a")
    assert row == Row("a", 1)
    assert (await running.store.read_stream("thing-a"))[0].recorded_at == clock()


@pytest.mark.parametrize("number", [1, 2])
@with_running(things)
async def test_fixtures_and_parameters_follow(running: Running, number: int, tmp_path: Path) -> None:
    assert await running.position() == 0 and number in (1, 2) and tmp_path.name


class TestInClasses:
    here = "here"

    @with_running(things)
    async def test_self_comes_first(self, running: Running, tmp_path: Path) -> None:
        assert self.here == "here" and await running.position() == 0 and tmp_path.name


def test_an_async_test_that_hangs_or_fails() -> None:
    import asyncio

    @with_running(things, timeout=0.05)
    async def hangs(running: Running) -> None:
        await asyncio.Event().wait()

    @with_running(things)
    async def fails(running: Running) -> None:
        raise AssertionError("as it should")

    with pytest.raises(TimeoutError):
        hangs()
    with pytest.raises(AssertionError, match="as it should"):
        fails()
    with pytest.raises(TypeError, match="is not async"):
        with_running(things)(lambda running: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="takes no running application"):

        @with_running(things)
        async def none() -> None: ...


def test_the_open_fixture_closes_at_the_end(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from foldline.testing import plugin

    opened: Iterator[Open] = plugin.foldline_open.__wrapped__()  # type: ignore[attr-defined]
    open_ = next(opened)
    one = open_(things)
    assert one.execute(OpenIt("a")).version == 1
    with pytest.raises(StopIteration):
        next(opened)
    with pytest.raises((StoreClosed, RuntimeError)):
        one.execute(OpenIt("a"))
    assert not any(thread.name == "foldline-loop" for thread in threading.enumerate())


def test_the_clock_stands_still_until_told() -> None:
    hands = ManualClock()
    assert hands() == hands() == datetime(2026, 1, 1, tzinfo=UTC)
    assert hands.advance(hours=1, minutes=30) == datetime(2026, 1, 1, 1, 30, tzinfo=UTC)
    assert hands.advance(timedelta(hours=-1)) == datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    hands.set(datetime(2020, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert hands() == datetime(2020, 6, 1, 10, tzinfo=UTC)
    assert hands().tzinfo is UTC and repr(hands) == "ManualClock(2020-06-01T10:00:00+00:00)"
    with pytest.raises(ValueError, match="no UTC offset"):
        hands.set(datetime(2020, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="no UTC offset"):
        ManualClock(datetime(2020, 1, 1))  # noqa: DTZ001


def test_ids_are_the_same_in_every_run() -> None:
    one, two = SequentialIds(), SequentialIds()
    ids = [one() for _ in range(300)]
    assert ids == [two() for _ in range(300)]
    assert len(set(ids)) == 300 and sorted(ids) == ids
    assert {id_.version for id_ in ids} == {7} and {id_.variant for id_ in ids} == {"specified in RFC 4122"}
