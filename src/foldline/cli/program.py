"""The commands and their exit codes; a command's module is imported when it, or its help, is wanted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from foldline import __version__
from foldline.cli.console import Stop, complain, settle_streams
from foldline.errors import FoldlineError

EPILOGUE = """\
A store is named by --store URL or FOLDLINE_STORE, an application by MODULE:APP or FOLDLINE_APP.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an import rejected rows, 130 interrupted."""

# What is told of each command: its first paragraph in the list of commands, all of it in its own help.
COMMANDS = {
    "demo": ("foldline.cli.serve:demo", "Open the demo shop, with a year of orders in it."),
    "new": ("foldline.cli.new:new", "Make a small project, with tests that pass."),
    "serve": ("foldline.cli.serve:serve", "Serve an application over HTTP, until Ctrl-C."),
    "events": (
        "foldline.cli.events:events",
        """List the events of a store or of one stream, or follow them.

Needs no application: events of types that no code knows are shown like all others. Times are in \
UTC.""",
    ),
    "show": (
        "foldline.cli.show:show",
        """Show a stream: its folded state, or its events, now or in the past.

With an application, the state of the aggregate that the stream belongs to; without one, the \
stream's events.""",
    ),
    "projections": ("", "See how far projections have come, or rebuild one."),
    "import": (
        "foldline.cli.files:import_",
        """Bring events in from CSV, JSON Lines or an export.

Of a file that "foldline export" wrote nothing but its name is needed: the same streams, versions, \
ids, times and data come of it. Of any other, name the columns of stream, type and time (in JSON \
Lines the keys, or paths of keys such as case.id) and the category of its streams. These three \
columns are left out of the event's data; all others are kept in it as they are, in CSV as text.

A file may be imported again at any time, after an interruption or when it has grown: what is \
recorded already is not added twice. Rows that make no event are listed in a side file, with line \
number and reason, and do not stop the import; the exit code is then 3.""",
    ),
    "export": ("foldline.cli.files:export", "Write all events to a file that import reads back."),
    "copy": (
        "foldline.cli.copying:copy",
        """Copy a whole store into another one.

All events, with their positions, versions, ids, times and data, and the ids of the commands that \
were carried out. At the end both stores are compared by a digest over all their events. Views are \
not copied: the application that opens the copy builds them.

TO must be empty or hold a part of FROM, as after an interruption: run the same command again, and \
it goes on. Nobody else may write to TO meanwhile. FROM may be in use; what is recorded while it is \
copied comes with the next run.""",
    ),
    "migrate": (
        "foldline.cli.migrate:migrate",
        """Bring a store's schema to the newest, or print the SQL that does.

Opening a store does so by itself, unless its URL or the rights of its user say otherwise.""",
    ),
}
PROJECTIONS = {
    "list": ("foldline.cli.projections:list_", "Show how far each projection has come."),
    "rebuild": (
        "foldline.cli.projections:rebuild",
        """Build a projection anew from the first event.

Readers see it grow meanwhile, and the application may go on being served. Interrupted, it is left \
consistent where it was.""",
    ),
}


def program() -> App:
    """The command line, put together but not run."""
    app = App(
        name="foldline",
        help="Event sourcing and CQRS for Python: look at stores, bring events in, serve applications.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"foldline {__version__}",
        version_format="plaintext",
    )
    for order, (name, (where, told)) in enumerate(COMMANDS.items()):
        if where:
            app.command(where, name=name, help=told, sort_key=order, help_epilogue="")
        else:
            group = App(name=name, help=told, sort_key=order, help_epilogue="")
            for inner_order, (inner, (inner_where, inner_told)) in enumerate(PROJECTIONS.items()):
                group.command(inner_where, name=inner, help=inner_told, sort_key=inner_order)
            app.command(group)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; a failure is told in a line, without a traceback."""
    settle_streams()
    try:
        result = program()(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(error.command_chain or ()) if hasattr(error, "command_chain") else ""
        complain(f"{_without_passwords(str(error), arguments)}\nSee foldline {command + ' ' if command else ''}--help.")
        return 2
    except BrokenPipeError:
        # Whoever read our output, such as head, has seen enough. Python would complain again while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except (Stop, FoldlineError, OSError, ExceptionGroup) as error:
        return failed(error)
    return result if isinstance(result, int) else 0


def _without_passwords(told: str, arguments: Sequence[str]) -> str:
    """What is wrong with a command line may quote a part of it, and that may be a store's URL."""
    from foldline.app.stores import shown

    for argument in arguments:
        for url in (argument, argument.partition("=")[2]):
            if url and shown(url) != url:
                told = told.replace(url, shown(url))
    return told


def failed(error: BaseException) -> int:
    """Tell what went wrong and return the exit code for it; raises what is a fault of the code instead."""
    if isinstance(error, ExceptionGroup):
        # Tasks that failed together: the first failure made the others end.
        return failed(error.exceptions[0])
    if isinstance(error, Stop):
        complain(str(error))
        return error.code
    if isinstance(error, FoldlineError):
        complain(str(error))
        return 1
    if isinstance(error, OSError):
        where = f"{os.fspath(error.filename)}: " if error.filename is not None else ""
        complain(f"{where}{error.strerror or error}")
        return 1
    raise error
