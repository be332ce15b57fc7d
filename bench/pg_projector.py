"""A process that does nothing but keep the view up to date."""

from __future__ import annotations

import asyncio
import sys

from bench import shop


def main() -> None:
    """``python -m bench.pg_projector URL``: says when it is ready, and ends at the end of stdin."""

    async def project() -> None:
        async with shop.app(view=True).open(sys.argv[1]):
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(project())


if __name__ == "__main__":
    main()
