"""Writes the report of a run (report.md, report.html, figures, start scripts) from the files of its folder."""

from __future__ import annotations

from pathlib import Path

from rooftune.files import write_text
from rooftune.report.figures.catalogue import draw_all
from rooftune.report.page.model import Page
from rooftune.report.page.to_html import html
from rooftune.report.page.to_markdown import markdown
from rooftune.report.run.page import page_of
from rooftune.report.run.pictures import Pictures, placed
from rooftune.report.run_data import RunData, read_run
from rooftune.report.scripts import write_scripts
from rooftune.runfolder import RunFolder


def write_report(run: RunFolder) -> Path:
    """Write report.md, report.html, figures and scripts; returns the path of report.md. Safe to call again.

    Raises:
        RooftuneError: hardware.json, plan.json or decision.json is missing, or a file cannot be read or written.
    """
    data = read_run(run)
    scripts = write_scripts(data)
    page = page_of(data, placed(data, draw_all(data)), scripts)
    write_text(run.report, markdown(page, run.path))
    write_text(run.path / "report.html", html(page, run.path))
    return run.report


def summary_page(run: RunFolder) -> Page:
    """The page of a run without its figures, for a summary on a terminal.

    Raises:
        RooftuneError: hardware.json, plan.json or decision.json is missing, or a file cannot be read.
    """
    return summary_of(read_run(run))


def summary_of(run: RunData) -> Page:
    """The page of a run that was read, without its figures."""
    return page_of(run, Pictures(), [])
