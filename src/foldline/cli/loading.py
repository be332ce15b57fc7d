"""Finds the application that MODULE:APP names, and tells what is wrong with the user's own code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from foldline.cli.console import Stop

if TYPE_CHECKING:
    from foldline.app import App


def load_app(name: str) -> App:
    """The App at ``MODULE:APP``, looked for from the current directory and its ``src`` on.

    Raises Stop where there is no such module or App, or where the module cannot be imported.
    """
    from foldline.app import App

    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise Stop(f"{name!r} names no application: write MODULE:APP, such as shop.app:app.", 2)
    module = _import(module_name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            apps = [f"{module_name}:{key}" for key, value in vars(module).items() if isinstance(value, App)]
            known = f" There is {' and '.join(apps)}." if apps else ""
            raise Stop(f"Module {module_name!r} has no {attribute!r}.{known}")
        found = getattr(found, part)
    if not isinstance(found, App):
        raise Stop(f"{name} is no foldline.App, but {_what(found)}.")
    return found


def _import(name: str) -> ModuleType:
    here = Path.cwd()
    for place in (here / "src", here):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Stop(f"There is no module {error.name!r} in {here}, in its src, or installed.") from None
        raise Stop(_told(name, error)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's module raises, SystemExit included, is told as its own
        raise Stop(_told(name, error)) from None


def _told(name: str, error: BaseException) -> str:
    """The user's error, with its file and line: the last that is not this package's or Python's."""
    ours = Path(__file__).resolve().parents[1]
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{_short(error.filename)}:{error.lineno}: "
    else:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            file = Path(frame.filename)
            if not frame.filename.startswith("<") and ours not in file.parents and "importlib" not in file.parts:
                place = f"{_short(frame.filename)}:{frame.lineno}: "
                break
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return f"Module {name!r} cannot be imported: {place}{said}"


def _short(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative


def _what(found: object) -> str:
    if isinstance(found, type):
        return f"the class {found.__name__}"
    kind = type(found).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"
