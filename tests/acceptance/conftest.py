"""The demo as a person meets it: a real server in a process of its own, and the system's Chromium."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tools.ensure_browser import launch_options

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "screenshots"
ADDRESS = re.compile(r"http://[\d.]+:\d+")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

expect.set_options(timeout=10_000)


def lines_of(stream: IO[str]) -> queue.Queue[str]:
    """The stream's lines as they come; an empty one is its end."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def address_in(lines: queue.Queue[str]) -> str:
    """The address that a starting server prints, within a minute."""
    said = []
    while line := lines.get(timeout=60):
        said.append(line)
        if found := ADDRESS.search(line):
            return found[0]
    raise AssertionError(f"the demo ended without an address: {''.join(said)}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo shop with some orders in it."""
    store = tmp_path_factory.mktemp("shop") / "shop.db"
    command = [sys.executable, "-m", "foldline", "demo", "--port", "0", "--orders", "400"]
    with subprocess.Popen(
        [*command, "--store", f"sqlite:{store}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield address_in(lines_of(server.stdout))
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=40) in (0, 130), "Ctrl-C closes the shop in good order"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser; it talks to nobody but the shop."""
    options = launch_options()
    options["args"] = [*options["args"], *QUIET]
    # For this module only: while it runs, it makes the main thread look as if it ran an event loop.
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(**options)
        yield running
        running.close()


Window = Callable[..., Page]


@pytest.fixture
def window(browser: Browser, shop: str) -> Iterator[Window]:
    """Opens windows on the shop, each with a session of its own; what a page complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def opened(path: str = "#/", *, width: int = 1180, height: int = 820, dark: bool = False) -> Page:
        context = browser.new_context(
            base_url=shop,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(shop) else complaints.append(f"asked {asked.url}"),
        )
        page.goto("/" + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture(scope="module")
def picture() -> Callable[[Page, str], None]:
    """Keeps a screenshot, for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def taken(page: Page, name: str) -> None:
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return taken
