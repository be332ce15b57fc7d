"""The other process of the contract: ``python -m foldline.testing.contract.other FILE CLASS FOLDER WHAT …``."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from foldline.testing.contract.harness import within
from foldline.testing.contract.processes import act, load


def _say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main(file: str, name: str, folder: str, what: str, *arguments: str) -> None:
    case = load(Path(file), name)
    async with case.store_at(Path(folder)) as store, aclosing(act(store, what, *arguments)) as steps:
        _say("open")
        async for step in steps:
            _say(step)


if __name__ == "__main__":
    asyncio.run(within(_main(*sys.argv[1:])))
