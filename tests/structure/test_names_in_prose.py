"""Files, modules and commands that documentation, comments and docstrings name exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT

FOLDERS = (*PACKAGES, "docs", "workloads", "make", ".ci")
PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*[\w/])")
MODULE = re.compile(r"python -m ((?:rooftune|flows|tasks|benchmarks|tests)(?:\.\w+)*)")
DOTTED = re.compile(r"`{1,2}~?((?:rooftune|flows|tasks|benchmarks)(?:\.\w+)+)(?:\(\))?`{1,2}")
FILE_ENDINGS = (".json", ".yaml", ".toml", ".csv")
REFERENCE = re.compile(r":(?:func|data|class):`~?(\w+)`")


def texts() -> list[Path]:
    """Tracked files that people read: sources, documentation, configuration. This file names what must not be found."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    names = listed.split() or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.py")]
    kinds = (".py", ".md", ".yaml", ".yml", ".toml", ".mk", "Makefile")
    return [
        ROOT / name
        for name in names
        if name.endswith(kinds) and "/data/" not in name and not name.endswith(Path(__file__).name)
    ]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def exists(name: str) -> bool:
    """Whether a path names a file or a folder, perhaps without its ending or as a pattern."""
    return (ROOT / name).exists() or any(ROOT.glob(f"{name}.*"))


def importable(name: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found = importlib.util.find_spec(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        if found is not None:
            rest = parts[size:]
            return not rest or (len(rest) <= 2 and hasattr(importlib.import_module(found.name), rest[0]))
    return False


def defined(path: Path) -> set[str]:
    """Names that a module defines, imports or takes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


TEXTS = texts()


def test_the_walk_finds_the_documentation_and_the_sources() -> None:
    names = {str(path.relative_to(ROOT)) for path in TEXTS}
    assert {"README.md", "docs/architecture.md", "Makefile", "rooftune/files.py", "prefect.yaml"} <= names


def test_every_path_in_prose_exists() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number} {name}"
        for path in TEXTS
        for number, line in enumerate(lines(path), 1)
        for name in PATH.findall(line)
        if not exists(name)
    ]
    assert not wrong, f"these files do not exist: {wrong}"


def test_every_module_in_prose_exists() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number} {name}"
        for path in TEXTS
        for number, line in enumerate(lines(path), 1)
        for name in (*MODULE.findall(line), *DOTTED.findall(line))
        if not name.endswith(FILE_ENDINGS) and not importable(name)
    ]
    assert not wrong, f"these modules do not exist: {wrong}"


def test_every_cross_reference_names_something_of_its_module() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} {name}"
        for path in TEXTS
        if path.suffix == ".py"
        for name in REFERENCE.findall(path.read_text(encoding="utf-8"))
        if name not in defined(path)
    ]
    assert not wrong, f"these names do not exist: {wrong}"


@pytest.mark.parametrize(
    ("text", "found"),
    [("see `rooftune/nowhere.py`", ["rooftune/nowhere.py"]), ("in docs/nothing.md.", ["docs/nothing.md"])],
)
def test_a_path_that_does_not_exist_is_found(text: str, found: list[str]) -> None:
    assert PATH.findall(text) == found
    assert not exists(found[0])


def test_a_module_that_does_not_exist_is_found() -> None:
    assert MODULE.findall("python -m benchmarks.nothing --quick") == ["benchmarks.nothing"]
    assert not importable("benchmarks.nothing")
    assert not importable("rooftune.files.nothing")
    assert importable("rooftune.files.write_json")


def test_the_map_has_every_package_from_top_to_bottom() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.split("## Packages")[1].split("## Data flow")[0]
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("from report down to hardware")[1]
    layers = re.findall(r'"rooftune\.(\w+)"', contract.split("]")[0])
    assert re.findall(r"^\| `(\w+)/`", table, re.M) == layers
    inner = {p.parent.name for p in (ROOT / "rooftune").glob("*/*/__init__.py")}
    assert inner <= set(re.findall(r"`(\w+)/`", table))


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert written == set(re.findall(r": (\S+\.md)$", navigation, re.M))


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """The site checks its own links; README and CONTRIBUTING are not part of it."""
    for name in ("README.md", "CONTRIBUTING.md"):
        found = re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
        assert not [link for link in found if "://" not in link and not (ROOT / link).exists()]


AVOIDED = re.compile(
    r"\b(told|tells|seldom|whence|wherewith|alike|hangs on|one's own|of (?:its|their|his|your) own|mend(?:s|ed)?"
    r"|mistakes?|(?:requests?|tokens?) a second|trials a side|is no (?:version|noise|token|trend|measurement))\b"
)
QUOTED = ("docs/style.md", "tests/engines/logs/", "rooftune/workloads/prompts.py")
"""The rules themselves, the words of real logs, and a list of words to draw prompts from."""


def test_prose_has_none_of_the_patterns_that_the_style_page_avoids() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number} {found.group()}"
        for path in TEXTS
        if not str(path.relative_to(ROOT)).startswith(QUOTED)
        for number, line in enumerate(lines(path), 1)
        if (found := AVOIDED.search(line))
    ]
    assert not wrong, f"docs/style.md has the usual words: {wrong}"
