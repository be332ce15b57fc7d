"""The storefront's files: all there, and nothing that a strict content security policy forbids."""

from __future__ import annotations

import re

from foldline.demo.serve import HEADERS, PAGES

ASSETS = PAGES / "assets"


def test_every_file_that_is_asked_for_is_there() -> None:
    wanted = set(re.findall(r'"/assets/([^"]+)"', (PAGES / "index.html").read_text()))
    for script in ASSETS.glob("*.js"):
        wanted |= set(re.findall(r'(?:from |import\()"\./([^"]+)"', script.read_text()))
    assert wanted == {path.name for path in ASSETS.iterdir()}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = (PAGES / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]
    for path in (PAGES / "index.html", *ASSETS.iterdir()):
        addresses = set(re.findall(r"https?://[^\s\"')]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text()), path.name
