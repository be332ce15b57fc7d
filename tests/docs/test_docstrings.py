"""Every public name says what it is for, and every module opens with a sentence."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import foldline

SOURCE = Path(__file__).resolve().parents[2] / "src"
FIRST_SENTENCE = re.compile(r"\A[^\n](?:(?!\n\s*\n).)*?\.(?:\s|\Z)", re.DOTALL)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def modules() -> list[Path]:
    """Every module of the package but the demo, which is an application and not an interface."""
    package = SOURCE / "foldline"
    return sorted(path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "demo")


def dotted(path: Path) -> str:
    """The module's import name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """The definitions of one body, those under a condition included."""
    for statement in body:
        if isinstance(statement, Definition):
            yield statement
        elif isinstance(statement, ast.If | ast.Try):
            yield from definitions([*statement.body, *statement.orelse])


def public(definition: Definition) -> bool:
    """Whether a definition is one a user reads: overloads and setters are parts of another."""
    parts = {ast.unparse(decorator).rpartition(".")[2] for decorator in definition.decorator_list}
    return not definition.name.startswith("_") and not parts & {"overload", "setter", "deleter"}


def inherits(module: str, owner: str, method: str) -> bool:
    """Whether a method's meaning is told where a base class declares it."""
    cls = getattr(importlib.import_module(module), owner)
    return any(inspect.getdoc(vars(base)[method]) for base in cls.__mro__[1:] if method in vars(base))


def undocumented(path: Path) -> Iterator[str]:
    """The public definitions of one module that say nothing."""
    for definition in definitions(ast.parse(path.read_text()).body):
        if not public(definition):
            continue
        place = f"{path.relative_to(SOURCE)}:{definition.lineno}: {definition.name}"
        if not ast.get_docstring(definition):
            yield place
        if not isinstance(definition, ast.ClassDef):
            continue
        for method in definitions(definition.body):
            silent = public(method) and not ast.get_docstring(method)
            if silent and not inherits(dotted(path), definition.name, method.name):
                yield f"{place}.{method.name}"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path.relative_to(SOURCE)} does not say what it is for"
    assert FIRST_SENTENCE.match(docstring), f"{path.relative_to(SOURCE)} opens with no full sentence"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_public_definitions_have_docstrings(path: Path) -> None:
    silent = list(undocumented(path))
    assert not silent, "no docstring:\n" + "\n".join(silent)


def test_every_exported_name_exists_and_says_what_it_is() -> None:
    silent = []
    for name in foldline.__all__:
        exported = getattr(foldline, name)
        # A class must speak for itself: inspect.getdoc would let it borrow Exception's words.
        told = vars(exported).get("__doc__") if isinstance(exported, type) else inspect.getdoc(exported)
        if (isinstance(exported, type) or callable(exported)) and not told:
            silent.append(name)
    assert not silent, f"no docstring: {', '.join(silent)}"
