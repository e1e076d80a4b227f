"""The figures of a capacity measurement: SLO attainment, TTFT and TPOT against the load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.capacity.result import CapacityResult, CurvePoint
from rooftune.capacity.sentences import INTERVAL
from rooftune.capacity.units import amount, bare
from rooftune.files import replacing
from rooftune.formatting import number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, LIGHT, INK = "#0072B2", "#D55E00", "#595959", "#BDBDBD", "#333333"
WIDTH, DPI = 9.0, 110
ATTAINMENT, LATENCIES = "attainment.png", "latencies.png"
ROOM = 1.2
"""Width of the axis beyond the last load of interest."""


def draw_capacity(result: CapacityResult, folder: Path) -> list[Path]:
    """Draw both figures into ``folder``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn = []
    for name, draw in ((ATTAINMENT, attainment), (LATENCIES, latencies)):
        figure = draw(result)
        path = folder / name
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format="png", facecolor="white")
        plt.close(figure)
        drawn.append(path)
    return drawn


def attainment(result: CapacityResult) -> Figure:
    """Share of the requests within the SLO against the load: steps, the reference's curve, and the interval."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(WIDTH, 4.4), layout="constrained")
    _interval(axis, result)
    share = result.workload.slo.share
    axis.axhline(share, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    shown = _shown(result.predicted_curve, result)
    axis.plot([p.load for p in shown], [p.attainment for p in shown], color=GREY, linewidth=1.4)
    _name_curve(axis, shown)
    low = min([p.attainment for p in (*shown, *result.curve)], default=0.0)
    for point in result.curve:
        style = "D" if point.queue_grew else "o"
        axis.plot(point.load, point.attainment, style, color=BLUE, markersize=7, zorder=3)
    _across(axis, result)
    bottom = max(-0.03, min(low, share) - 0.08)
    axis.set_ylim(bottom, 1.0 + 0.12 * (1.0 - bottom))
    axis.annotate(
        f"promised: {percent(share, 3)}", (1, share), xycoords=("axes fraction", "data"), xytext=(-4, -4),
        textcoords="offset points", ha="right", va="top", fontsize=9, color=GREY,
    )  # fmt: skip
    axis.set_ylabel("share of the requests within the SLO", fontsize=9)
    axis.yaxis.set_major_formatter(lambda v, _: percent(v) if v <= 1.0 + 1e-9 else "")
    axis.set_title(_title("requests within the SLO; dots are measured steps", result), loc="left", fontsize=11)
    _key(axis, result)
    return figure


def _key(axis: Axes, result: CapacityResult) -> None:
    if any(p.queue_grew for p in result.curve):
        axis.plot([], [], "o", color=BLUE, label="step")
        axis.plot([], [], "D", color=BLUE, label="step with a growing queue")
        axis.legend(frameon=False, fontsize=9, loc="lower left")


def _name_curve(axis: Axes, shown: list[CurvePoint]) -> None:
    """Name the reference's curve where it falls."""
    if not shown:
        return
    last = shown[-1]
    axis.annotate(
        "reference, long run\n(simulated)", (last.load, last.attainment), xytext=(7, 0), textcoords="offset points",
        ha="left", va="bottom", fontsize=9, color=GREY,
    )  # fmt: skip


def latencies(result: CapacityResult) -> Figure:
    """TTFT and TPOT against the load: median and p99 of the steps and of the reference."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.2), layout="constrained")
    limits = result.workload.slo.limits_ms()
    names = {"ttft_ms": "Time to first token", "tpot_ms": "Time per output token"}
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        _interval(axis, result, named=False)
        for word, colour in (("median", BLUE), ("p99", ORANGE)):
            _quantile(axis, result, f"{word}_{name}", word, colour)
        limit = limits.get(name)
        if limit is not None:
            axis.axhline(limit, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.annotate(
                f"limit {number(limit)} ms", (0, limit), xycoords=("axes fraction", "data"), xytext=(4, 3),
                textcoords="offset points", va="bottom", fontsize=9, color=GREY,
            )  # fmt: skip
        _across(axis, result)
        axis.set_ylim(0, 1.18 * _highest(result, name, limit))
        axis.set_title(f"{title}, ms", loc="left", fontsize=11)
        axis.yaxis.set_major_formatter(lambda v, _: number(v))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=2)
    lines = "dots are measured steps, lines the simulated reference at the measured speed"
    figure.suptitle(_title(lines, result), x=0.01, ha="left", fontsize=9, color=GREY)
    return figure


def _quantile(axis: Axes, result: CapacityResult, key: str, word: str, colour: str) -> None:
    points = [p for p in result.curve if key in p.latencies]
    axis.plot([p.load for p in points], [p.latencies[key] for p in points], "o", color=colour, label=word, markersize=6)
    shown = [p for p in _shown(result.predicted_curve, result) if key in p.latencies]
    axis.plot([p.load for p in shown], [p.latencies[key] for p in shown], color=colour, linewidth=1.2, alpha=0.6)


def _highest(result: CapacityResult, name: str, limit: float | None) -> float:
    """The largest value that the figure shows: near the limit, not the depths of an overload."""
    values = [p.latencies[k] for p in result.curve for k in (f"median_{name}", f"p99_{name}") if k in p.latencies]
    highest = max([*values, limit or 0.0], default=1.0)
    return min(highest, 4 * limit) if limit else highest or 1.0


def _interval(axis: Axes, result: CapacityResult, *, named: bool = True) -> None:
    """The capacity as a line, its interval as a band."""
    if not result.capacity or result.low is None or result.high is None:
        return
    axis.axvspan(result.low, result.high, color=ORANGE, alpha=0.13, linewidth=0)
    axis.axvline(result.capacity, color=ORANGE, linewidth=1.4)
    if named:
        kind = INTERVAL if result.level is not None else "bracket"
        text = (
            f"capacity {amount(result.capacity, result.per)}\n{kind} {bare(result.low, result.per)} "
            f"to {bare(result.high, result.per)}"
        )
        axis.annotate(
            text, (result.high, 1), xycoords=("data", "axes fraction"), xytext=(4, -4),
            textcoords="offset points", va="top", fontsize=9, color=ORANGE,
        )  # fmt: skip


def _shown(curve: list[CurvePoint], result: CapacityResult) -> list[CurvePoint]:
    right = _right(result)
    return [p for p in curve if p.load <= right]


def _right(result: CapacityResult) -> float:
    rates = [p.load for p in result.curve]
    known = [result.high or 0.0, (result.capacity or 0.0) * 1.2, *rates]
    return ROOM * max(known) if max(known) > 0 else 1.0


def _across(axis: Axes, result: CapacityResult) -> None:
    """The axis of the load, and the look that all figures share."""
    rates = [p.load for p in (*result.curve, *_shown(result.predicted_curve, result))]
    axis.set_xlim(0.9 * min(rates, default=0.0), _right(result))
    axis.set_xlabel("users in a closed loop" if result.per == "users" else "rate, requests/s", fontsize=9)
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _title(text: str, result: CapacityResult) -> str:
    return f"{result.workload.name}: {text}" + (" (simulated server)" if result.simulated else "")
