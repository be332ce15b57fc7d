"""The harness that runs documented blocks finds what is wrong in one, or a page could promise anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import BlockFailed, matches, read, run_page


def run(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    beside = tmp_path / "run"
    beside.mkdir()
    run_page(page, beside)


def test_python_blocks_share_a_namespace_may_await_and_use_asyncio_run(tmp_path: Path) -> None:
    run(
        tmp_path,
        "```python\nimport asyncio\nasync def two(): return 2\n```\ntext\n"
        "```python\nassert await two() == 2\n```\n"
        "```python\nassert asyncio.run(two()) == 2\nassert __name__ == '__main__'\n```\n",
    )


def test_annotations_of_a_block_can_be_resolved(tmp_path: Path) -> None:
    run(
        tmp_path,
        "```python\nfrom __future__ import annotations\nimport typing\nclass A: ...\n```\n"
        "```python\nclass B:\n    a: A\nassert typing.get_type_hints(B) == {'a': A}\n```\n",
    )


def test_a_failing_python_block_is_shown_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BlockFailed, match=r"page\.md:3: it raised ZeroDivisionError(.|\n)*line 5"):
        run(tmp_path, "text\n\n```python\nx = 1\n1 / 0\n```\n")


def test_console_and_python_share_the_directory_in_document_order(tmp_path: Path) -> None:
    run(
        tmp_path,
        "```console\n$ echo one > made.txt\n$ mkdir sub && cd sub\n$ export COLOUR=blue\n```\n"
        "```python\nfrom pathlib import Path\nassert Path('made.txt').read_text() == 'one\\n'\n```\n"
        "```console\n$ cat ../made.txt\none\n\n# a comment\n$ echo $COLOUR \\\n    and\nblue and\n```\n",
    )


@pytest.mark.parametrize(
    "block",
    [
        "```console\n$ echo two\nthree\n```\n",
        "```console\n$ false\n```\n",
        "```sh\nfalse\ntrue\n```\n",
        "```python\nraise SystemExit(3)\n```\n",
        "```python\nimport os; os._exit(3)\n```\n",
        "```python\nimport atexit, os; atexit.register(os._exit, 3)\n```\n",
        "```python\nx = = 1\n```\n",
        "```json\n{'a': 1}\n```\n",
        "```toml\na = \n```\n",
        "```sql\nSELEC 1\n```\n",
        "```klingon\nnuqneH\n```\n",
        "```\nno language\n```\n",
        "```python\n# file: alone.py\nraise ValueError\n```\n",
        "<!-- exits: 1 -->\n```console\n$ true\n```\n",
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, block: str) -> None:
    with pytest.raises(BlockFailed):
        run(tmp_path, block)


def test_a_file_that_another_block_names_is_imported_not_run(tmp_path: Path) -> None:
    run(
        tmp_path,
        "```python\n# file: shop.py\nassert __name__ == 'shop'\nname = 'shop'\n```\n"
        "```console\n$ python -c 'import shop; print(shop.name)'\nshop\n```\n"
        "```python\nimport shop\n```\n",
    )


def test_sql_runs_in_the_database_it_names(tmp_path: Path) -> None:
    run(
        tmp_path,
        "```sql\n-- on: a.db\nCREATE TABLE t (x); INSERT INTO t VALUES (1);\n```\n"
        "```sql\n-- on: a.db\nSELECT x FROM t;\n```\n",
    )


URL = "postgresql://postgres@localhost/shop"


def test_a_page_with_a_postgresql_url_has_a_server_of_its_own(tmp_path: Path) -> None:
    """Its shell, its SQL and its interpreter reach it by one URL, and others than the superuser by a password."""
    run(
        tmp_path,
        "```console\n$ createdb shop\n```\n"
        f"```sql\n-- on: {URL}\nCREATE TABLE t (x int);\nCREATE ROLE ann LOGIN PASSWORD 'secret';\n```\n"
        f"```python\nimport asyncpg\nassert await (await asyncpg.connect('{URL}')).fetch('TABLE t') == []\n```\n"
        f"```console\n$ psql -Atc 'SELECT count(*) FROM t' {URL}\n0\n"
        "$ psql -wAtc 'SELECT 1' postgresql://ann@localhost/shop || echo refused\n...\nrefused\n"
        "$ psql -wAtc 'SELECT 1' postgresql://ann:secret@localhost/shop\n1\n```\n",
    )


@pytest.mark.parametrize("note", ["", "<!-- exits: 2 -->\n"])
def test_sql_that_postgresql_refuses_is_found(tmp_path: Path, note: str) -> None:
    block = "```sql\n-- on: postgresql://postgres@localhost/postgres\nSELECT 1; SELEC 1;\n```\n"
    with pytest.raises(BlockFailed, match="psql ended with 3"):
        run(tmp_path, note + block)


def test_sql_that_postgresql_is_to_refuse_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "<!-- exits: 3 -->\n```sql\n-- on: postgresql://postgres@localhost/postgres\nSELEC 1;\n```\n")


def test_a_page_that_only_shows_a_postgresql_url_has_no_server(tmp_path: Path) -> None:
    run(tmp_path, f"```text\n{URL}\n```\n```console\n$ echo ${{PGPORT:-none}}\nnone\n```\n")


def test_a_marked_block_is_not_run_and_keeps_its_reason(tmp_path: Path) -> None:
    text = "<!-- not run: it never\nends by itself -->\n\n```sh\n$ false\n```\n\n```sh\n$ true\n```\n"
    run(tmp_path, text)
    blocks = read(tmp_path / "page.md")
    assert [block.not_run for block in blocks] == ["it never ends by itself", None]


def test_a_server_left_in_the_background_does_not_hold_the_page_up(tmp_path: Path) -> None:
    run(tmp_path, "```console\n$ sleep 1000 &\n$ echo on\non\n```\n")


@pytest.mark.parametrize(
    ("expected", "real", "same"),
    [
        ("a\n", "a  \n\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("a...c\n", "abc\n", True),
        ("a...c\n", "a\nc\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("...\nd\n", "a\nb\n", False),
        ("(1.5)\n", "(105)\n", False),
    ],
)
def test_shown_output_is_compared_with_wildcards(expected: str, real: str, same: bool) -> None:
    assert matches(expected, real) is same
