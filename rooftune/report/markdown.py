"""Writes the report of a run (report.md, report.html, figures, start scripts) from the files of its folder."""

from __future__ import annotations

from pathlib import Path

from rooftune.files import write_text
from rooftune.report import method
from rooftune.report.advice import recommendation, scenarios
from rooftune.report.capacity_run import page
from rooftune.report.figures.catalogue import draw_all, draw_details, draw_overview
from rooftune.report.figures.saving import Drawing
from rooftune.report.found import found_section
from rooftune.report.html import render
from rooftune.report.learnings import learnings_section
from rooftune.report.markup import pictures
from rooftune.report.phases import phase_section
from rooftune.report.run_data import RunData, read_run
from rooftune.report.scripts import write_scripts
from rooftune.report.summary import executive, title
from rooftune.report.upgrade_path import upgrade_section
from rooftune.runfolder import RunFolder


def write_report(run: RunFolder) -> Path:
    """Write report.md, report.html, figures and scripts; returns the path of report.md. Safe to call again.

    Raises:
        RooftuneError: hardware.json, plan.json or decision.json is missing, or a file cannot be read or written.
    """
    data = read_run(run)
    scripts = write_scripts(data)
    if data.by_capacity:
        lines = page.compose(data, draw_overview(data), draw_details(data), scripts)
    else:
        lines = compose(data, draw_all(data), scripts)
    text = _tidy(lines)
    write_text(run.report, text)
    write_text(run.path / "report.html", render(text, run.path, data.plan.workload))
    return run.report


def compose(run: RunData, drawings: list[Drawing], scripts: list[Path]) -> list[str]:
    """All lines of the report of a run whose objective is a throughput, the goodput or a latency."""
    lines = [*title(run), *executive(run)]
    for place, phase in enumerate(run.phases):
        lines += phase_section(run, phase, place)
    lines += found_section(run)
    if drawings:
        lines += ["## Comparison", "", *pictures(run, drawings)]
    lines += [*recommendation(run), *scenarios(run), *upgrade_section(run), *learnings_section(run)]
    lines += method.measured(run)
    made = [p.name for p in scripts] + ["report.html"]
    return [*lines, *method.files(run, made)]


def _tidy(lines: list[str]) -> str:
    """Without repeated blank lines, and with one newline at the end."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip() + "\n"
