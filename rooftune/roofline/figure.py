"""The roofline as a figure: logarithmic axes, direct labels, colours that colour-blind readers can distinguish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

from rooftune.files import replacing
from rooftune.formatting import flops_per_s, gigabytes_per_s, percent
from rooftune.roofline.model import Point, Roof, Roofline, Stage
from rooftune.roofline.roofs import bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECODE, PREFILL, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#8C8C8C"
MARKERS: dict[Stage, tuple[str, str]] = {"decode": ("o", DECODE), "prefill": ("s", PREFILL)}
SIZE, DPI = (10.5, 6.4), 110


@dataclass(frozen=True)
class Spot:
    """All trials of one candidate and stage as one mark: geometric means."""

    label: str
    stage: Stage
    x: float
    y: float
    share: float


def draw(chart: Roofline, path: Path) -> None:
    """Draw the roofline as PNG; a chart without points shows its ceilings."""
    import matplotlib.pyplot as plt

    figure = figure_of(chart)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")
    plt.close(figure)


def figure_of(chart: Roofline) -> Figure:
    """The roofline as a matplotlib figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=SIZE, dpi=DPI, layout="constrained")
    spots = summarised(chart.points)
    left, right = _x_range(chart, spots)
    low, high = _y_range(chart, spots, left)
    axis.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    _draw_roofs(axis, chart, left, right)
    _draw_points(axis, chart, spots)
    _dress(axis, chart)
    return figure


def summarised(points: list[Point]) -> list[Spot]:
    """One spot for each candidate and stage, in the order of the points."""
    groups: dict[tuple[str, Stage], list[Point]] = {}
    for p in points:
        groups.setdefault((p.candidate, p.stage), []).append(p)
    return [
        Spot(
            label=candidate,
            stage=stage,
            x=geometric_mean([p.intensity_flop_per_byte for p in group]),
            y=geometric_mean([p.achieved_flops_per_s for p in group]),
            share=geometric_mean([p.share for p in group]),
        )
        for (candidate, stage), group in groups.items()
    ]


def _x_range(chart: Roofline, spots: list[Spot]) -> tuple[float, float]:
    xs = [s.x for s in spots] + [r.flop_per_byte for r in chart.ridges]
    return min([1.0, *(x / 2 for x in xs)]), max([1000.0, *(4 * x for x in xs)])


def _y_range(chart: Roofline, spots: list[Spot], left: float) -> tuple[float, float]:
    rates = [r.value for r in chart.roofs if r.kind == "compute"]
    ys = [s.y for s in spots]
    flow = bandwidth(chart.roofs)
    floor = min([*ys, flow.value * left if flow else 1e9]) / 2
    return floor, max([*rates, *ys, 10 * floor]) * 2.5


def _draw_roofs(axis: Axes, chart: Roofline, left: float, right: float) -> None:
    for measured in (False, True):
        flows = [r for r in chart.roofs if r.kind == "bandwidth" and r.measured is measured]
        rates = sorted(
            (r for r in chart.roofs if r.kind == "compute" and r.measured is measured), key=lambda r: r.value
        )
        style = {"color": FAINT if measured else INK, "linestyle": "--" if measured else "-", "linewidth": 1.6}
        if flows:
            _draw_slope(axis, flows[0], rates, left, right, style)
        for r in rates:
            start = r.value / flows[0].value if flows else left
            axis.plot([start, right], [r.value, r.value], **style)  # type: ignore[arg-type]
            text = f"{r.name.upper()} {flops_per_s(r.value)}{' measured' if measured else ''}"
            axis.annotate(
                text,
                (right, r.value),
                (-4, 4),
                textcoords="offset points",
                ha="right",
                fontsize=9,
                color=style["color"],
            )


def _draw_slope(
    axis: Axes, flow: Roof, rates: list[Roof], left: float, right: float, style: dict[str, float | str]
) -> None:
    end = rates[-1].value / flow.value if rates else right
    axis.plot([left, end], [left * flow.value, end * flow.value], **style)  # type: ignore[arg-type]
    at = left * (end / left) ** (0.78 if flow.measured else 0.6)
    text = f"{gigabytes_per_s(flow.value)}{' measured' if flow.measured else ''}"
    axis.annotate(
        text,
        (at, at * flow.value),
        (-6, 6),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=9,
        color=style["color"],
    )


def _draw_points(axis: Axes, chart: Roofline, spots: list[Spot]) -> None:
    for p in chart.points:
        marker, colour = MARKERS[p.stage]
        axis.plot(p.intensity_flop_per_byte, p.achieved_flops_per_s, marker, color=colour, markersize=3, alpha=0.45)
    for s in spots:
        marker, colour = MARKERS[s.stage]
        axis.plot(s.x, s.y, marker, color=colour, markersize=8, markeredgecolor="white", zorder=5)
    for stage, (marker, colour) in MARKERS.items():
        if any(s.stage == stage for s in spots):
            axis.plot([], [], marker, color=colour, markersize=8, label=stage)
    if spots:
        axis.legend(loc="upper left", frameon=False, fontsize=10)
        _label(axis, spots)


def _label(axis: Axes, spots: list[Spot]) -> None:
    """Labels in a column beside the axes, in the order of the points, each joined to its point by a line."""
    to_axes = axis.transData + axis.transAxes.inverted()
    placed = sorted(((*to_axes.transform((s.x, s.y)), s) for s in spots), key=lambda t: (-t[1], -t[0]))
    heights = spread([float(t[1]) for t in placed], min(0.036, 0.98 / len(placed)), 0.01, 0.985)
    for (_, _, s), height in zip(placed, heights, strict=True):
        colour = MARKERS[s.stage][1]
        axis.annotate(
            f"{s.label} {percent(s.share)}",
            (s.x, s.y),
            (1.02, height),
            textcoords="axes fraction",
            fontsize=min(9.0, 240 / len(placed)),
            color=colour,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "alpha": 0.5,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Heights near the wanted ones (given from top to bottom) that keep a gap and stay inside."""
    ys: list[float] = []
    for y in wanted:
        ys.append(min(y, ys[-1] - gap if ys else high))
    for i in reversed(range(len(ys))):
        ys[i] = max(ys[i], low if i == len(ys) - 1 else ys[i + 1] + gap)
    return ys


def _dress(axis: Axes, chart: Roofline) -> None:
    axis.set_xlabel("arithmetic intensity [FLOP per byte of weights and KV cache]")
    axis.set_ylabel("achieved arithmetic [FLOP/s]")
    times = f" ({chart.count} of them)" if chart.count > 1 else ""
    axis.text(1.02, 1.02, "share of the ceiling", transform=axis.transAxes, fontsize=9, color=FAINT, va="bottom")
    axis.set_title(
        f"Roofline: {chart.model} on {chart.accelerator}{times}{', simulated' if chart.simulated else ''}", loc="left"
    )
    axis.grid(True, which="major", color="#E5E5E5", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
