"""The files of one run, word for word. ``python tests/export/regenerate.py`` writes them again."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def test_no_file_is_missing_or_left_over(files: dict[str, str]) -> None:
    assert sorted(files) == sorted(p.name for p in GOLDEN.iterdir())


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda p: p.name)
def test_the_file_is_as_it_was(files: dict[str, str], path: Path) -> None:
    assert files[path.name] == path.read_text(encoding="utf-8")
