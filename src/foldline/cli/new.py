"""``foldline new``: a small project to begin with, made of the files in ``template``."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from foldline.cli.console import Stop

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_TAKEN = ("foldline", "src", "test", "tests")


def new(name: str, /) -> None:
    """Make a small project, with tests that pass.

    Parameters
    ----------
    name
        What it is called, and the directory it is made in, such as my-shop.
    """
    package = _package(name)
    place = Path(name)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise Stop(f"{name} is there already and is not an empty directory: choose another name.")
    made: list[Path] = []
    for parts, template in _templates(files("foldline.cli") / "template", ()):
        target = place.joinpath(*(package if part == "project" else part for part in parts))
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        target.write_text(text.replace("{{name}}", name).replace("{{package}}", package), encoding="utf-8")
        made.append(target)
    for target in sorted(made):
        print(f"  {target}")
    print(f"\nMade {name}. Next:\n")
    print(f"  cd {name}")
    print("  python -m pytest")
    print(f"  foldline serve {package}.app:app --store sqlite:{name}.db")


def _package(name: str) -> str:
    """The name of the project's package; raises Stop for one that cannot be, or would hide another."""
    if not _NAME.fullmatch(name) or len(name) > 60:
        raise Stop(
            f"{name!r} is no name for a project: use lower-case letters, digits and hyphens, as in my-shop.",
            2,
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise Stop(f"{name!r} is taken by Python or by Foldline: choose another name.", 2)
    return package


def _templates(folder: Traversable, inside: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    """The template's files and where they go, as the parts of a path."""
    for one in folder.iterdir():
        if one.is_dir():
            yield from _templates(one, (*inside, one.name))
        elif one.name.endswith(".tmpl"):
            # Without the ending, tools would take the templates for code of Foldline itself.
            file = one.name.removesuffix(".tmpl")
            yield (*inside, ".gitignore" if file == "gitignore" else file), one
