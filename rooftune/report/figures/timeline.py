"""A trial over time: running and waiting requests, KV cache and TTFT, with the measured window shaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.evidence.records.columns import Floats, Requests, Ticks
from rooftune.evidence.records.parquet_files import read_requests, read_ticks
from rooftune.formatting import number, percent
from rooftune.metrics.window import Window
from rooftune.report.figures.chart import Chart, Panels, drawn, new_chart
from rooftune.report.figures.labels import Label, along
from rooftune.report.figures.style import BLUE, DASHED, GREEN, GREY, OTHER, VERMILION
from rooftune.report.figures.words import highlighted, role, titled
from rooftune.report.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 40
"""Stretches of time for which the TTFT is summed up."""
ROOM = 1.3
"""Height of a panel relative to its largest value, for the labels."""
POINTS = 300
"""Points of one line."""


@dataclass(frozen=True)
class Course:
    """The records of one trial."""

    name: str
    ticks: Ticks
    requests: Requests | None
    window: Window


@dataclass(frozen=True)
class Line:
    """One line of a panel."""

    word: str
    at_s: Floats
    values: Floats
    colour: str


@drawn
def timeline(run: RunData) -> Chart | None:
    """The last trial of the baseline and of the recommendation, side by side."""
    courses = [c for n in highlighted(run) if (c := read_course(run, n)) is not None]
    if not courses:
        return None
    rows = [r for r in ROWS if any(r.lines(c) for c in courses)]
    if not rows:
        return None
    panels = Panels(len(rows), len(courses), share_x="col", share_y="row")
    chart, axes = new_chart(titled(run, "The last trial over time"), 1.0 + 1.5 * len(rows), panels)
    chart.figure.suptitle(chart.title, x=0.01, ha="left")
    for place, axis in enumerate(axes):
        row, course = rows[place // len(courses)], courses[place % len(courses)]
        _panel(chart, axis, row, course, first=place % len(courses) == 0)
        if place < len(courses):
            axis.set_title(role(run, course.name))
        axis.set_ylim(0, ROOM * _highest(row, courses))
        if place // len(courses) == len(rows) - 1:
            axis.set_xlabel("seconds since the first request")
    for place, axis in enumerate(axes):
        row, course = rows[place // len(courses)], courses[place % len(courses)]
        _name_lines(chart, axis, row.lines(course), run.plan.objective.slo.get(row.limit))
    chart.description = (
        f"{', '.join(r.title for r in rows)} over time for {' and '.join(role(run, c.name) for c in courses)}. "
        "The measured window is shaded."
    )
    return chart


def read_course(run: RunData, name: str) -> Course | None:
    """The records of the last believed trial; None where they are not there."""
    trial = run.of(name)[-1]
    files = run.folder.trial(name, trial.n)
    if trial.window is None:
        return None
    try:
        ticks = read_ticks(files.ticks)
    except RooftuneError:
        return None
    if "t_s" not in ticks:
        return None
    try:
        requests = read_requests(files.requests)
    except RooftuneError:
        requests = None
    return Course(name, ticks, requests, trial.window)


def _column(course: Course, name: str, word: str, colour: str, scale: float = 1.0) -> list[Line]:
    """A column of the ticks; none where the server did not report it."""
    values = course.ticks.get(name)
    if values is None:
        return []
    known = np.isfinite(values)
    if known.sum() < 2:
        return []
    return [Line(word, course.ticks["t_s"][known], scale * values[known], colour)]


def in_flight(course: Course) -> list[Line]:
    """Running and waiting requests."""
    return [*_column(course, "running", "running", BLUE), *_column(course, "waiting", "waiting", VERMILION)]


def kv_cache(course: Course) -> list[Line]:
    """The share of the KV cache in use."""
    return _column(course, "kv_usage", "in use", GREEN)


def first_tokens(course: Course) -> list[Line]:
    """Median and maximum TTFT of the requests sent in each stretch of time."""
    r = course.requests
    if r is None:
        return []
    known = np.isfinite(r.first_token_s)
    at, values = r.scheduled_s[known], (r.first_token_s - r.scheduled_s)[known]
    if len(at) < 2:
        return []
    edges = np.linspace(at.min(), at.max() + 1e-9, min(BINS, max(2, len(at) // 4)) + 1)
    place = np.digitize(at, edges) - 1
    filled = np.unique(place)
    middle = (edges[filled] + edges[filled + 1]) / 2
    medians = np.array([np.median(values[place == i]) for i in filled])
    most = np.array([values[place == i].max() for i in filled])
    return [Line("median", middle, medians, BLUE), Line("slowest", middle, most, OTHER)]


@dataclass(frozen=True)
class Row:
    """One kind of panel."""

    title: str
    limit: str
    """Which limit of the SLO applies."""
    share: bool
    """Its values are shares."""

    def lines(self, course: Course) -> Sequence[Line]:
        """The lines of a trial."""
        return {"requests": in_flight, "KV cache in use": kv_cache, "TTFT, s": first_tokens}[self.title](course)


ROWS = (
    Row("requests", "", share=False),
    Row("KV cache in use", "", share=True),
    Row("TTFT, s", "ttft_ms", share=False),
)


def _panel(chart: Chart, axis: Axes, row: Row, course: Course, *, first: bool) -> None:
    axis.axvspan(course.window.start_s, course.window.end_s, color=OTHER, alpha=0.13, linewidth=0)
    for line in row.lines(course):
        step = max(1, -(-len(line.at_s) // POINTS))
        at, values = line.at_s[::step], line.values[::step]
        axis.plot(at, values, color=line.colour, linewidth=1.2)
        shown = [percent(v) if row.share else number(float(v)) for v in values]
        words = [f"{t:.0f} s: {v} {line.word}" for t, v in zip(at, shown, strict=True)]
        chart.hover(axis, list(at), list(values), words)
    axis.yaxis.set_major_formatter(lambda v, _: percent(v) if row.share else number(v))
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    if first:
        axis.set_ylabel(row.title)


def _highest(row: Row, courses: Sequence[Course]) -> float:
    """The largest value of a row, whose panels share their axis."""
    return max([1e-9, *(float(line.values.max()) for c in courses for line in row.lines(c))])


def _name_lines(chart: Chart, axis: Axes, lines: Sequence[Line], limit: float | None) -> None:
    """Each line's name beside it, at its highest point if there is room, and the limit of the SLO if it is in sight."""
    labels = []
    for line in lines:
        top = int(np.argmax(line.values))
        colour = GREY if line.colour == OTHER else line.colour
        points = along(line.at_s, line.values, 15)
        labels.append(
            Label(line.word, float(line.at_s[top]), float(line.values[top]), colour, required=True, along=points)
        )
    if limit is not None and limit / 1000 < axis.get_ylim()[1]:
        axis.axhline(limit / 1000, color=GREY, linewidth=0.9, linestyle=DASHED)
        ends = along(axis.get_xlim(), [limit / 1000] * 2)
        labels.append(Label(f"SLO: {number(limit / 1000)} s", ends[0].x, ends[0].y, GREY, along=ends))
    chart.label(axis, labels)
