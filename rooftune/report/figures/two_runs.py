"""Two runs compared: the change of every pair of configurations with its interval."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING

from rooftune.formatting import change, change_range, number
from rooftune.report.compare import PairComparison, RunComparison
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import wrapped
from rooftune.report.figures.style import BLUE, GREY, INK, OTHER, VERMILION
from rooftune.report.figures.words import unit
from rooftune.tuning.metrics import lower_is_better, metric_name
from rooftune.tuning.plan import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"better": BLUE, "worse": VERMILION}
ROW = 0.62
MOST_ROWS = 12
TICKS = (0.5, 2.0, 0.75, 1.5, 5.0, 0.2, 10.0, 0.1, 0.9, 1.1, 1.25, 3.0, 0.95, 1.05, 0.98, 1.02)
"""Ratios that may be ticks, the most useful first."""


@drawn
def two_runs(found: RunComparison) -> Chart | None:
    """A row for each pair: the change from A to B with its interval; None where nothing could be compared."""
    metric = _metric(found)
    rows = [(p, r) for p in found.pairs if (r := _ratio(p, metric)) is not None][:MOST_ROWS]
    if not rows:
        return None
    simulated = " (simulated)" if found.a.simulated or found.b.simulated else ""
    title = f"{metric_name(metric).capitalize()}, change from A to B: {found.a.workload}{simulated}"
    chart, (axis,) = new_chart(title, 1.1 + ROW * len(rows))
    better = "left" if lower_is_better(metric) else "right"
    chart.head(axis, f"A: {_side(found, 'a')}; B: {_side(found, 'b')}; lines: 95 % intervals; {better} is better")
    for place, (pair, ratio) in enumerate(rows):
        _row(chart, axis, pair, ratio, place, metric)
    axis.axvline(1, color=INK, linewidth=0.9)
    axis.set_yticks(range(len(rows)), [_name(p) for p, _ in rows], linespacing=1.15)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    _ratio_axis(axis, [v for _, r in rows for v in (r.low, r.high)])
    chart.description = f"Change of {metric_name(metric)} from run A to run B. " + " ".join(
        f"{p.b}: {change_range(r.estimate, r.low, r.high)}, {p.verdict}." for p, r in rows
    )
    return chart


def _ratio_axis(axis: Axes, ratios: list[float]) -> None:
    """A logarithmic axis, on which twice as much is as far from no change as half as much; ticks show the change."""
    low, high = log(min([*ratios, 0.98])), log(max([*ratios, 1.02]))
    left, right = low - 0.08 * (high - low), high + 0.55 * (high - low)
    axis.set_xscale("log")
    axis.set_xlim(exp(left), exp(right))
    chosen = [1.0]
    for tick in TICKS:
        if left < log(tick) < right and all(abs(log(tick / other)) > 0.09 * (right - left) for other in chosen):
            chosen.append(tick)
    axis.set_xticks(chosen)
    axis.set_xticks([], minor=True)
    axis.xaxis.set_major_formatter(lambda v, _: change(v))
    axis.grid(True, axis="x")
    axis.grid(False, axis="y")


def _metric(found: RunComparison) -> str:
    """The first metric that any pair has a ratio of."""
    return next((m for p in found.pairs for m, values in p.metrics.items() if values.ratio is not None), "")


def _ratio(pair: PairComparison, metric: str) -> Interval | None:
    values = pair.metrics.get(metric)
    return values.ratio if values is not None else None


def _side(found: RunComparison, which: str) -> str:
    side = found.a if which == "a" else found.b
    return f"{side.gpu}, vLLM {side.engine_version}"


def _name(pair: PairComparison) -> str:
    return wrapped(pair.a) if pair.a == pair.b else f"{wrapped(pair.a, most=1)}\n→ {wrapped(pair.b, most=1)}"


def _row(chart: Chart, axis: Axes, pair: PairComparison, ratio: Interval, place: int, metric: str) -> None:
    colour = COLOURS.get(pair.verdict, OTHER)
    axis.plot([ratio.low, ratio.high], [place, place], color=colour, linewidth=2.0, solid_capstyle="butt")
    values = pair.metrics[metric]
    both = f"{number(values.a)} in A, {number(values.b)} in B, {unit(metric)}"
    words = f"{pair.a} → {pair.b}: {both}; {change_range(ratio.estimate, ratio.low, ratio.high)} ({pair.verdict})"
    chart.dots(axis, [ratio.estimate], [place], [words], colour=colour, size=60, above=4)
    clear_of_the_middle = max(ratio.high, 1.0) if ratio.low < 1.0 else ratio.high
    axis.annotate(
        f"{change(ratio.estimate)}  {pair.verdict}", (clear_of_the_middle, place), xytext=(8, 0),
        textcoords="offset points",
        va="center", color=GREY if colour == OTHER else colour,
    )  # fmt: skip
