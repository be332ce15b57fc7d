"""The interpreter of one documented page: executes the blocks it is sent, in order, in one namespace.

Reads one JSON request a line from stdin and answers each with one line on what was stdout. Runs by itself,
outside the tests' process, so that a page meets the library as a program of its reader's would.
"""

from __future__ import annotations

import ast
import asyncio
import faulthandler
import inspect
import json
import linecache
import os
import sys
import traceback
import types


def main() -> None:
    """Serve requests until stdin closes."""
    seconds = float(sys.argv[1])
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The blocks own stdin and stdout: what they print must not be taken for an answer.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.path[0] = os.getcwd()  # noqa: PTH109 - a plain string, as Python itself puts it there
    sys.argv = [""]
    # A module, not a bare dict: annotations are resolved through sys.modules.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    with asyncio.Runner() as runner:
        for line in requests:
            request = json.loads(line)
            faulthandler.dump_traceback_later(seconds, exit=True)
            answer = execute(module, request["name"], request["line"], request["text"], runner)
            faulthandler.cancel_dump_traceback_later()
            answers.write(answer + "\n")
            answers.flush()


def execute(module: types.ModuleType, name: str, line: int, text: str, runner: asyncio.Runner) -> str:
    """Execute one block; `done`, or what became of it in words."""
    # Padded so that a traceback's line numbers are the page's.
    padded = "\n" * line + text
    linecache.cache[name] = (len(padded), None, padded.splitlines(keepends=True), name)
    try:
        code = compile(padded, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(awaited(types.FunctionType(code, module.__dict__)))
        else:
            exec(code, module.__dict__)
    except SystemExit as error:
        return "done" if not error.code else f"called sys.exit({error.code!r})"
    except BaseException as error:
        traceback.print_exc()
        return f"raised {type(error).__name__}"
    finally:
        sys.stdout.flush()
    return "done"


async def awaited(block: types.FunctionType) -> None:
    """A block that awaits at top level compiles to a coroutine; give it a task to run in."""
    await block()


if __name__ == "__main__":
    main()
