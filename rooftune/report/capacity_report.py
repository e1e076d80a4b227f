"""The report of a capacity measurement: capacity.md and capacity.html with their figures."""

from __future__ import annotations

from pathlib import Path

from rooftune.capacity.result import CapacityResult
from rooftune.capacity.sentences import headline, method_lines, replica_lines
from rooftune.capacity.units import UNITS
from rooftune.files import write_text
from rooftune.formatting import NONE, number, percent
from rooftune.report.figures.capacity_run import ATTAINMENT, LATENCIES, draw_capacity
from rooftune.report.page.model import Block, Page, Paragraph, Picture, Table, bullets, section, table
from rooftune.report.page.to_html import html
from rooftune.report.page.to_markdown import markdown

REPORT = "capacity.md"


def write_capacity_report(folder: Path, result: CapacityResult) -> Path:
    """Write capacity.md, capacity.html and their figures into the folder of a measurement; returns the first's path."""
    if result.steps:
        draw_capacity(result, folder / "figures")
    path = folder / REPORT
    page = capacity_page(result)
    write_text(path, markdown(page, folder))
    write_text(path.with_suffix(".html"), html(page, folder))
    return path


def capacity_markdown(result: CapacityResult, folder: Path) -> str:
    """The report as Markdown, with the figures that are in the folder."""
    return markdown(capacity_page(result), folder)


def capacity_page(result: CapacityResult) -> Page:
    """The answer first, then the servers for the asked load, the steps, and how they were measured."""
    figures: list[Block | None] = []
    if result.steps:
        figures = [
            Picture(f"figures/{ATTAINMENT}", "Requests within the SLO against the load"),
            Picture(f"figures/{LATENCIES}", "TTFT and TPOT against the load"),
        ]
    checks = table(
        "Checks of the audit", ["check", "finding"], [[c.id, f"{c.status}: {c.sentence}"] for c in result.checks]
    )
    sections = (
        section("Servers for the asked load", bullets(replica_lines(result))),
        section("Steps", *figures, _steps(result)) if result.steps else None,
        section("How it was measured", bullets(method_lines(result)), section("Every check", checks, folded=True)),
    )
    opening = (Paragraph(headline(result), "answer"),)
    return Page(f"Capacity of {result.workload.name}", opening, tuple(s for s in sections if s is not None))


def _steps(result: CapacityResult) -> Table:
    head = ["step", UNITS[result.per], "judged", "within the SLO", "TTFT p50 / p99, ms", "TPOT p50 / p99, ms"]
    head += ["queue", "speed"]
    rows = []
    for s in result.steps:
        times = [
            f"{_known(s.latencies, f'median_{k}')} / {_known(s.latencies, f'p99_{k}')}" for k in ("ttft_ms", "tpot_ms")
        ]
        queue = "closed loop" if s.users is not None else "grew" if s.queue_grew else "steady"
        share = percent(s.attainment, 3)
        rows.append([str(s.number), number(s.load), f"{s.requests:,}", share, *times, queue, number(s.speed)])
    return table("The steps of the measurement", head, rows)


def _known(latencies: dict[str, float], key: str) -> str:
    return number(latencies[key]) if key in latencies else NONE
