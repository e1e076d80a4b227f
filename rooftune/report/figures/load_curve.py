"""How servers respond to the load: SLO attainment, TTFT and TPOT against the rate or the users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rooftune.capacity.result import CurvePoint
from rooftune.capacity.sentences import NAMES
from rooftune.formatting import number, percent
from rooftune.report.figures.chart import Chart, Panels, drawn, new_chart
from rooftune.report.figures.labels import Label, Place, along
from rooftune.report.figures.style import DASHED, GREY
from rooftune.report.figures.words import Amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 1.12
"""Width of the axis of the load, relative to the largest one of interest."""
BEYOND = 1.5
"""Latencies are shown up to this many times their limit; the depths of an overload say nothing more."""
SPREAD = 12.0
"""Ratio of the largest to the smallest value from which an axis of latencies is logarithmic."""
READING = "dots: measured loads; lines: the simulated long run at the measured speed; bands: 95 % intervals"
QUEUE_GREW = "diamonds: the queue grew"
TITLES = {"ttft_ms": "Time to first token (TTFT), ms", "tpot_ms": "Time per output token (TPOT), ms"}
AT_TOP = (
    Place(5, -2, "left", "top"),
    Place(-5, -2, "right", "top"),
    Place(5, -28, "left", "top"),
    Place(-5, -28, "right", "top"),
)


@dataclass(frozen=True)
class Response:
    """How one configuration responds to the load."""

    name: str
    colour: str
    steps: Sequence[CurvePoint]
    """As measured."""
    curve: Sequence[CurvePoint]
    """The long run of the reference at the measured speed, simulated."""
    capacity: Amount | None = None
    words: str = ""
    """Its name and its capacity, for the label."""


@dataclass(frozen=True)
class Loads:
    """What a figure of the response to the load shows."""

    title: str
    responses: Sequence[Response]
    share: float
    """Of the requests that the SLO asks for."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds, by 'ttft_ms' and 'tpot_ms'."""
    others: Sequence[CurvePoint] = ()
    """Measured loads of configurations that are not highlighted."""
    other_names: Sequence[str] = ()
    axis: str = "rate of one server, requests/s"
    unit: str = "requests/s"

    @property
    def right(self) -> float:
        """The right end of the axis of the load."""
        known = [p.load for r in self.responses for p in r.steps] + [p.load for p in self.others]
        known += [r.capacity.high for r in self.responses if r.capacity is not None]
        curved = [
            p.load for r in self.responses for p in r.curve if r.capacity is None or p.load <= 1.3 * r.capacity.high
        ]
        return ROOM * max([*known, *curved], default=1.0)


@drawn
def attainment(loads: Loads) -> Chart | None:
    """Share of the requests within the SLO against the load: steps, reference curves, SLO, and intervals."""
    if not any(r.steps for r in loads.responses):
        return None
    chart, (axis,) = new_chart(loads.title, 4.4)
    grew = any(p.queue_grew for r in loads.responses for p in r.steps)
    chart.head(axis, READING + (f"; {QUEUE_GREW}" if grew else ""))
    words = [_step_words(n, p, loads) for n, p in zip(loads.other_names, loads.others, strict=True)]
    chart.dots(axis, [p.load for p in loads.others], [p.attainment for p in loads.others], words)
    for r in loads.responses:
        _interval(axis, r)
        shown = [p for p in r.curve if p.load <= loads.right]
        axis.plot([p.load for p in shown], [p.attainment for p in shown], color=r.colour, alpha=0.75)
        chart.hover(
            axis, [p.load for p in shown], [p.attainment for p in shown], [_curve_words(r, p, loads) for p in shown]
        )
        _steps(chart, axis, r, loads)
    bottom, top = _share_range(loads)
    axis.axhline(loads.share, color=GREY, linewidth=0.9, linestyle=DASHED)
    _across(axis, loads)
    axis.set_ylim(bottom, top)
    axis.set_yticks([t for t in np.linspace(0, 1, 6) if t >= bottom] if bottom < 0.5 else [bottom, loads.share, 1.0])
    axis.yaxis.set_major_formatter(lambda v, _: percent(v, 3))
    axis.set_ylabel("requests within the SLO")
    labels = [
        Label(r.words, r.capacity.high, top, r.colour, bold=i == 0, required=True)
        for i, r in enumerate(reversed(loads.responses))
        if r.capacity is not None and r.capacity.value > 0
    ]
    chart.label(axis, labels, AT_TOP)
    slo = Label(f"SLO: {percent(loads.share, 3)}", 0.0, loads.share, GREY)
    chart.label(axis, [slo], (Place(3, -3, "left", "top"),))
    chart.description = _attainment_words(loads)
    return chart


def _share_range(loads: Loads) -> tuple[float, float]:
    lowest = [p.attainment for r in loads.responses for p in (*r.steps, *r.curve)] + [
        p.attainment for p in loads.others
    ]
    bottom = max(-0.02, min([loads.share, *lowest]) - 0.05)
    return bottom, 1.0 + 0.3 * (1.0 - bottom)


def _step_words(name: str, p: CurvePoint, loads: Loads) -> str:
    grew = ", queue grew" if p.queue_grew else ""
    within = f"{percent(p.attainment, 3)} of {p.requests:,} requests within the SLO"
    return f"{name} at {number(p.load)} {loads.unit}: {within}{grew}"


def _curve_words(r: Response, p: CurvePoint, loads: Loads) -> str:
    return f"{r.name}, simulated at {number(p.load)} {loads.unit}: {percent(p.attainment, 3)} within the SLO"


def _steps(chart: Chart, axis: Axes, r: Response, loads: Loads) -> None:
    """Measured loads; a diamond where the queue grew."""
    for grew, marker in ((False, "o"), (True, "D")):
        found = [p for p in r.steps if p.queue_grew is grew]
        chart.dots(
            axis, [p.load for p in found], [p.attainment for p in found],
            [_step_words(r.name, p, loads) for p in found], colour=r.colour, size=48, marker=marker, above=4,
        )  # fmt: skip


def _interval(axis: Axes, r: Response) -> None:
    """The capacity as a line, its interval as a band."""
    if r.capacity is not None and r.capacity.value > 0:
        axis.axvspan(r.capacity.low, r.capacity.high, color=r.colour, alpha=0.15, linewidth=0)
        axis.axvline(r.capacity.value, color=r.colour, linewidth=1.1)


def _across(axis: Axes, loads: Loads) -> None:
    axis.set_xlim(0, loads.right)
    axis.set_xlabel(loads.axis)
    axis.xaxis.set_major_formatter(lambda v, _: number(v))


def _attainment_words(loads: Loads) -> str:
    known = [r.words.replace("\n", ": ") for r in loads.responses if r.capacity is not None]
    return (
        f"Share of the requests within the SLO against the {loads.axis}; the SLO asks for {percent(loads.share, 3)}. "
        f"{'. '.join(known)}."
    )


@drawn
def latencies(loads: Loads) -> Chart | None:
    """TTFT and TPOT against the load: median and p99 of the steps, and of the reference."""
    if not any(p.latencies for r in loads.responses for p in r.steps):
        return None
    chart, axes = new_chart(loads.title, 4.4, Panels(columns=2))
    chart.figure.suptitle(chart.title, x=0.01, ha="left")
    for axis, (metric, title) in zip(axes, TITLES.items(), strict=True):
        axis.set_title(title)
        _quantiles(chart, axis, loads, metric)
    chart.description = f"Median and p99 of TTFT and TPOT against the {loads.axis}. " + " ".join(
        f"The limit of the {NAMES[k]} is {number(v)} ms." for k, v in loads.limits.items()
    )
    return chart


def _quantiles(chart: Chart, axis: Axes, loads: Loads, metric: str) -> None:
    """One panel: each configuration's median and p99."""
    limit = loads.limits.get(metric)
    bottom, top = _latency_range(loads, metric, limit)
    if bottom > 0:
        axis.set_yscale("log")
    axis.set_ylim(bottom, top)
    _across(axis, loads)
    labels = []
    for r in loads.responses:
        _interval(axis, r)
        for quantile in ("median", "p99"):
            labels += _quantile(chart, axis, r, f"{quantile}_{metric}", top, loads)
    axis.yaxis.set_major_formatter(lambda v, _: number(v))
    axis.yaxis.set_minor_formatter(lambda v, _: number(v) if bottom > 0 and f"{v:.0e}"[0] in "25" else "")
    if limit is not None and limit <= top:
        axis.axhline(limit, color=GREY, linewidth=0.9, linestyle=DASHED)
        ends = along([0.0, 0.5 * loads.right, 0.99 * loads.right], [limit] * 3)
        labels.append(Label(f"SLO: {number(limit)} ms", 0.0, limit, GREY, required=True, along=ends))
    chart.label(axis, labels)


def _latency_range(loads: Loads, metric: str, limit: float | None) -> tuple[float, float]:
    """The range of the axis; a positive lower end asks for a logarithmic one."""
    keys = (f"median_{metric}", f"p99_{metric}")
    points = [p for r in loads.responses for p in (*r.steps, *r.curve)]
    steps = [p.latencies[k] for r in loads.responses for p in r.steps for k in keys if k in p.latencies]
    values = [p.latencies[k] for p in points for k in keys if p.latencies.get(k, 0.0) > 0]
    highest = 1.15 * max([*steps, limit or 0.0], default=1.0)
    top = highest if limit is None else min(highest, BEYOND * limit)
    lowest = min(values, default=0.0)
    return (0.7 * lowest if lowest and top > SPREAD * lowest else 0.0), top


def _quantile(chart: Chart, axis: Axes, r: Response, key: str, top: float, loads: Loads) -> list[Label]:
    """Steps as dots, the reference as a line, and their label. What is above the axis is a triangle at its edge."""
    filled = key.startswith("p99")
    word = "p99" if filled else "median"
    known = [p for p in r.steps if key in p.latencies]
    for marker, points in (("o", [p for p in known if p.latencies[key] <= top]),
                           ("^", [p for p in known if p.latencies[key] > top])):  # fmt: skip
        heights = [min(p.latencies[key], 0.97 * top) for p in points]
        words = [f"{r.name}, {word} at {number(p.load)} {loads.unit}: {number(p.latencies[key])} ms" for p in points]
        chart.dots(
            axis, [p.load for p in points], heights, words, colour=r.colour, filled=filled, marker=marker, above=4
        )
    curve = [p for p in r.curve if key in p.latencies and p.load <= loads.right and p.latencies[key] <= top]
    axis.plot(
        [p.load for p in curve], [p.latencies[key] for p in curve], color=r.colour, alpha=0.75,
        linewidth=1.4 if filled else 1.0, linestyle="-" if filled else DASHED,
    )  # fmt: skip
    words = [
        f"{r.name}, {word}, simulated at {number(p.load)} {loads.unit}: {number(p.latencies[key])} ms" for p in curve
    ]
    chart.hover(axis, [p.load for p in curve], [p.latencies[key] for p in curve], words)
    line = curve or [p for p in known if p.latencies[key] <= top]
    beside = along([p.load for p in line], [p.latencies[key] for p in line])
    text = f"{r.name}, {word}" if len(loads.responses) > 1 else word
    return [Label(text, beside[0].x, beside[0].y, r.colour, along=beside)] if beside else []
