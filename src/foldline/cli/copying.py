"""``foldline copy``: a whole store into another one."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Annotated

from cyclopts import Parameter

from foldline.app import open_store
from foldline.app.stores import shown
from foldline.cli.console import Stop, complain, progress
from foldline.transfer import Copied, Copying, copy_store


def copy(
    from_: Annotated[str, Parameter(name="FROM")],
    to: str,
    /,
) -> int:
    """Copy a whole store into another one.

    Parameters
    ----------
    from_
        URL of the store to copy, such as sqlite:shop.db; it is only read.
    to
        URL of the store to copy it into, such as postgresql://user@host/shop; made where it is missing.
    """
    if from_ == to:
        raise Stop("FROM and TO are the same store: name two.", 2)
    if to == "memory:":
        raise Stop("A store in memory is gone with its process: copy to one that is kept.", 2)
    last: list[Copying] = []
    # Events become objects by the hundred thousand and are gone a moment later: nothing for the collector to find.
    gc.set_threshold(100_000, 20, 20)
    try:
        done = asyncio.run(_copy(from_, to, last))
    except KeyboardInterrupt:
        where = f" at position {last[-1].position:,} of {last[-1].head:,}" if last else ""
        doing = last[-1].step.value.lower() if last else "opening the stores"
        complain(f"Interrupted while {doing}{where}. What was copied is kept; to go on, run the same command again.")
        return 130
    _tell(done, shown(from_), shown(to))
    return 0


async def _copy(source_url: str, target_url: str, last: list[Copying]) -> Copied:
    started = time.monotonic()
    # The source first, so that no target is made for one that is not there.
    async with open_store(source_url, create=False) as source, open_store(target_url) as target:
        with progress("Copying", "events") as bar:

            def watch(found: Copying) -> None:
                nonlocal started
                if not last or last[-1].step is not found.step:
                    started = time.monotonic()
                last[:] = [found]
                rate = found.events / max(time.monotonic() - started, 0.001)
                bar.move(found.position, found.head, found.events, rate, found.step.value)

            return await copy_store(source, target, progress=watch)


def _tell(done: Copied, source: str, target: str) -> None:
    holds = f"{_many(done.events, 'event')} in {_many(done.streams, 'stream')}"
    took = f"({done.seconds:.1f} s)"
    if not done.added:
        print(f"Nothing to copy: {target} holds all that is in {source} {took}.")
    elif done.added < done.events:
        known = done.events - done.added
        print(f"Copied {_many(done.added, 'event')} from {source} to {target} {took}; {known:,} were there already.")
    else:
        print(f"Copied {_many(done.added, 'event')} from {source} to {target} {took}.")
    print(f"Both hold {holds} and {_many(done.commands, 'command id')}, up to position {done.position:,}:")
    print(f"  SHA-256 {done.digest}")


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
