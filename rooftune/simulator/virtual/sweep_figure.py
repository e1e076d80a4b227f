"""A sweep as a figure: throughput against time per token, every value labelled directly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rooftune.files import replacing
from rooftune.simulator.virtual.sweep import FlagSweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, GREY, INK = "#0072B2", "#8C8C8C", "#333333"
SIZE, DPI = (8.5, 5.2), 110


class SweepPoint(NamedTuple):
    """One value of the flag: median TPOT in ms, output throughput in tokens/s."""

    x: float
    y: float
    label: str
    best: bool


def draw_sweep(found: FlagSweep, title: str, path: Path) -> None:
    """Draw output throughput (tokens/s) over median TPOT (ms) as PNG; the best value is marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=SIZE, dpi=DPI, layout="constrained")
    points = [
        SweepPoint(
            r.prediction.metrics["median_tpot_ms"],
            r.prediction.metrics["output_throughput"],
            f"{r.value}",
            r is found.best,
        )
        for r in found.rows
        if r.prediction and "median_tpot_ms" in r.prediction.metrics
    ]
    axis.plot([p.x for p in points], [p.y for p in points], color=GREY, linewidth=1, zorder=1)
    for p in points:
        axis.scatter([p.x], [p.y], s=70 if p.best else 28, color=BLUE if p.best else GREY, zorder=2)
    _label(axis, points)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.set_xlabel("Time per output token, median, ms (left is better)")
    axis.set_ylabel("Output throughput, tokens/s")
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_title(
        f"{title}\n{found.flag}, simulated; blue: best by {found.metric}", loc="left", fontsize=10, color=INK
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")
    plt.close(figure)


def _label(axis: Axes, points: list[SweepPoint]) -> None:
    """Write values beside their points. A label that would cover another is left out, but never the best."""
    if not points:
        return
    wide, high = max(p.x for p in points) or 1.0, max(p.y for p in points) or 1.0
    placed: list[SweepPoint] = []
    for p in sorted(points, key=lambda p: not p.best):
        near = any(abs(p.x - q.x) < 0.03 * wide and abs(p.y - q.y) < 0.045 * high for q in placed)
        if near and not p.best:
            continue
        placed.append(p)
        axis.annotate(
            p.label,
            (p.x, p.y),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=9,
            color=BLUE if p.best else INK,
            weight="bold" if p.best else "normal",
        )
