"""The public API's types are what a user's checker must see: right uses are clean, wrong ones errors."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = Path(__file__).with_name("cases")
ERROR = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+): error: (?P<message>.*)$", re.MULTILINE)
EXPECTED = re.compile(r"# E: (?P<fragment>.*)$")


@cache
def found() -> dict[str, dict[int, str]]:
    """What mypy says of every case, by file and line; run once for all of them."""
    cases = sorted(str(path.relative_to(ROOT)) for path in CASES.glob("*.py"))
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-color-output", *cases],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    errors: dict[str, dict[int, str]] = {}
    for error in ERROR.finditer(run.stdout):
        lines = errors.setdefault(Path(error["file"]).name, {})
        lines[int(error["line"])] = lines.get(int(error["line"]), "") + error["message"] + "\n"
    return errors


def expected(case: Path) -> dict[int, str]:
    """The `# E:` comments of a case, by line."""
    lines = enumerate(case.read_text().splitlines(), 1)
    return {number: match["fragment"].strip() for number, line in lines if (match := EXPECTED.search(line))}


@pytest.mark.parametrize("case", sorted(CASES.glob("ok_*.py")), ids=lambda case: case.stem)
def test_a_right_use_is_clean(case: Path) -> None:
    assert not found().get(case.name, {})


@pytest.mark.parametrize("case", sorted(CASES.glob("bad_*.py")), ids=lambda case: case.stem)
def test_a_wrong_use_is_an_error_on_its_line(case: Path) -> None:
    wanted, errors = expected(case), found().get(case.name, {})
    assert wanted, f"{case.name} expects nothing: mark the wrong lines with # E: fragment"
    unmet = {line: fragment for line, fragment in wanted.items() if fragment not in errors.get(line, "")}
    unforeseen = {line: message for line, message in errors.items() if line not in wanted}
    assert not unmet, f"mypy says otherwise: {unmet}, but {errors}"
    assert not unforeseen, f"errors nobody expected: {unforeseen}"
