"""Folders, files and lines stay small enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_tree import ROOT, python_files

MOST_MODULES = 25
MOST_COLUMNS = 120
FILES = python_files()


def table_lines(tree: ast.AST, lines: list[str]) -> set[int]:
    """Numbers of the lines of tables that end with ``# fmt: skip``: a collection, or a call or decorator with one."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr, ast.Call)):
            continue
        last = node.end_lineno or node.lineno
        collection = any(isinstance(inner, (ast.List, ast.Tuple, ast.Dict, ast.Set)) for inner in ast.walk(node))
        if collection and lines[last - 1].rstrip().endswith("# fmt: skip"):
            found |= set(range(node.lineno, last + 1))
    return found


def long_lines(path: Path) -> list[int]:
    """Numbers of the lines over the limit that are not part of a table."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    long = {number for number, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS}
    return sorted(long - table_lines(ast.parse(text), lines)) if long else []


def test_no_line_is_longer_than_120_characters() -> None:
    wrong = [f"{path.relative_to(ROOT)}:{number}" for path in FILES for number in long_lines(path)]
    assert not wrong, f"lines over {MOST_COLUMNS} characters: {wrong}"


def test_tables_may_be_wider(tmp_path: Path) -> None:
    path = tmp_path / "table.py"
    path.write_text(f"A = [\n    {'1, ' * 60}\n]  # fmt: skip\nB = '{'b' * 120}'\nC = '{'c' * 120}'  # fmt: skip\n")
    assert long_lines(path) == [4, 5]


@pytest.mark.parametrize("folder", sorted({p.parent for p in FILES}), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_folder_has_at_most_25_modules(folder: Path) -> None:
    modules = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, f"{len(modules)} modules; split the folder by subject"


def test_every_test_module_has_its_own_name() -> None:
    """pytest imports test modules by their name alone, so two of one name cannot be collected together."""
    folders: dict[str, list[str]] = {}
    for path in FILES:
        if path.name.startswith("test_"):
            folders.setdefault(path.name, []).append(str(path.parent.relative_to(ROOT)))
    assert not {name: where for name, where in folders.items() if len(where) > 1}
