"""Run the tests on every supported Python this machine has, each in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")


def candidates(version: str) -> Iterator[str]:
    """Where a Python of this version may be: PATH first, then pyenv's own, newest patch first."""
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    patches = (path.name.rpartition(".")[2] for path in pyenv.glob(f"{version}.*"))
    for patch in sorted((patch for patch in patches if patch.isdecimal()), key=int, reverse=True):
        yield str(pyenv / f"{version}.{patch}" / "bin" / "python")


def interpreter(version: str) -> str | None:
    """The first candidate that runs and is the version it is named for: a shim may do neither."""
    probe = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in candidates(version):
        if subprocess.run([candidate, "-c", probe], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def tested(version: str, python: str, arguments: list[str]) -> bool:
    """Make the version's environment, see to its browser, and run the tests in it."""
    venv = f".venv-{version}"
    own_python = str(ROOT / venv / "bin" / "python")
    steps = (
        [python, "tools/environment.py", venv, "lock/dev.txt"],
        [own_python, "-m", "tools.ensure_browser"],
        [own_python, "-m", "pytest", *arguments],
    )
    return all(subprocess.run(step, cwd=ROOT, check=False).returncode == 0 for step in steps)


def main(arguments: list[str]) -> int:
    """Test each version found and print what became of it."""
    outcomes = {}
    for version in VERSIONS:
        python = interpreter(version)
        print(f"\n== Python {version}: {python or 'not found'}", flush=True)
        if python:
            outcomes[version] = tested(version, python, arguments)
    print()
    for version in VERSIONS:
        outcome = outcomes.get(version)
        print(f"Python {version}: {'not found' if outcome is None else 'passed' if outcome else 'FAILED'}")
    return 0 if outcomes and all(outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
