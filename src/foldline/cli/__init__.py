"""The command ``foldline``: everything here is a thin shell over functions that need no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the process's arguments, or those given, and return its exit code.

    0: done. 1: it could not be done, and why is on standard error. 2: the command line is wrong. 3: an import
    rejected some rows. 130: interrupted.
    """
    try:
        # Imported here, since a plain `pip install foldline` brings the command but not what it is made with.
        from foldline.cli.program import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("cyclopts", "rich"):
            raise
        print(
            f"foldline: the command line needs {error.name}, which is not installed: run pip install 'foldline[cli]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return run(sys.argv[1:] if arguments is None else arguments)
