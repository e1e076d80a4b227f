"""No page has the marks of a merge that was not finished; in code and YAML, nothing would parse."""

from __future__ import annotations

import re

from source_tree import ROOT

MARK = re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE)


def test_no_page_has_marks_of_a_merge() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert pages
    assert not [str(page.relative_to(ROOT)) for page in pages if MARK.search(page.read_text(encoding="utf-8"))]
