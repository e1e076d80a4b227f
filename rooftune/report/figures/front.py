"""The front: what each configuration carries against its time per token, and which of them no other beats in both."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from rooftune.formatting import number
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import Label, wrapped
from rooftune.report.figures.style import BLUE, GREY, INK, OTHER
from rooftune.report.figures.words import (
    BASELINE,
    Amount,
    amount_of,
    axis_words,
    called,
    gain,
    role,
    shown_metric,
    titled,
    unit,
)
from rooftune.report.run.naming import COMPOSED, names_of
from rooftune.report.run_data import RunData
from rooftune.workloads.spec import CAPACITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 1.06
READING = "filled: measured, with interval; open: predicted"
FRONT = "line: the front, which no configuration beats in both"
ESTIMATED_FRONT = "line: the front, by model and trials together"
DIFFERENCES = "grey words: what differs from the recommended"
NEAR = 0.15
"""Loads this close to the capacity, relative to it, show the TPOT at the capacity."""


@dataclass(frozen=True)
class Spot:
    """One configuration: its median TPOT in ms and what it carries."""

    name: str
    tpot_ms: float
    carried: Amount
    measured: bool
    short: str = ""
    """Its name in the report."""


@drawn
def front(run: RunData) -> Chart | None:
    """Capacity or throughput against TPOT: every configuration, the front, the baseline and the recommendation."""
    metric = shown_metric(run)
    spots = measured_spots(run, metric)
    if len(spots) < 2:
        return None
    rows = _front_rows(run)
    predicted = predicted_spots(run, metric, {s.name for s in (*spots, *rows)})
    best = rows or on_front(spots)
    what = "Capacity" if metric == CAPACITY else "Throughput"
    chart, (axis,) = new_chart(titled(run, f"{what} against time per token"), 4.8)
    composed = any(COMPOSED in s.name for s in best)
    reading = [READING, ESTIMATED_FRONT if rows else FRONT, *([DIFFERENCES] if composed else [])]
    chart.head(axis, "; ".join(reading))
    axis.grid(True, axis="both")
    _front_line(axis, best)
    for spot in (*predicted, *(s for s in rows if not s.measured)):
        chart.dots(axis, [spot.tpot_ms], [spot.carried.value], [_words(run, spot, metric)], size=16, filled=False)
    for spot in sorted(spots, key=lambda s: s.name in (BASELINE, run.decision.incumbent)):
        _measured(chart, axis, run, spot, metric)
    _dress(axis, metric, [*spots, *predicted, *best])
    chart.label(axis, _labels(run, spots, best, metric))
    chart.description = _description(run, spots, best, metric)
    return chart


def measured_spots(run: RunData, metric: str) -> list[Spot]:
    """Every measured configuration with both values."""
    found, names = [], names_of(run)
    for name in (p.id for p in run.measured):
        amount, tpot = amount_of(run, name, metric), _tpot(run, name, metric)
        if amount is not None and amount.value > 0 and tpot is not None:
            found.append(Spot(name, tpot, amount, measured=True, short=names.plain(name)))
    return found


def _tpot(run: RunData, name: str, metric: str) -> float | None:
    """Median TPOT; of a capacity, the median of the loads that are near it."""
    amount = amount_of(run, name, metric)
    if metric != CAPACITY or amount is None:
        return run.value(name, "median_tpot_ms")
    steps = [s for s in run.rate_steps(name) if "median_tpot_ms" in s.latencies]
    apart = [abs(s.rate_per_s - amount.value) for s in steps]
    most = max([NEAR * amount.value, min(apart, default=0.0)])
    near = [s.latencies["median_tpot_ms"] for s, far in zip(steps, apart, strict=True) if far <= most]
    return median(near) if near else None


def predicted_spots(run: RunData, metric: str, without: set[str]) -> list[Spot]:
    """The configurations that were predicted and not measured."""
    found = []
    if metric == CAPACITY and run.plan.search is not None:
        for o in run.plan.search.options:
            if o.id not in without and o.predicted and o.tpot_ms:
                found.append(Spot(o.id, o.tpot_ms, _exact(o.predicted), measured=False))
    elif metric != CAPACITY:
        for name, values in run.plan.predicted.items():
            if name not in without and "median_tpot_ms" in values and metric in values:
                found.append(Spot(name, values["median_tpot_ms"], _exact(values[metric]), measured=False))
    return found


def _exact(value: float) -> Amount:
    return Amount(value, value, value)


def _front_rows(run: RunData) -> list[Spot]:
    """The front as the decision has it: capacities by the model and the trials together, TPOT as predicted there."""
    rows = run.decision.search.front if run.decision.search is not None and run.by_capacity else []
    names = names_of(run)
    return [Spot(r.option, r.tpot_ms, _exact(r.capacity), r.measured, names.plain(r.option)) for r in rows]


def on_front(spots: list[Spot]) -> list[Spot]:
    """The spots that no other beats in both values, the lowest TPOT first."""
    best: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.tpot_ms, -s.carried.value)):
        if not best or spot.carried.value > best[-1].carried.value:
            best.append(spot)
    return best


def _front_line(axis: Axes, best: list[Spot]) -> None:
    """The front as steps: what can be had at a TPOT or below."""
    x = [s.tpot_ms for s in best for _ in (0, 1)][1:]
    y = [s.carried.value for s in best for _ in (0, 1)][:-1]
    axis.plot(x, y, color=INK, linewidth=1.1, zorder=1.5)


def _measured(chart: Chart, axis: Axes, run: RunData, spot: Spot, metric: str) -> None:
    own = spot.name == run.decision.incumbent
    colour = BLUE if own else GREY if spot.name == BASELINE else OTHER
    axis.plot([spot.tpot_ms] * 2, [spot.carried.low, spot.carried.high], color=colour, linewidth=1.4, zorder=2.5)
    chart.dots(
        axis, [spot.tpot_ms], [spot.carried.value], [_words(run, spot, metric)],
        colour=colour, size=90 if own else 55, marker=_marker(run, spot), above=5 if own else 4,
    )  # fmt: skip


def _marker(run: RunData, spot: Spot) -> str:
    """A square for the baseline, a cross where a check found the answers spoilt."""
    found = run.quality(spot.name)
    return "s" if spot.name == BASELINE else "X" if found is not None and found.verdict == "spoilt" else "o"


def _words(run: RunData, spot: Spot, metric: str) -> str:
    found = run.quality(spot.name)
    answers = f"; answers {found.verdict}" if found is not None else ""
    return f"{called(spot.name, spot.short)}: {_values(run, spot, metric)}{answers}"


def _values(run: RunData, spot: Spot, metric: str) -> str:
    how = "measured" if spot.measured else "predicted"
    more = gain(run, spot.carried.value, metric)
    relative = f", {more} compared with the baseline" if spot.name != BASELINE and more else ""
    carried = f"{spot.carried.words} {unit(metric)}"
    return f"{carried} at a median TPOT of {number(spot.tpot_ms)} ms ({how}){relative}"


def _dress(axis: Axes, metric: str, spots: list[Spot]) -> None:
    axis.set_xlim(0, ROOM * max(s.tpot_ms for s in spots))
    axis.set_ylim(0, ROOM * max(s.carried.high for s in spots))
    axis.set_xlabel("time per output token (TPOT), median, ms" + (" at the capacity" if metric == CAPACITY else ""))
    axis.set_ylabel(axis_words(metric))
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.yaxis.set_major_formatter(lambda v, _: number(v))
    axis.annotate(
        "↖ better", (0, 1), xycoords="axes fraction", xytext=(4, -3), textcoords="offset points", color=GREY,
        va="top", fontsize=8,
    )  # fmt: skip


def _labels(run: RunData, spots: list[Spot], best: list[Spot], metric: str) -> list[Label]:
    """The baseline and the recommendation with their values, then the front by name."""
    own = [BASELINE, run.decision.incumbent]
    labels = []
    for spot in spots:
        if spot.name in own:
            bold = spot.name == run.decision.incumbent
            words = role(run, spot.name) + (f"\n{wrapped(spot.name)}" if spot.name != BASELINE and bold else "")
            text = f"{words}\n{number(spot.carried.value)} {unit(metric)}"
            labels.append(Label(text, spot.tpot_ms, spot.carried.value, BLUE if bold else GREY, bold, required=True))
    more = [Label(_difference(s, own[1]), s.tpot_ms, s.carried.value, GREY) for s in best if s.name not in own]
    return [*labels, *more]


def _difference(spot: Spot, recommended: str) -> str:
    """The short name, and the parts of the id that the recommended configuration does not have."""
    other = recommended.split("+")
    parts = wrapped("+".join(part for part in spot.name.split("+") if part not in other), 22, 2)
    names = [spot.short] if spot.short not in ("", spot.name) else []
    return "\n".join([*names, parts]) if parts or names else spot.name


def _description(run: RunData, spots: list[Spot], best: list[Spot], metric: str) -> str:
    own = [s for s in spots if s.name in (BASELINE, run.decision.incumbent)]
    known = ". ".join(f"{s.short}: {_values(run, s, metric)}" for s in own)
    return (
        f"{len(spots)} measured configurations: {axis_words(metric)}, against the median time per output token. "
        f"{known}. {len(best)} configurations are on the front, where no other has both more and a lower TPOT."
    )
