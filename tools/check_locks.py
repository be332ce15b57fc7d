"""Check that the lock files pin all that pyproject.toml asks for, by hash, and name no address."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([a-z0-9.-]+)==[^ ]+( ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
NAME = re.compile(r"^[A-Za-z0-9_.-]+")


def asked(*groups: str) -> set[str]:
    """The names pyproject.toml asks for: the core's, every extra's, and these dependency groups'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    for group in groups:
        wanted += [entry for entry in project["dependency-groups"][group] if isinstance(entry, str)]
    names = {found.group().lower().replace("_", "-") for entry in wanted if (found := NAME.match(entry))}
    return names - {project["project"]["name"]}


def faults(lock: Path, wanted: set[str]) -> list[str]:
    """What is wrong with one lock file."""
    lines = lock.read_text().splitlines()
    found = [
        f"{lock.name}:{number}: neither a pin nor a hash: {line}"
        for number, line in enumerate(lines, 1)
        if not (PIN.match(line) or HASH.match(line))
    ]
    pinned = {match.group(1).replace(".", "-") for line in lines if (match := PIN.match(line))}
    missing = sorted(wanted - pinned)
    if missing:
        found.append(f"{lock.name}: not pinned: {', '.join(missing)} (run: make lock)")
    return found


def main() -> int:
    """Check every lock file."""
    found = faults(ROOT / "lock" / "dev.txt", asked("build", "dev"))
    found += faults(ROOT / "lock" / "bench.txt", asked("build", "dev", "bench"))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
