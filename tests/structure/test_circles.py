"""No circle of imports: a reader can always start at the bottom."""

from __future__ import annotations

from source_tree import circles, project_imports


def test_no_circle_of_imports() -> None:
    found = [sorted(circle) for circle in circles(project_imports())]
    assert not found, f"these modules import each other: {found}"


def test_circles_are_found_through_several_modules() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"f"}, "f": {"e"}, "g": set()}
    assert sorted(sorted(c) for c in circles(imports)) == [["a", "b", "c"], ["e", "f"]]


def test_imports_inside_functions_and_of_test_helpers_are_seen() -> None:
    imports = project_imports()
    assert "rooftune.tuning.case" in imports["flows.inputs.targets"], "an import inside a function"
    assert "tests.structure.source_tree" in imports["tests.structure.test_circles"], "a helper beside a test"
    assert "rooftune.workloads.spec" in imports["rooftune.workloads.load"], "a module imported from its package"
