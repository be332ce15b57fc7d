"""Fail when a test run skipped something, or ran nothing: a skipped test proves nothing.

Reads pytest's JUnit report. An expected failure counts as a skip, for pytest reports it as one.
"""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from xml.etree import ElementTree

# A pattern of test ids ("tests.unit.test_x::test_y*"), and the reason why that test may be skipped.
ALLOWED: dict[str, str] = {}


def skipped(report: Path) -> tuple[int, list[tuple[str, str]]]:
    """How many tests the report holds, and which of them were skipped, with pytest's reason."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    found = []
    for case in cases:
        marker = case.find("skipped")
        if marker is not None:
            name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            found.append((name, marker.get("message", "no reason given")))
    return len(cases), found


def main(arguments: list[str]) -> int:
    """Judge one report."""
    count, found = skipped(Path(arguments[0]))
    refused = [
        (name, reason) for name, reason in found if not any(fnmatch.fnmatchcase(name, pattern) for pattern in ALLOWED)
    ]
    for name, reason in refused:
        print(f"skipped without leave: {name}: {reason}", file=sys.stderr)
    if not count:
        print("no test ran", file=sys.stderr)
    return 1 if refused or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
