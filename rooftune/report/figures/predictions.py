"""Predicted against measured: how well the simulator foresaw the configurations of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rooftune.formatting import change, number, percent
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import Label
from rooftune.report.figures.style import GREY, OTHER
from rooftune.report.figures.words import (
    BASELINE,
    Amount,
    amount_of,
    axis_words,
    called,
    colour_of,
    role,
    shown_metric,
    titled,
    unit,
)
from rooftune.report.run.naming import names_of
from rooftune.report.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3
"""Configurations with both values below which there is nothing to compare."""


@dataclass(frozen=True)
class Pair:
    """One configuration: predicted before it was measured, and measured."""

    name: str
    predicted: float
    measured: Amount
    short: str = ""
    """Its name in the report."""

    @property
    def error(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured.value


@drawn
def predictions(run: RunData) -> Chart | None:
    """Each measured configuration against what the simulator predicted for it before the run."""
    metric = shown_metric(run)
    pairs = pairs_of(run, metric)
    if len(pairs) < FEWEST:
        return None
    chart, (axis,) = new_chart(titled(run, "Predicted against measured"), 5.2, width=6.4)
    band = _band(run)
    words = f"; shaded: within {percent(band)}, the error on public measurements" if band else ""
    chart.head(axis, f"line: prediction = measurement{words}")
    _diagonal(axis, pairs, band)
    for p in sorted(pairs, key=lambda p: p.name in (BASELINE, run.decision.incumbent)):
        own = p.name in (BASELINE, run.decision.incumbent)
        axis.plot([p.measured.low, p.measured.high], [p.predicted] * 2, color=colour_of(run, p.name), linewidth=1.2)
        chart.dots(
            axis, [p.measured.value], [p.predicted], [_words(p, metric)], colour=colour_of(run, p.name),
            size=70 if own else 36, marker="s" if p.name == BASELINE else "o", above=5 if own else 4,
        )  # fmt: skip
    chart.label(axis, _labels(run, pairs))
    axis.set_xlabel(f"measured {axis_words(metric)}")
    axis.set_ylabel("predicted, the same unit")
    worst = max(pairs, key=lambda p: abs(math.log(p.error)))
    chart.description = (
        f"{len(pairs)} configurations: predicted against measured {axis_words(metric)}. The median error is "
        f"{percent(float(np.median([abs(p.error - 1) for p in pairs])))}. "
        f"The largest is of {worst.short}: {_values(worst, metric)}."
    )
    return chart


def pairs_of(run: RunData, metric: str) -> list[Pair]:
    """Every configuration that was predicted and measured."""
    found, names = [], names_of(run)
    for name in (p.id for p in run.measured):
        measured, predicted = amount_of(run, name, metric), _predicted(run, name, metric)
        if measured is not None and measured.value > 0 and predicted:
            found.append(Pair(name, predicted, measured, names.plain(name)))
    return found


def _predicted(run: RunData, name: str, metric: str) -> float | None:
    option = run.plan.search.option(name) if run.plan.search is not None else None
    if option is not None and metric == run.plan.objective.metric:
        return option.foreseen
    return run.plan.predicted.get(name, {}).get(metric)


def _band(run: RunData) -> float | None:
    """The relative error of the predictions, where it is known."""
    return None if run.plan.unmodelled else run.plan.predicted_error


def _diagonal(axis: Axes, pairs: list[Pair], band: float | None) -> None:
    values = [v for p in pairs for v in (p.predicted, p.measured.low, p.measured.high) if v > 0]
    log = max(values) > 5 * min(values)
    low, high = (min(values) / 1.4, max(values) * 1.4) if log else (0.0, 1.15 * max(values))
    if log:
        axis.set(xscale="log", yscale="log")
    axis.set(xlim=(low, high), ylim=(low, high))
    line = np.linspace(low, high, 50)
    if band:
        axis.fill_between(line, line * (1 - band), line * (1 + band), color=OTHER, alpha=0.18, linewidth=0, zorder=0)
    axis.plot(line, line, color=GREY, linewidth=1.0, zorder=1)
    axis.grid(True, axis="both")
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_formatter(lambda v, _: number(v))
        one.set_minor_formatter(lambda v, _: number(v, 2) if log and f"{v:.0e}"[0] in "25" else "")


def _words(p: Pair, metric: str) -> str:
    return f"{called(p.name, p.short)}: {_values(p, metric)}"


def _values(p: Pair, metric: str) -> str:
    both = f"predicted {number(p.predicted)}, measured {p.measured.words} {unit(metric)}"
    return f"{both}, error {change(p.error)}"


def _labels(run: RunData, pairs: list[Pair]) -> list[Label]:
    """The baseline, the recommendation, and the configuration that was foreseen worst."""
    labels = []
    worst = max(pairs, key=lambda p: abs(math.log(p.error)))
    for p in pairs:
        own = p.name in (BASELINE, run.decision.incumbent)
        if own or p is worst:
            name = role(run, p.name) if own else p.short
            bold = p.name == run.decision.incumbent
            text = f"{name}, {change(p.error)}"
            labels.append(
                Label(text, p.measured.value, p.predicted, colour_of(run, p.name) if own else GREY, bold, own)
            )
    return labels
