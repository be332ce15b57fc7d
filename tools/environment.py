"""Make a virtual environment from a hash-pinned lock, or bring an existing one up to date.

Runs on the bare Python the environment is made from, so it needs nothing but the standard library. What is
installed is recorded in two stamps, each written only after its step is whole: an environment whose making
was interrupted has no stamp and is made again from nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def digest(*parts: bytes) -> str:
    """One name for all that an installation depends on."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def run(*command: str | Path) -> None:
    """Run one step; its failure ends the whole."""
    # An outer environment would leak its packages into this one.
    outer = {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    outcome = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=False)
    if outcome.returncode:
        sys.exit(f"{Path(sys.argv[0]).name}: {' '.join(map(str, command))} ended with {outcome.returncode}")


def installer(python: Path) -> list[str | Path]:
    """What installs into the environment: uv where it is on PATH, else the environment's own pip."""
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", python]
    return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]


def works(python: Path) -> bool:
    """Whether the environment's interpreter still runs: the Python it links to may have been removed."""
    try:
        return subprocess.run([str(python), "-c", ""], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def make(venv: Path, lock: Path) -> None:
    """Bring `venv` to what `lock` and pyproject.toml say, doing no more than is needed."""
    python = venv / "bin" / "python"
    packages_stamp, ready_stamp = venv / ".packages", venv / ".ready"
    wanted_packages = digest(lock.read_bytes(), sys.version.encode())
    wanted = digest(wanted_packages.encode(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode())

    if not (packages_stamp.is_file() and packages_stamp.read_text() == wanted_packages and works(python)):
        started = time.monotonic()
        version = sys.version.split()[0]
        print(f"Making {venv.name} from {lock.relative_to(ROOT)} with Python {version} ...", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        without_pip = ["--without-pip"] if shutil.which("uv") else []
        run(sys.executable, "-m", "venv", *without_pip, venv)
        run(*installer(python), "--require-hashes", "-r", lock)
        packages_stamp.write_text(wanted_packages)
        print(f"... in {time.monotonic() - started:.0f} s", flush=True)

    if not (ready_stamp.is_file() and ready_stamp.read_text() == wanted):
        ready_stamp.unlink(missing_ok=True)
        # The build's own requirements are in the lock: isolation would fetch them again, without hashes.
        run(*installer(python), "--no-deps", "--no-build-isolation", "--editable", ROOT)
        ready_stamp.write_text(wanted)
    ready_stamp.touch()


def main() -> None:
    """Read the command line and make the environment, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path, help="the environment's directory")
    parser.add_argument("lock", type=Path, help="the lock file it is made from")
    arguments = parser.parse_args()
    venv: Path = ROOT / arguments.venv
    with Path(f"{venv}.lock").open("w") as guard:
        # Two makes in one tree must not build one environment at once.
        fcntl.flock(guard, fcntl.LOCK_EX)
        make(venv, ROOT / arguments.lock)


if __name__ == "__main__":
    main()
