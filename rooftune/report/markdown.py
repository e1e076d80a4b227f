"""Writes the report of a run (report.md, report.html, figures, start scripts) from the files of its folder."""

from __future__ import annotations

from pathlib import Path

from rooftune.files import write_text
from rooftune.report import method
from rooftune.report.advice import recommendation, scenarios
from rooftune.report.figures import Drawing, draw_all
from rooftune.report.html import render
from rooftune.report.learnings import learnings_section
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
    figures = draw_all(data)
    scripts = write_scripts(data)
    text = compose(data, figures, scripts)
    write_text(run.report, text)
    write_text(run.path / "report.html", render(text, run.path, data.plan.workload))
    return run.report


def compose(run: RunData, drawings: list[Drawing], scripts: list[Path]) -> str:
    """The whole report as Markdown."""
    lines = [*title(run), *executive(run)]
    for place, phase in enumerate(run.phases):
        lines += phase_section(run, phase, place)
    lines += _figures(run, drawings)
    lines += [*recommendation(run), *scenarios(run), *upgrade_section(run), *learnings_section(run)]
    lines += method.measured(run)
    made = [p.name for p in scripts] + ["report.html"]
    lines += method.files(run, made)
    return _tidy(lines)


def _figures(run: RunData, drawings: list[Drawing]) -> list[str]:
    if not drawings:
        return []
    lines = ["## Comparison", ""]
    for drawing in drawings:
        lines += [f"![{drawing.caption}]({drawing.path.relative_to(run.folder.path)})", "", f"*{drawing.caption}.*", ""]
        if drawing.path.name == "distribution.png":
            lines += [
                "Request latency is over all requests that were scheduled in the window. A curve that ends below "
                "100 % leaves the rest unanswered; without an answered request there is no curve. Gaps are between "
                "the tokens of all streams, including unfinished ones.",
                "",
            ]
    return lines


def _tidy(lines: list[str]) -> str:
    """Without repeated blank lines, and with one newline at the end."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip() + "\n"
