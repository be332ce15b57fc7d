"""The pytest plugin: fixtures that run an application in memory. Loaded by pytest itself once Foldline is installed.

It adds four fixtures and one setting, changes nothing about how tests are collected or run, and loads nothing of
Foldline before a test asks for a fixture.
"""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from foldline.app import App, SyncRunning
    from foldline.testing.clock import ManualClock


class Open(Protocol):
    """Runs an application until the end of the test: ``foldline_open(shop)``, or on another store by its URL."""

    def __call__(self, app: App, url: str = "memory:", **options: Any) -> SyncRunning:
        """The running application; ``options`` go to `App.open_sync`, such as ``clock=``."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting ``foldline_app``."""
    parser.addini("foldline_app", "The Foldline App that tests run, as MODULE:NAME (for the fixture foldline_app).")


@pytest.fixture
def foldline_app(request: pytest.FixtureRequest) -> App:
    """The App that `foldline_running` runs: override it in conftest.py, or set ``foldline_app = "shop:shop"``."""
    named = request.config.getini("foldline_app")
    if not named:
        raise pytest.UsageError(
            'Which App is to run? Set foldline_app = "MODULE:NAME" in pytest\'s configuration, '
            "or define a fixture named foldline_app in conftest.py that returns it."
        )
    try:
        found = pkgutil.resolve_name(named)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"foldline_app = {named!r} names no App: {error}") from error
    from foldline.app import App

    if not isinstance(found, App):
        raise pytest.UsageError(f"foldline_app = {named!r} is {found!r}, not an App.")
    return found


@pytest.fixture
def foldline_clock() -> ManualClock:
    """The clock of `foldline_running`: it stands still at the beginning of 2026 until it is told to move."""
    from foldline.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def foldline_open() -> Iterator[Open]:
    """Runs any number of applications, each closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def open_(app: App, url: str = "memory:", **options: Any) -> SyncRunning:
            return stack.enter_context(app.open_sync(url, **options))

        yield open_


@pytest.fixture
def foldline_running(foldline_app: App, foldline_open: Open, foldline_clock: ManualClock) -> SyncRunning:
    """The App of `foldline_app`, running in memory by the clock of `foldline_clock`, closed when the test ends."""
    return foldline_open(foldline_app, clock=foldline_clock)
