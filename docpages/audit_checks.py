"""The page of the audit: every check with what it looks at, and the thresholds of its module."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from docpages.markdown import cell, code, head, prose, table, text_of
from rooftune.evidence.audit import census, comparison, figures, host, ladder, load, server, tokens, window
from rooftune.evidence.audit.checks import CHECKS, OF_OTHER_TOOLS
from rooftune.evidence.records.evidence import Evidence

NOTHING = Evidence(tool="csv", label="nothing")
"""A run about which nothing is known: every check answers with its id and "no data"."""
COMPARISONS = {
    "same-workload": "The sides were loaded with the same workload.",
    "same-model": "The sides served the same model.",
    "same-engine": "The sides ran the same engine; its version may be what is compared.",
    "configurations-differ": "The engine reports different configurations; otherwise it is an A/A test.",
    "order-balanced": "The order of the trials cancels drift.",
}
MODULES = (load, window, census, tokens, host, server, figures, comparison, ladder)


@dataclass(frozen=True)
class Threshold:
    """A number of an audit module that its source explains."""

    name: str
    value: str
    meaning: str


def page() -> str:
    """The page as Markdown."""
    lines = head(
        "Audit checks",
        "The audit decides whether a trial is trusted. A check ends with `pass`, `warn` (worth knowing), `fail` (the "
        "figures cannot be trusted) or `no data` (the source does not have what the check needs). "
        "[How rooftune measures](../measurement.md#the-audit) says when each check fails, and why.",
    )
    lines += ["## Of one trial", "", *_listed(trial_checks())]
    lines += ["## Of a comparison", "", *_listed({name: COMPARISONS[name] for name in _comparison_ids()})]
    lines += ["## Of a capacity measurement", "", "These look at the steps together.", "", *_listed(step_checks())]
    lines += ["## Thresholds", "", "Shares are fractions: 0.05 is 5 %.", ""]
    rows = [[code(t.name), cell(t.value), cell(t.meaning)] for module in MODULES for t in thresholds(module)]
    return text_of([*lines, *table(["Constant", "Value", "Meaning"], rows)])


def trial_checks() -> dict[str, str]:
    """Id -> what it looks at, of every check on one trial."""
    return {check(NOTHING).id: prose(inspect.getdoc(check)) for check in (*CHECKS, *OF_OTHER_TOOLS)}


def step_checks() -> dict[str, str]:
    """Id -> what it looks at, of every check on the steps of a capacity measurement."""
    found = {}
    for check in ladder.CHECKS:
        named = re.search(r'name = "([\w-]+)"', inspect.getsource(check))
        assert named is not None, f"{check} does not name itself"
        found[named[1]] = prose(inspect.getdoc(check))
    return found


def thresholds(module: ModuleType) -> Iterator[Threshold]:
    """The numbers of a module that are followed by an explanation."""
    source = inspect.getsource(module)
    body = ast.parse(source).body
    for assigned, explained in itertools.pairwise(body):
        if not isinstance(assigned, ast.Assign) or not isinstance(explained, ast.Expr):
            continue
        text = getattr(explained.value, "value", None)
        value = ast.get_source_segment(source, assigned.value) or ""
        if isinstance(text, str) and re.fullmatch(r"[(]?[\d.,\s*e-]+[)]?", value):
            name = ast.unparse(assigned.targets[0]).strip("()")
            yield Threshold(name, value.strip("()"), prose(text))


def _comparison_ids() -> list[str]:
    return [check.id for check in comparison.audit_comparison([])]


def _listed(checks: dict[str, str]) -> Sequence[str]:
    return table(["Check", "What it looks at"], [[code(name), cell(text)] for name, text in checks.items()])
