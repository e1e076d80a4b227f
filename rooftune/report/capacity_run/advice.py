"""Which configuration to use in which scenario, with its evidence."""

from __future__ import annotations

from rooftune.formatting import change
from rooftune.report.advice import other_workloads
from rooftune.report.markup import code, joined, table
from rooftune.report.run_data import RunData
from rooftune.tuning.capacity_figures import interval_words


def scenarios(run: RunData) -> list[str]:
    """Scenarios that the capacities of this run decide, and those that take another run."""
    own = run.decision.incumbent
    rows = [
        ["This workload within its SLO", code(own), _evidence(run, own)],
        *_same_precision(run),
        *other_workloads(run),
    ]
    return ["## When to use which configuration", "", *table(["Scenario", "Configuration", "Evidence"], rows), ""]


def _same_precision(run: RunData) -> list[list[str]]:
    """The configuration with the highest capacity among those that keep the baseline's numerical precision."""
    own = run.decision.incumbent
    changed = run.output_changes(own)
    if not changed:
        return []
    carried = {p.id: c.estimate for p in run.measured if (c := run.capacity(p.id)) is not None}
    kept = {name: each for name, each in carried.items() if not run.output_changes(name)}
    if not kept or own not in carried:
        return []
    best = max(kept, key=lambda name: kept[name])
    cost = f", {change(kept[best] / carried[own])} compared with {code(own)}" if carried[own] > 0 else ""
    words = f"The same without {joined([code(name) for name in changed])}, which may change the generated text"
    return [[words, code(best), _evidence(run, best) + cost]]


def _evidence(run: RunData, name: str) -> str:
    found = run.capacity(name)
    return f"capacity {interval_words(found)}" if found is not None else "not measured"
