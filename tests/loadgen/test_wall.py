"""The wire is one room with one door: nothing outside imports its inner modules."""

from __future__ import annotations

import ast
from pathlib import Path

import rooftune.loadgen.wire as wire

ROOT = Path(__file__).parents[2]
WIRE = "rooftune.loadgen.wire"


def imported_names(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_nothing_outside_imports_the_inside_of_the_wire() -> None:
    allowed = {f"{WIRE}.{name}" for name in wire.__all__}
    wrong = {}
    for room in ("rooftune", "tasks", "flows", "benchmarks"):
        for path in (ROOT / room).rglob("*.py"):
            if path.parent == ROOT / "rooftune" / "loadgen" / "wire":
                continue
            inner = {n for n in imported_names(path) if n.startswith(f"{WIRE}.")} - allowed
            if inner:
                wrong[str(path.relative_to(ROOT))] = sorted(inner)
    assert not wrong, f"import from {WIRE} instead: {wrong}"
