"""The house rules that a machine can hold: direction of dependencies, import time, sizes, words."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for room in ("rooftune", "flows", "tasks") for p in (ROOT / room).rglob("*.py"))
HEAVY = ("prefect", "pandas", "matplotlib", "numba", "torch", "vllm", "scipy", "pyarrow.dataset")


def imports(path: Path) -> set[str]:
    """Modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dependencies_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    above = {"rooftune": ("prefect", "flows", "tasks"), "tasks": ("flows",), "flows": ()}[room]
    wrong = {m for m in imports(path) if m.split(".")[0] in above}
    assert not wrong, f"{room} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module says in its first line what it is for"
    assert text.count("\n") <= 420, "a file has one subject and stays under about 400 lines"


def test_importing_any_module_stays_light() -> None:
    """No module of the domain pulls in a heavy library when imported: counted, not timed."""
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in SOURCES
        if p.relative_to(ROOT).parts[0] == "rooftune" and p.name != "__main__.py"
    ]
    script = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_without_prefect() -> None:
    script = (
        "import sys, flows.cli.app, flows.cli.plan, tasks.planning, tasks.run_files, tasks.trial_time\n"
        "assert not [m for m in ('prefect', 'pandas', 'matplotlib') if m in sys.modules]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
