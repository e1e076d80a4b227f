"""The trend of a workload from run to run: the figure of ``rooftune history``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from rooftune.evidence.history import SAME, run_to_run
from rooftune.evidence.trial_table import TrialRow
from rooftune.formatting import change, number
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import Label, wrapped
from rooftune.report.figures.style import DASHED, GREY, OTHER, SERIES, VERMILION
from rooftune.report.figures.words import BASELINE, axis_words, unit
from rooftune.workloads.spec import CAPACITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THROUGHPUT = "output_throughput"
READING = "dots: median of each run; ring: a significant loss from the run before, at 95 % confidence"


@dataclass(frozen=True)
class RunOfOne:
    """One configuration in one run."""

    at_s: float
    value: float
    trials: int
    version: str


@dataclass(frozen=True)
class Series:
    """One configuration over its runs, oldest first."""

    name: str
    runs: list[RunOfOne]


@drawn
def trend(workload: str, rows: Sequence[TrialRow]) -> Chart | None:
    """The deciding metric of every configuration over time; None before any configuration has two runs."""
    metric = CAPACITY if any(_value(r, CAPACITY) for r in rows) else THROUGHPUT
    series = [s for s in series_of(rows, metric) if len(s.runs) > 1]
    if not series:
        return None
    worse = {f.configuration for f in run_to_run(rows, metric) if f.comparison.answer == "worse"}
    series.sort(key=lambda s: (s.name not in worse, s.name != BASELINE, -len(s.runs), -s.runs[-1].value))
    simulated = " (simulated)" if any(r.get("simulated") for r in rows) else ""
    chart, (axis,) = new_chart(f"{workload} from run to run{simulated}", 4.4)
    chart.head(axis, READING)
    colours = {s.name: SERIES[i] if i < len(SERIES) else OTHER for i, s in enumerate(series)}
    for s in reversed(series):
        _draw(chart, axis, s, colours[s.name], metric, lost=s.name in worse)
    _dress(axis, series, metric)
    labels = [_label(s, colours[s.name], lost=s.name in worse, first=s is series[0]) for s in series[: len(SERIES)]]
    chart.label(axis, [*labels, *_versions(axis, series)])
    chart.description = f"{axis_words(metric)} of {len(series)} configurations over time. " + " ".join(
        f"{s.name}: {number(s.runs[0].value)} to {number(s.runs[-1].value)} {unit(metric)}."
        for s in series[: len(SERIES)]
    )
    return chart


def _label(s: Series, colour: str, *, lost: bool, first: bool) -> Label:
    """The name beside the newest run, with its change where that is a loss."""
    name = wrapped(s.name)
    if lost:
        name += f"\n{change(s.runs[-1].value / s.runs[-2].value)} from the run before"
    return Label(name, _day(s.runs[-1]), s.runs[-1].value, colour, bold=lost, required=first)


def _versions(axis: Axes, series: Sequence[Series]) -> list[Label]:
    """A line where runs begin to have another version of the engine, and its label."""
    runs = sorted((r for s in series for r in s.runs), key=lambda r: r.at_s)
    labels = []
    for before, run in pairwise(runs):
        if run.version != before.version and run.version:
            axis.axvline(_day(run), color=OTHER, linewidth=0.9, linestyle=DASHED)
            labels.append(Label(f"vLLM {run.version}", _day(run), axis.get_ylim()[1], GREY))
    return labels


def series_of(rows: Sequence[TrialRow], metric: str) -> list[Series]:
    """The believed trials of each configuration, summed up by run."""
    groups: dict[tuple[str, ...], dict[str, list[TrialRow]]] = {}
    for row in sorted(rows, key=lambda r: float(r.get("started_at") or 0.0)):
        if row.get("believed") and _value(row, metric):
            key = tuple(str(row.get(k)) for k in SAME)
            run = str(row.get("run") or f"{float(row.get('started_at') or 0.0):.0f}")
            groups.setdefault(key, {}).setdefault(run, []).append(row)
    return [Series(key[0], [_run(found, metric) for found in runs.values()]) for key, runs in groups.items()]


def _run(rows: Sequence[TrialRow], metric: str) -> RunOfOne:
    return RunOfOne(
        at_s=float(rows[0].get("started_at") or 0.0),
        value=median(_value(r, metric) for r in rows),
        trials=len(rows),
        version=str(rows[0].get("engine_version") or ""),
    )


def _value(row: Mapping[str, object], metric: str) -> float:
    """A cell as a number; 0 where there is none."""
    found = row.get(metric)
    return float(found) if isinstance(found, (int, float)) and found == found else 0.0


def _day(run: RunOfOne) -> float:
    """The time as matplotlib counts it, in days."""
    return run.at_s / 86_400


def _draw(chart: Chart, axis: Axes, s: Series, colour: str, metric: str, *, lost: bool) -> None:
    at, values = [_day(r) for r in s.runs], [r.value for r in s.runs]
    axis.plot(at, values, color=colour, linewidth=1.3)
    words = []
    for before, run in zip([None, *s.runs], s.runs, strict=False):
        when = dt.datetime.fromtimestamp(run.at_s, dt.timezone.utc).strftime("%Y-%m-%d %H:%M")
        more = f", {change(run.value / before.value)} from the run before" if before is not None else ""
        trials = f"{run.trials} trial" + ("" if run.trials == 1 else "s")
        words.append(f"{s.name}, {when}: {number(run.value)} {unit(metric)}{more} ({trials}, vLLM {run.version})")
    chart.dots(axis, at, values, words, colour=colour, above=4)
    if lost:
        axis.scatter(at[-1:], values[-1:], s=170, facecolors="none", edgecolors=VERMILION, linewidths=1.6, zorder=5)


def _dress(axis: Axes, series: Sequence[Series], metric: str) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    days = [_day(r) for s in series for r in s.runs]
    span = max(max(days) - min(days), 1 / 24)
    axis.set_xlim(min(days) - 0.04 * span, max(days) + 0.3 * span)
    values = [r.value for s in series for r in s.runs]
    low, high = min(values), max(values)
    axis.set_ylim(
        0 if low < 0.5 * high else low - 0.35 * (high - low + 0.02 * high), high + 0.2 * (high - low + 0.02 * high)
    )
    axis.set_ylabel(axis_words(metric))
    axis.set_xlabel("start of the run, UTC")
    axis.yaxis.set_major_formatter(lambda v, _: number(v))
