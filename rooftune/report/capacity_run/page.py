"""The whole report of a run whose objective is the capacity, as Markdown."""

from __future__ import annotations

from pathlib import Path

from rooftune.report import method
from rooftune.report.capacity_run.advice import scenarios
from rooftune.report.capacity_run.answer import opening
from rooftune.report.capacity_run.other_hardware import upgrade_section
from rooftune.report.capacity_run.phase import phase_section
from rooftune.report.figures.saving import Drawing
from rooftune.report.found import found_section
from rooftune.report.learnings import learnings_section
from rooftune.report.markup import pictures
from rooftune.report.run_data import RunData
from rooftune.report.summary import subject


def compose(run: RunData, overview: list[Drawing], details: list[Drawing], scripts: list[Path]) -> list[str]:
    """All lines of the report: the answer, its figures, how it came about, and what else follows from it."""
    lines = [*opening(run), *pictures(run, overview)]
    for place, phase in enumerate(run.phases):
        lines += phase_section(run, phase, place)
    lines += found_section(run)
    if details:
        lines += ["## Comparison", "", *pictures(run, details)]
    lines += [*scenarios(run), *upgrade_section(run), *learnings_section(run)]
    lines += ["## The run", "", *subject(run), ""]
    lines += method.measured(run)
    return [*lines, *method.files(run, [p.name for p in scripts] + ["report.html"])]
