"""The project's modules, what each imports, and the circles among them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("rooftune", "flows", "tasks", "benchmarks", "docpages", "tests")
Imports = dict[str, set[str]]


def python_files() -> list[Path]:
    """Every Python file of the project, in order."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name by which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def project_imports() -> Imports:
    """For each module of the project, the other modules of the project that it imports.

    Imports inside functions and under TYPE_CHECKING are included.
    """
    files = {module_name(path): path for path in python_files()}
    known = {name: name for name in files}
    known |= {name.rpartition(".")[2]: name for name in files if name.startswith("tests.")}  # test helpers
    return {name: _imported(name, path, known) - {name} for name, path in files.items()}


def _imported(name: str, path: Path, known: dict[str, str]) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            inside = {f"{base}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module; any other name comes from the package itself.
            found |= {n for n in inside if n in known} | ({base} if inside - known.keys() else set())
    return {known[n] for n in found if n in known}


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that a ``from`` statement names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def circles(imports: Imports) -> list[frozenset[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan's strongly connected components)."""
    found: list[frozenset[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(imports[name]):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            place = stack.index(name)
            group = frozenset(stack[place:])
            del stack[place:]
            if len(group) > 1:
                found.append(group)

    for name in sorted(imports):
        if name not in number:
            visit(name)
    return found
