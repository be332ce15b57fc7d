"""A directory to run the command in, and a shop to look at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.support import PATIENCE, SHOP, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def shop(cli: Cli) -> str:
    """A shop's module in the directory, and its store with three orders; the module's App."""
    (cli.place / "shop.py").write_text(SHOP)
    fill = (
        "from shop import *\n"
        "with app.open_sync('sqlite:shop.db') as running:\n"
        "    for number in range(9):\n"
        "        running.execute(PlaceOrder(f'o-{number % 3}', number), actor='ann')\n"
    )
    subprocess.run([sys.executable, "-c", fill], cwd=cli.place, check=True, timeout=PATIENCE)
    return "shop:app"
