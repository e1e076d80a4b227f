"""The shape of a workload: lengths, arrivals over time, and what prompts share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rooftune.formatting import number, percent, quantity, rate
from rooftune.report.figures.chart import Chart, Panels, drawn, new_chart
from rooftune.report.figures.style import BLUE, GREY, VERMILION
from rooftune.workloads.shape import ArrivalShape, Lengths, Sharing, WorkloadShape
from rooftune.workloads.spec import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_PREFIXES = 3
"""The panel of shared prefixes has room for at least this many lines."""


@drawn
def workload_shape(spec: Workload, shape: WorkloadShape) -> Chart:
    """Four panels: prompts, answers, arrivals over time, shared prefixes."""
    chart, axes = new_chart(spec.name, 5.6, Panels(rows=2, columns=2))
    chart.figure.suptitle(f"{spec.name}: {spec.description}".rstrip(": "), x=0.01, ha="left")
    _lengths(chart, axes[0], "Prompts", shape.prompt, BLUE)
    _lengths(chart, axes[1], "Answers", shape.output, VERMILION)
    if shape.arrivals is not None:
        _arrivals(chart, axes[2], shape.arrivals)
    else:
        _words(axes[2], "Arrivals", f"closed loop of {quantity(shape.users or 0, 'user')}: the server sets the rate")
    _sharing(chart, axes[3], shape.sharing)
    chart.description = _description(shape)
    return chart


def _lengths(chart: Chart, axis: Axes, what: str, found: Lengths, colour: str) -> None:
    median, high = found.quantiles[0.5], found.quantiles[0.95]
    axis.set_title(f"{what}: median {number(median)}, p95 {number(high)} tokens")
    if found.least == found.most:
        _words(axis, axis.get_title(), f"always {quantity(found.most, 'token')}")
        return
    axis.set_xscale("log")
    axis.stairs(found.counts, found.edges, fill=True, color=colour, alpha=0.75)
    axis.axvline(median, color=GREY, linewidth=0.9)
    axis.set_xlabel("tokens")
    axis.set_ylabel("requests")
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.xaxis.set_minor_formatter(lambda v, _: number(v) if f"{v:.0e}"[0] in "25" else "")
    axis.yaxis.set_major_formatter(lambda v, _: number(v))
    middle = np.sqrt(found.edges[:-1] * found.edges[1:])
    words = [
        f"{quantity(c, 'request')} of {number(np.ceil(low))} to {number(np.floor(high))} tokens"
        for c, low, high in zip(found.counts.tolist(), found.edges[:-1], found.edges[1:], strict=True)
    ]
    chart.hover(axis, middle.tolist(), found.counts.tolist(), words)


def _arrivals(chart: Chart, axis: Axes, found: ArrivalShape) -> None:
    axis.set_title(f"Arrivals: {rate(found.rate_per_s, 'request')}, {number(found.most_per_s)} in the busiest second")
    axis.stairs(found.per_s, found.edges_s, fill=True, color=BLUE, alpha=0.75)
    axis.axhline(found.rate_per_s, color=GREY, linewidth=0.9)
    axis.set_xlabel("seconds from the start of the load")
    axis.set_ylabel("requests per second")
    axis.set_ylim(bottom=0)
    axis.set_xlim(0, found.span_s)
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.yaxis.set_major_formatter(lambda v, _: number(v))
    middle = (found.edges_s[:-1] + found.edges_s[1:]) / 2
    words = [f"{number(t)} s: {rate(v, 'request')}" for t, v in zip(middle, found.per_s, strict=True)]
    chart.hover(axis, middle.tolist(), found.per_s.tolist(), words)


def _sharing(chart: Chart, axis: Axes, found: Sharing) -> None:
    if not found.beginnings:
        said = "no prompt begins like an earlier one"
        if found.conversations:
            said = (
                f"{quantity(found.conversations, 'conversation')} of {number(found.turns, 2)} turns on average\n"
                f"carry {percent(found.tokens_share)} of all prompt tokens as history"
            )
        _words(axis, "Shared prefixes", said)
        return
    axis.set_title(f"Shared prefixes: {percent(found.tokens_share)} of all prompt tokens")
    tokens = [b.tokens for b in found.beginnings]
    places = np.arange(len(tokens))
    axis.barh(places, tokens, color=BLUE, alpha=0.75, height=0.7)
    axis.set_yticks(places, [f"{number(b.requests)} requests" for b in found.beginnings])
    axis.set_ylim(max(len(tokens), FEWEST_PREFIXES) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("tokens of the shared prefix")
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    words = [
        f"{quantity(b.requests, 'request')} begin with the same {number(b.tokens)} tokens" for b in found.beginnings
    ]
    chart.hover(axis, [float(t) for t in tokens], [float(p) for p in places], words)


def _words(axis: Axes, title: str, said: str) -> None:
    """A panel without anything to draw."""
    axis.set_title(title)
    axis.axis("off")
    axis.text(0.5, 0.5, said, ha="center", va="center", color=GREY, transform=axis.transAxes)


def _description(shape: WorkloadShape) -> str:
    parts = [
        f"{what}: median {number(found.quantiles[0.5])}, p95 {number(found.quantiles[0.95])} tokens."
        for what, found in (("Prompts", shape.prompt), ("Answers", shape.output))
    ]
    if shape.arrivals is not None:
        parts.append(f"Arrivals: {rate(shape.arrivals.rate_per_s, 'request')} on average.")
    parts.append(f"{percent(shape.sharing.tokens_share)} of all prompt tokens repeat an earlier prompt.")
    return "Histograms of lengths, arrivals over time, and shared prefixes. " + " ".join(parts)
