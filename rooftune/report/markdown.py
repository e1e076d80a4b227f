"""Writes the report of a run: report.md, report.html, figures and start scripts, from the run folder's files alone."""

from __future__ import annotations

from pathlib import Path

from rooftune.files import write_text
from rooftune.report import advice, method
from rooftune.report.contents import Contents, read
from rooftune.report.figures import draw_all
from rooftune.report.html import render
from rooftune.report.phases import phase_section
from rooftune.report.scripts import write_scripts
from rooftune.report.summary import executive, title
from rooftune.runfolder import RunFolder


def write_report(run: RunFolder) -> Path:
    """Write report.md and all that belongs to it; returns its path. May be called again at any time.

    Raises:
        RooftuneError: hardware.json, plan.json or decision.json is missing, or a file cannot be read or written.
    """
    contents = read(run)
    figures = draw_all(contents)
    scripts = write_scripts(contents)
    text = compose(contents, figures, scripts)
    write_text(run.report, text)
    write_text(run.path / "report.html", render(text, run.path, contents.plan.workload))
    return run.report


def compose(c: Contents, figures: list[tuple[Path, str]], scripts: list[Path]) -> str:
    """The whole report as Markdown."""
    lines = [*title(c), *executive(c)]
    for place, phase in enumerate(c.phases):
        lines += phase_section(c, phase, place)
    lines += _figures(c, figures)
    lines += [*advice.recommendation(c), *advice.scenarios(c), *advice.upgrade(c), *advice.learnings(c)]
    lines += method.measured(c)
    made = [p.name for p in scripts] + [str(p.relative_to(c.run.path)) for p, _ in figures] + ["report.html"]
    lines += method.files(c, made)
    return _tidy(lines)


def _figures(c: Contents, figures: list[tuple[Path, str]]) -> list[str]:
    if not figures:
        return []
    lines = ["## Comparison", ""]
    for path, caption in figures:
        lines += [f"![{caption}]({path.relative_to(c.run.path)})", "", f"*{caption}.*", ""]
        if path.name == "distribution.png":
            lines += [
                "Requests: of all that were scheduled in the window, the share answered within a time; a curve that ends below 100 % "
                "leaves the rest unanswered, and where none was answered there is no curve. Gaps: between the tokens of all streams, "
                "finished or not.",
                "",
            ]
    return lines


def _tidy(lines: list[str]) -> str:
    """No blank line twice, one newline at the end."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip() + "\n"
