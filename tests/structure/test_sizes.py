"""Folders, files and lines stay small enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_tree import ROOT, python_files

MOST_MODULES = 25
MOST_COLUMNS = 120
FILES = python_files()

LONG_LINES: dict[str, int] = {
    "benchmarks/loadgen": 2,
    "benchmarks/validity": 5,
    "rooftune/simulator": 12,
    "tests/engines": 12,
    "tests/evidence": 17,
    "tests/faults": 1,
    "tests/workloads": 2,
}
"""Rooms that still have lines over 120 characters, with the most that each may have. Numbers only ever go down."""


def room(path: Path) -> str:
    """``rooftune/simulator`` and the like: two levels, one for a file at the top of its package."""
    folders = path.relative_to(ROOT).parts[:-1]
    return "/".join(folders[:2])


def table_lines(tree: ast.AST, lines: list[str]) -> set[int]:
    """Numbers of the lines of statements that end with ``# fmt: skip``."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and lines[(node.end_lineno or node.lineno) - 1].rstrip().endswith("# fmt: skip"):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def long_lines(path: Path) -> list[int]:
    """Numbers of the lines over the limit that are not part of a table."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    long = {number for number, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS}
    return sorted(long - table_lines(ast.parse(text), lines)) if long else []


def long_by_room() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in FILES:
        places = [f"{path.relative_to(ROOT)}:{number}" for number in long_lines(path)]
        if places:
            found.setdefault(room(path), []).extend(places)
    return found


def test_no_line_is_longer_than_120_characters() -> None:
    wrong = {name: places for name, places in long_by_room().items() if len(places) > LONG_LINES.get(name, 0)}
    assert not wrong, f"lines over {MOST_COLUMNS} characters: {wrong}"


def test_a_room_without_long_lines_is_removed_from_the_list() -> None:
    assert not LONG_LINES.keys() - long_by_room().keys(), "remove these rooms from LONG_LINES"


def test_tables_may_be_wider(tmp_path: Path) -> None:
    path = tmp_path / "table.py"
    path.write_text(f"A = [\n    {'1, ' * 60}\n]  # fmt: skip\nB = '{'b' * 120}'\n")
    assert long_lines(path) == [4]


@pytest.mark.parametrize("folder", sorted({p.parent for p in FILES}), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_folder_has_at_most_25_modules(folder: Path) -> None:
    modules = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, f"{len(modules)} modules; split the folder by subject"
