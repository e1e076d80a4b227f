"""The figures of a run whose objective is the capacity: bars, SLO attainment and latencies against the rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rooftune.formatting import number, percent
from rooftune.report.canvas import (
    GREY,
    GRID,
    LIGHT,
    Drawing,
    Kind,
    colour_of,
    draw_kinds,
    new_figure,
    phase_lines,
    titled,
)
from rooftune.report.figures import distribution, roofline_figure
from rooftune.report.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 1.12
"""Width of the axis of the rate, relative to the largest one of interest."""
BEYOND = 1.5
"""Latencies are shown up to this many times their limit; the depths of an overload say nothing more."""
DASHED = (0, (4, 3))


def draw_overview(run: RunData) -> list[Drawing]:
    """The figures that belong to the answer."""
    return draw_kinds(run, OVERVIEW)


def draw_details(run: RunData) -> list[Drawing]:
    """The figures that explain the answer."""
    return draw_kinds(run, DETAILS)


def highlighted(run: RunData) -> list[str]:
    """The baseline and the recommended configuration, where they were measured."""
    return [n for n in dict.fromkeys(("baseline", run.decision.incumbent)) if run.rate_steps(n)]


def capacities(run: RunData) -> Figure | None:
    """Horizontal bars: capacity of each measured configuration with its interval, trials as dots."""
    found = {p.id: c for p in run.measured if (c := run.capacity(p.id)) is not None}
    if not found:
        return None
    figure, (axis,) = new_figure(0.8 + 0.34 * len(found))
    most = max(c.high for c in found.values()) or 1.0
    for place, (name, c) in enumerate(found.items()):
        axis.barh(place, c.estimate, color=colour_of(run, name), height=0.66)
        axis.plot([c.low, c.high], [place, place], color="black", linewidth=1.2)
        trials = [t.metrics["capacity"] for t in run.of(name) if "capacity" in t.metrics]
        axis.plot(trials, [place] * len(trials), "o", color="black", markersize=3, alpha=0.7)
        words = f"{number(c.estimate)} ({number(c.low)} to {number(c.high)})"
        words = words if c.estimate > 0 else "0: one request at a time breaks the SLO"
        axis.text(max(c.high, *trials, 0.0) + 0.015 * most, place, words, va="center", fontsize=9)
    names = list(found)
    axis.set_yticks(range(len(names)), [_label(run, name) for name in names])
    for tick, name in zip(axis.get_yticklabels(), names, strict=True):
        tick.set_fontweight("bold" if name == run.decision.incumbent else "normal")
    axis.invert_yaxis()
    axis.set_xlim(0, most * 1.6)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    phase_lines(run, axis, names)
    axis.set_title(titled(run, "Requests/s that one server carries within the SLO"), loc="left", fontsize=11)
    return figure


def _label(run: RunData, name: str) -> str:
    """The name, with the configuration that it adds to where that is not the baseline."""
    against = run.verdict(name).against
    return f"{name}, on {against}" if against not in (None, "baseline") else name


def attainment(run: RunData) -> Figure | None:
    """Share of the requests within the SLO against the rate: steps, reference curves, SLO, and intervals."""
    names = highlighted(run)
    if not names:
        return None
    figure, (axis,) = new_figure(4.4)
    others = [s for p in run.measured if p.id not in names for s in run.rate_steps(p.id)]
    _dots(axis, [(s.rate_per_s, s.attainment) for s in others], LIGHT, "other configurations")
    for name in names:
        _interval(axis, run, name, named=True)
        curve = run.curves.get(name, [])
        colour = colour_of(run, name)
        axis.plot([p.load for p in curve], [p.attainment for p in curve], color=colour, linewidth=1.4, alpha=0.7)
        _dots(axis, [(s.rate_per_s, s.attainment) for s in run.rate_steps(name)], colour, name)
    share = run.plan.objective.slo_share
    axis.axhline(share, color=GREY, linewidth=0.9, linestyle=DASHED)
    lowest = min([share, *(s.attainment for n in names for s in run.rate_steps(n)), *(s.attainment for s in others)])
    curved = [p.attainment for n in names for p in run.curves.get(n, [])]
    bottom = max(-0.02, min([lowest, *curved]) - 0.05)
    axis.set_ylim(bottom, 1.0 + 0.22 * (1.0 - bottom))
    axis.annotate(
        f"SLO: {percent(share, 3)}", (1, share), xycoords=("axes fraction", "data"), xytext=(-2, -4),
        textcoords="offset points", ha="right", va="top", fontsize=9, color=GREY,
    )  # fmt: skip
    _across(axis, run)
    axis.set_yticks([tick for tick in axis.get_yticks() if bottom <= tick <= 1.0 + 1e-9])
    axis.yaxis.set_major_formatter(lambda v, _: percent(v))
    axis.set_ylabel("requests within the SLO", fontsize=9)
    figure.legend(*axis.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    axis.set_title(titled(run, "Requests within the SLO against the rate of one server"), loc="left", fontsize=11)
    return figure


def latencies(run: RunData) -> Figure | None:
    """TTFT and TPOT against the rate: median and p99 of the steps, and of the reference."""
    names = highlighted(run)
    if not any(s.latencies for n in names for s in run.rate_steps(n)):
        return None
    figure, axes = new_figure(4.2, 2)
    titles = {"ttft_ms": "Time to first token, ms", "tpot_ms": "Time per output token, ms"}
    for axis, (metric, title) in zip(axes, titles.items(), strict=True):
        limit = run.plan.objective.slo.get(metric)
        top = _top(run, names, metric, limit)
        for name in names:
            _interval(axis, run, name)
            _quantile(axis, run, name, f"median_{metric}", top)
            _quantile(axis, run, name, f"p99_{metric}", top)
        if limit is not None:
            axis.axhline(limit, color=GREY, linewidth=0.9, linestyle=DASHED)
            axis.annotate(
                f"SLO: {number(limit)} ms", (1, limit), xycoords=("axes fraction", "data"), xytext=(-2, 3),
                textcoords="offset points", ha="right", va="bottom", fontsize=9, color=GREY,
            )  # fmt: skip
        _across(axis, run)
        axis.set_ylim(0, top)
        axis.yaxis.set_major_formatter(lambda v, _: number(v))
        axis.set_title(title if metric != "ttft_ms" else titled(run, title), loc="left", fontsize=11)
    for name in names:
        axes[0].plot([], [], "o-", color=colour_of(run, name), label=f"{name}, p99")
        axes[0].plot(
            [], [], "o", color=colour_of(run, name), markerfacecolor="white", linestyle=DASHED,
            label=f"{name}, median",
        )  # fmt: skip
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower center", ncols=4)
    return figure


def _top(run: RunData, names: list[str], metric: str, limit: float | None) -> float:
    """The largest latency that the axis shows."""
    values = [s.latencies[f"p99_{metric}"] for n in names for s in run.rate_steps(n) if f"p99_{metric}" in s.latencies]
    highest = 1.15 * max(values, default=1.0)
    return min(max(highest, 1.15 * limit), BEYOND * limit) if limit is not None else highest


def _quantile(axis: Axes, run: RunData, name: str, key: str, top: float) -> None:
    """Steps as dots and the reference as a line; what is above the axis is a triangle at its edge."""
    colour, filled = colour_of(run, name), key.startswith("p99")
    face = colour if filled else "white"
    known = [(s.rate_per_s, s.latencies[key]) for s in run.rate_steps(name) if key in s.latencies]
    for marker, points in (
        ("o", [p for p in known if p[1] <= top]),
        ("^", [(r, 0.97 * top) for r, v in known if v > top]),
    ):
        axis.plot([p[0] for p in points], [p[1] for p in points], marker, color=colour, markerfacecolor=face,
                  markersize=6, zorder=3)  # fmt: skip
    curve = [p for p in run.curves.get(name, []) if key in p.latencies]
    axis.plot(
        [p.load for p in curve], [p.latencies[key] for p in curve], color=colour, alpha=0.7,
        linewidth=1.4 if filled else 0.9, linestyle="-" if filled else DASHED,
    )  # fmt: skip


def _dots(axis: Axes, points: list[tuple[float, float]], colour: str, label: str) -> None:
    if points:
        axis.plot(
            [p[0] for p in points], [p[1] for p in points], "o", color=colour, markersize=6, label=label, zorder=3
        )


def _interval(axis: Axes, run: RunData, name: str, *, named: bool = False) -> None:
    """The capacity as a line, its interval as a band."""
    found = run.capacity(name)
    if found is None or found.estimate <= 0:
        return
    colour = colour_of(run, name)
    axis.axvspan(found.low, found.high, color=colour, alpha=0.15, linewidth=0)
    axis.axvline(found.estimate, color=colour, linewidth=1.1)
    if named:
        axis.annotate(
            f"{name}\n{number(found.estimate)} ({number(found.low)} to {number(found.high)})", (found.high, 1),
            xycoords=("data", "axes fraction"), xytext=(4, -2), textcoords="offset points", va="top", fontsize=9,
            color=colour if colour != LIGHT else GREY,
        )  # fmt: skip


def _across(axis: Axes, run: RunData) -> None:
    """The axis of the rate."""
    rates = [s.rate_per_s for p in run.measured for s in run.rate_steps(p.id)]
    highs = [c.high for n in highlighted(run) if (c := run.capacity(n)) is not None]
    curved = [p.load for n in highlighted(run) for p in run.curves.get(n, [])]
    axis.set_xlim(0, ROOM * max([*rates, *highs, *curved], default=1.0))
    axis.set_xlabel("rate of one server, requests/s", fontsize=9)
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.grid(axis="y", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)


OVERVIEW = (
    Kind(
        "capacity.png", "Capacity of each configuration with its 95 % interval, by phase; dots are trials", capacities
    ),
    Kind(
        "attainment.png",
        "Requests within the SLO against the rate: dots are loads that were measured, curves are the long run of the "
        "simulated reference at the measured speed, bands are 95 % intervals of the capacity",
        attainment,
    ),
    Kind(
        "latencies.png",
        "TTFT and TPOT against the rate: dots are loads, lines are the reference; a triangle is above the axis",
        latencies,
    ),
)
DETAILS = (
    Kind(
        "distribution.png",
        "Request latency and gaps between tokens in the last trial of each configuration, near its own capacity",
        distribution,
    ),
    Kind("roofline.png", "Roofline: decode and prefill of each configuration, near its own capacity", roofline_figure),
)
