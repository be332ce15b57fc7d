"""Every code block of every page runs as printed, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages, read, run_page

MOST_NOT_RUN = 12


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_blocks_run_as_printed(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


def test_a_block_that_is_not_run_says_why() -> None:
    silent = [
        block.place
        for page in pages()
        for block in read(page)
        if block.not_run is not None and len(block.not_run.split()) < 3
    ]
    assert not silent, f"a reason of a few words belongs after 'not run:' at {', '.join(silent)}"


def test_few_blocks_are_not_run() -> None:
    marked = [block.place for page in pages() for block in read(page) if block.not_run is not None]
    assert len(marked) <= MOST_NOT_RUN, f"{len(marked)} blocks are not run: {', '.join(marked)}"
