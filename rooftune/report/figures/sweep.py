"""A sweep as a figure: throughput against time per token, every value labelled directly."""

from __future__ import annotations

from pathlib import Path

from rooftune.formatting import number
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import Label
from rooftune.report.figures.saving import save
from rooftune.report.figures.style import BLUE, GREY, OTHER
from rooftune.simulator.virtual.sweep import FlagSweep, SweepRow

MOST_VALUES = 30
"""A value is a short word, so that more of them than of names find room."""
TPOT, THROUGHPUT = "median_tpot_ms", "output_throughput"


def draw_sweep(found: FlagSweep, title: str, path: Path) -> None:
    """Draw output throughput over median TPOT as PNG and SVG; the best value is marked."""
    save(sweep(found, title), path)


@drawn
def sweep(found: FlagSweep, title: str) -> Chart:
    """Output throughput over median TPOT; a line joins the values in their order."""
    chart, (axis,) = new_chart(title, 4.8)
    chart.head(axis, f"{found.flag}, simulated; blue: best by {found.metric}; up and to the left is better")
    rows = [r for r in found.rows if r.prediction is not None and TPOT in r.prediction.metrics]
    x, y = [_metric(r, TPOT) for r in rows], [_metric(r, THROUGHPUT) for r in rows]
    axis.plot(x, y, color=OTHER, linewidth=1.0, zorder=1)
    for row, across, up in zip(rows, x, y, strict=True):
        best = row is found.best
        words = f"{found.flag}={row.value}: {number(up)} tokens/s at {number(across)} ms"
        chart.dots(axis, [across], [up], [words], colour=BLUE if best else GREY, size=80 if best else 30)
    axis.set_xlim(0, 1.08 * max(x, default=1.0))
    axis.set_ylim(0, 1.12 * max(y, default=1.0))
    axis.set_xlabel("time per output token (TPOT), median, ms")
    axis.set_ylabel("output throughput, tokens/s")
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.yaxis.set_major_formatter(lambda v, _: number(v))
    labels = [
        Label(f"{r.value}", a, u, BLUE if r is found.best else GREY, bold=r is found.best, required=r is found.best)
        for r, a, u in zip(rows, x, y, strict=True)
    ]
    chart.label(axis, labels, most=MOST_VALUES)
    chosen = f" The best by {found.metric} is {found.best.value}." if found.best is not None else ""
    chart.description = f"Output throughput against median TPOT for {len(rows)} values of {found.flag}.{chosen}"
    return chart


def _metric(row: SweepRow, name: str) -> float:
    assert row.prediction is not None
    return row.prediction.metrics[name]
