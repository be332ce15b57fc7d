"""The reference leaves out no error, no problem and no column."""

from __future__ import annotations

import inspect
import re

import pytest

from foldline import errors
from foldline.http.problems import TABLE, problem_of
from foldline.store.postgres.connect import Settings
from foldline.store.postgres.migrate import script
from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"
ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FoldlineError)]
ROW = re.compile(r"^\| `(?P<name>\w+)` \|.*\| (?P<status>[^|]*) \|$", re.MULTILINE)
TABLES = re.compile(r"^CREATE TABLE (?P<name>\w+) \((?P<columns>.*?)^\)", re.DOTALL | re.MULTILINE)
COLUMN = re.compile(r"^    (?P<name>[a-z_]+) +[a-z]", re.MULTILINE)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_with_its_status(kind: type[errors.FoldlineError]) -> None:
    rows = {row["name"]: row["status"] for row in ROW.finditer((REFERENCE / "errors.md").read_text())}
    if kind is errors.FoldlineError:
        return
    assert kind.__name__ in rows
    status = rows[kind.__name__]
    assert status == "-" or status.startswith(str(problem_of(kind).status))


def test_every_problem_is_told() -> None:
    page = (REFERENCE / "http.md").read_text()
    untold = [problem.slug for problem in TABLE.values() if f"`{problem.slug}`" not in page]
    assert not untold, f"docs/reference/http.md does not tell of {', '.join(untold)}"


def test_every_option_of_a_postgresql_url_is_told() -> None:
    page = (ROOT / "docs" / "how-to" / "postgresql.md").read_text()
    options = set(Settings._fields) - {"dsns", "shown"}
    assert "pool_size" in options
    assert [option for option in options if not re.search(rf"^\| `{option}(=\w+)?` \|", page, re.MULTILINE)] == []


def test_every_column_of_the_postgresql_store_is_told() -> None:
    page = (REFERENCE / "postgresql.md").read_text()
    tables = {table["name"]: COLUMN.findall(table["columns"]) for table in TABLES.finditer(script())}
    assert len(tables) == 5
    untold = [f"{table}.{name}" for table, names in tables.items() for name in names if f"`{name}`" not in page]
    assert not untold, f"docs/reference/postgresql.md does not tell of {', '.join(untold)}"
    assert all(f"`{table}`" in page for table in tables)
