"""The commands and examples of the documentation run, page by page, in an empty folder and on the simulated engine.

The tutorial with the pages that read its run, and the pages that need a server, are in separate files, so that several
workers share the pages.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import program
from page_folder import OF_A_RUN, OF_A_SERVER, OTHERS, RUN, TUTORIAL, PageFolder


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS)
def test_the_blocks_of_a_page_run(page: str, prefect_api: str, tmp_path: Path) -> None:
    PageFolder(tmp_path, prefect_api).follow(page)


def test_what_is_run_ends_soon() -> None:
    """A search without a short budget takes minutes: it needs a comment `run with` or `not run`."""
    endless = [
        b.place
        for found in RUN.values()
        for b in found
        if b.language == "bash"
        and any(program(words) == "rooftune" and words[1] in ("optimize", "gate", "capacity") for words in b.commands)
        and not re.search(r"--budget \d\d?s", f"{b.body} {b.run_with}")
    ]
    assert not endless


def test_no_page_is_left_out() -> None:
    assert {TUTORIAL, *OF_A_RUN, *OF_A_SERVER, *OTHERS} == {b.page for found in RUN.values() for b in found}
    assert not [b.place for b in RUN[TUTORIAL] if any(program(words) == "make" for words in b.commands)]
