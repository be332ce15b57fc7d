"""Find a Chromium the page tests can drive, and install one where there is none.

Tried in order: the browser FOLDLINE_BROWSER names, the system's Chromium or Chrome, the build Playwright has
already downloaded, Debian's package (as root), and a download by Playwright. Each counts only once it has
opened a page; when all fail, so does this script. Tests start the one it settled on with `launch_options()`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BUNDLES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# What was found to work, kept in the environment: a browser on PATH may still be a stub that opens nothing.
CHOICE = Path(sys.prefix) / ".browser"
PLAYWRIGHT = "playwright"


def system_browser() -> str | None:
    """The path of the system's Chromium or Chrome, if it has one."""
    on_path = (shutil.which(name) for name in NAMES)
    bundled = (path for path in BUNDLES if Path(path).is_file())
    return next((path for path in (*on_path, *bundled) if path), None)


def chosen_browser() -> str:
    """The browser to drive: the one named, the one settled on, or a guess; PLAYWRIGHT is Playwright's own."""
    settled = CHOICE.read_text() if CHOICE.is_file() else ""
    return os.environ.get("FOLDLINE_BROWSER") or settled or system_browser() or PLAYWRIGHT


def launch_options(browser: str | None = None) -> dict[str, Any]:
    """Keyword arguments for Playwright's `chromium.launch`."""
    browser = browser or chosen_browser()
    # A container's /dev/shm is often 64 MB, too small for a page.
    options: dict[str, Any] = {"args": ["--disable-dev-shm-usage"]}
    if browser != PLAYWRIGHT:
        options["executable_path"] = browser
    if os.geteuid() == 0:
        # Chromium refuses to start its sandbox as root, which is how containers run.
        options["args"].append("--no-sandbox")
    return options


def opens(browser: str) -> bool:
    """Whether this browser opens a page; the one that does is settled on, and either way it is said."""
    try:
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(**launch_options(browser))
            running.new_page().goto("about:blank")
            version = running.version
            running.close()
    except Error as error:
        print(f"browser: {browser} opens no page: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return False
    CHOICE.write_text(browser)
    print(f"browser: {browser}, Chromium {version}")
    return True


def ran(*command: str) -> bool:
    """Run an installation step: said before, and shown in its own words where it fails."""
    print(f"browser: running {' '.join(command)}", file=sys.stderr, flush=True)
    outcome = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if outcome.returncode:
        print(outcome.stdout, file=sys.stderr)
    return outcome.returncode == 0


def installed_from_debian() -> bool:
    """Install Debian's package, where there is apt and the right to use it."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    packages = ("chromium", "fonts-dejavu-core")
    return ran("apt-get", "-qq", "update") and ran(
        "apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages
    )


def main() -> int:
    """Try each source of a browser in turn."""
    named = os.environ.get("FOLDLINE_BROWSER")
    if named:
        return 0 if opens(named) else 1
    for browser in (system_browser(), PLAYWRIGHT):
        if browser and opens(browser):
            return 0
    if installed_from_debian():
        browser = system_browser()
        if browser and opens(browser):
            return 0
    if ran(sys.executable, "-m", "playwright", "install", "chromium") and opens(PLAYWRIGHT):
        return 0
    print("No browser opens a page. Install Chromium, or name one with FOLDLINE_BROWSER.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
