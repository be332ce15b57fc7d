"""No room: appends fail whole, reading goes on, and once there is room appending goes on without repair."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sqlite.support import finish, start

# Everybody may limit how long a file may get; only root can make a small disk, so elsewhere there is one case less.
KINDS = ["limit"]
if os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0:
    KINDS.append("disk")


@pytest.fixture(params=KINDS)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    kind = request.param
    if kind == "disk":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "foldline", tmp_path], check=True)
    try:
        yield tmp_path, kind
    finally:
        if kind == "disk":
            subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_survived(room: tuple[Path, str]) -> None:
    async def main() -> list[str]:
        return await finish(await start("fill.py", *room))

    lines = asyncio.run(main())
    assert lines[1:] == ["whole True", "recovered True"], lines
    kept, refused = int(lines[0].split()[1]), int(lines[0].split()[3])
    assert kept > 10
    assert refused == 5
