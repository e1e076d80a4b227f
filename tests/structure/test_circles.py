"""No circle of imports: a reader can always start at the bottom."""

from __future__ import annotations

import pytest
from source_tree import circles, project_imports

KNOWN_CIRCLES = [
    {"rooftune.hardware.catalogue", "rooftune.hardware.nvml", "rooftune.hardware.probe"},
    {"rooftune.vllm_rules.contradictions", "rooftune.vllm_rules.flags"},
]
"""Circles that are still to be cut. Entries are only ever removed."""


def test_no_new_circle_of_imports() -> None:
    new = [sorted(c) for c in circles(project_imports()) if not any(c <= known for known in KNOWN_CIRCLES)]
    assert not new, f"these modules import each other: {new}"


@pytest.mark.parametrize("known", KNOWN_CIRCLES, ids=lambda known: min(known))
def test_a_known_circle_is_removed_from_the_list_when_it_is_cut(known: set[str]) -> None:
    assert any(c <= known for c in circles(project_imports())), "this circle is cut: remove it from KNOWN_CIRCLES"


def test_circles_are_found_through_several_modules() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"f"}, "f": {"e"}, "g": set()}
    assert sorted(sorted(c) for c in circles(imports)) == [["a", "b", "c"], ["e", "f"]]


def test_imports_inside_functions_and_of_test_helpers_are_seen() -> None:
    imports = project_imports()
    assert "rooftune.workloads.load" in imports["flows.inputs.targets"], "an import inside a function"
    assert "tests.structure.source_tree" in imports["tests.structure.test_circles"], "a helper beside a test"
    assert "rooftune.workloads.spec" in imports["rooftune.workloads.load"], "a module imported from its package"
