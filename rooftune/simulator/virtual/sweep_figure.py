"""A sweep as a figure: throughput against time per token, every value labelled directly."""

from __future__ import annotations

from pathlib import Path

from rooftune.files import replacing
from rooftune.simulator.virtual.sweep import FlagSweep

BLUE, GREY, INK = "#0072B2", "#8C8C8C", "#333333"
SIZE, DPI = (8.5, 5.2), 110


def draw_sweep(found: FlagSweep, title: str, path: Path) -> None:
    """Draw output throughput (tokens/s) over median TPOT (ms) as PNG; the best value is marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=SIZE, dpi=DPI, layout="constrained")
    spots = [
        (r.prediction.metrics["median_tpot_ms"], r.prediction.metrics["output_throughput"], r)
        for r in found.rows
        if r.prediction and "median_tpot_ms" in r.prediction.metrics
    ]
    axis.plot([x for x, _, _ in spots], [y for _, y, _ in spots], color=GREY, linewidth=1, zorder=1)
    for x, y, row in spots:
        best = row is found.best
        axis.scatter([x], [y], s=70 if best else 28, color=BLUE if best else GREY, zorder=2)
    _label(axis, [(x, y, f"{r.value}", r is found.best) for x, y, r in spots])
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


def _label(axis: object, spots: list[tuple[float, float, str, bool]]) -> None:
    """Values beside their points; one that would cover another is left out, never the best."""
    if not spots:
        return
    wide, high = max(x for x, *_ in spots) or 1.0, max(y for _, y, *_ in spots) or 1.0
    placed: list[tuple[float, float]] = []
    for x, y, text, best in sorted(spots, key=lambda s: not s[3]):
        near = any(abs(x - px) < 0.03 * wide and abs(y - py) < 0.045 * high for px, py in placed)
        if near and not best:
            continue
        placed.append((x, y))
        axis.annotate(  # type: ignore[attr-defined]
            text,
            (x, y),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=9,
            color=BLUE if best else INK,
            weight="bold" if best else "normal",
        )
