"""How latencies are distributed over the requests that a server was sent, or that it served while overloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.evidence.records.columns import Floats, Requests
from rooftune.evidence.records.parquet_files import read_requests
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import number, percent
from rooftune.metrics.window import Window
from rooftune.report.figures.chart import Chart, Panels, drawn, new_chart
from rooftune.report.figures.labels import Anchor, Label, along
from rooftune.report.figures.style import DASHED, GREY
from rooftune.report.figures.words import colour_of, highlighted, role, titled
from rooftune.report.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_TOKENS = 8
"""Tokens in the window from which a request that is not finished has a TPOT."""
POINTS = 300
"""Points of one curve."""
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SPREAD = 20.0
"""Ratio of p99 to p1 from which an axis is logarithmic."""


@dataclass(frozen=True)
class Sample:
    """Latencies of one configuration in ms, sorted. ``total`` includes the requests that have none."""

    name: str
    values: Floats
    total: int


@dataclass(frozen=True)
class Measured:
    """The requests of one configuration's last trial."""

    name: str
    requests: Requests
    trial: TrialResult
    window: Window


@dataclass(frozen=True)
class Panel:
    """One panel: the latency, which of the SLO's limits applies, and the values of a configuration."""

    title: str
    limit: str
    sample: Callable[[Measured], Sample | None]


@drawn
def distribution(run: RunData) -> Chart | None:
    """For the baseline and the recommendation, the share of the requests within each latency."""
    found = [m for n in highlighted(run) if (m := _measured(run, n)) is not None]
    drawn = {}
    for panel in PANELS:
        samples = [s for m in found if (s := panel.sample(m)) is not None and len(s.values)]
        if samples:
            drawn[panel.title] = (panel, samples)
    if not drawn:
        return None
    chart, axes = new_chart(titled(run, "Latency of the requests"), 4.0, Panels(columns=len(drawn)))
    chart.figure.suptitle(chart.title, x=0.01, ha="left")
    for axis, (panel, samples) in zip(axes, drawn.values(), strict=True):
        _panel(chart, axis, run, panel, samples)
    axes[0].set_ylabel("share of the requests (ITL: of the gaps)")
    chart.figure.supxlabel(_population(run, found), x=0.01, ha="left", fontsize=8, color=GREY)
    chart.description = _description(run, list(drawn.values()))
    return chart


def _measured(run: RunData, name: str) -> Measured | None:
    """The requests of the last believed trial; None where its files are not there."""
    trial = run.of(name)[-1]
    if trial.window is None:
        return None
    try:
        return Measured(name, read_requests(run.folder.trial(name, trial.n).requests), trial, trial.window)
    except RooftuneError:
        return None


def unfinished(m: Measured) -> bool:
    """Whether the server was so overloaded that the requests sent in the window do not show its latencies."""
    inside = m.window.holds(m.requests.scheduled_s)
    answered = (m.requests.status == "completed") & inside
    return m.trial.overloaded or not answered.any()


def first_token(m: Measured) -> Sample | None:
    """TTFT of the requests sent in the window; None under overload, where it only shows how long the load ran."""
    if unfinished(m):
        return None
    r = m.requests
    inside = m.window.holds(r.scheduled_s)
    values = 1000 * (r.first_token_s - r.scheduled_s)[inside]
    return Sample(m.name, np.sort(values[np.isfinite(values)]), int(inside.sum()))


def per_token(m: Measured) -> Sample | None:
    """TPOT of the requests sent in the window; under overload of those that got tokens in it, finished or not."""
    r = m.requests
    if unfinished(m):
        values = _served(m)
        return Sample(m.name, np.sort(values), len(values))
    inside = m.window.holds(r.scheduled_s)
    tokens = np.where(np.isfinite(r.output_tokens), r.output_tokens, r.streamed_tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = 1000 * (r.last_token_s - r.first_token_s) / (tokens - 1)
    many = inside & (tokens > 1)
    done = many & (r.status == "completed") & np.isfinite(values)
    return Sample(m.name, np.sort(values[done]), int(many.sum()))


def _served(m: Measured) -> Floats:
    """Mean time per token, within the window, of every request that got at least a few tokens in it."""
    r = m.requests
    inside = m.window.holds(r.token_s)
    owner, at, size = r.token_owner[inside], r.token_s[inside], r.token_count[inside]
    n = len(r)
    first, last = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(first, owner, at)
    np.maximum.at(last, owner, at)
    tokens = np.bincount(owner, weights=size, minlength=n)
    many = tokens >= FEWEST_TOKENS
    return np.asarray(1000 * (last[many] - first[many]) / (tokens[many] - 1))


def between_tokens(m: Measured) -> Sample | None:
    """Gaps between the tokens of all streams in the window (ITL). Tokens that were read together count as one."""
    r = m.requests
    same = r.token_owner[1:] == r.token_owner[:-1]
    gaps = 1000 * np.diff(r.token_s)[same & m.window.holds(r.token_s[1:])]
    gaps = np.sort(gaps[gaps > 0])
    return Sample(m.name, gaps, len(gaps))


PANELS = (
    Panel("Time to first token (TTFT), ms", "ttft_ms", first_token),
    Panel("Time per output token (TPOT), ms", "tpot_ms", per_token),
    Panel("Gap between tokens (ITL), ms", "itl_ms", between_tokens),
)


def _panel(chart: Chart, axis: Axes, run: RunData, panel: Panel, samples: list[Sample]) -> None:
    axis.set_title(panel.title)
    limit = run.plan.objective.slo.get(panel.limit)
    low = min(float(np.quantile(s.values, 0.01)) for s in samples)
    high = max(float(np.quantile(s.values, 0.995)) for s in samples)
    if low > 0 and high > SPREAD * low:
        axis.set_xscale("log")
        axis.set_xlim(0.7 * low, 1.4 * high)
    else:
        axis.set_xlim(0, 1.15 * max(high, limit if limit is not None and limit < 1.6 * high else 0.0))
    axis.set_ylim(0, 1.13)
    axis.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axis.yaxis.set_major_formatter(lambda v, _: percent(v))
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    log = axis.get_xscale() == "log"
    axis.xaxis.set_minor_formatter(lambda v, _: number(v) if log and f"{v:.0e}"[0] in "25" else "")
    labels = [_curve(chart, axis, run, s, panel) for s in samples]
    if limit is not None and limit < axis.get_xlim()[1]:
        axis.axvline(limit, color=GREY, linewidth=0.9, linestyle=DASHED)
        ends = along([limit] * 3, [0.06, 0.5, 0.94])
        labels.append(Label(f"SLO: {number(limit)} ms", limit, 0.06, GREY, required=True, along=ends))
    chart.label(axis, labels)
    if limit is not None and limit >= axis.get_xlim()[1]:
        axis.set_xlabel(f"SLO: {number(limit)} ms, beyond this axis", fontsize=8, color=GREY)


def _curve(chart: Chart, axis: Axes, run: RunData, s: Sample, panel: Panel) -> Label:
    """One curve with its values on hover; its label is at a height where curves are apart."""
    colour, name = colour_of(run, s.name), role(run, s.name)
    picks = np.unique(np.linspace(0, len(s.values) - 1, POINTS).astype(int))
    axis.plot(np.r_[s.values[0], s.values[picks]], np.r_[0, (picks + 1) / s.total], color=colour)
    at = [min(int(q * s.total), len(s.values) - 1) for q in QUANTILES if q * s.total <= len(s.values)]
    words = [f"{name}: {percent((i + 1) / s.total, 3)} within {number(s.values[i])} ms" for i in at]
    chart.hover(axis, [float(s.values[i]) for i in at], [(i + 1) / s.total for i in at], words)
    own = s.name == run.decision.incumbent
    middle = picks[(picks >= 0.35 * len(s.values)) & (picks <= 0.95 * len(s.values))]
    points = along(s.values[middle], (middle + 1) / s.total, 17)
    first = points[len(points) // 2] if points else Anchor(float(s.values[-1]), len(s.values) / s.total)
    return Label(name, first.x, first.y, colour, bold=own, required=True, along=points)


def _population(run: RunData, found: list[Measured]) -> str:
    """Which requests the curves are of."""
    busy = [role(run, m.name) for m in found if unfinished(m)]
    words = "All requests sent in the measured window; a curve that ends below 100 % leaves the rest unanswered."
    if not busy:
        return words
    verb = "is" if len(busy) == 1 else "are"
    served = (
        f"{' and '.join(busy).capitalize()} {verb} overloaded: all requests that got tokens in the window; no TTFT."
    )
    return served if len(busy) == len(found) else f"{words}\n{served}"


def _description(run: RunData, drawn: list[tuple[Panel, list[Sample]]]) -> str:
    parts = []
    for panel, samples in drawn:
        values = ", ".join(
            f"{role(run, s.name)} p50 {number(float(np.quantile(s.values, 0.5)))} and "
            f"p99 {number(float(np.quantile(s.values, 0.99)))}"
            for s in samples
        )
        parts.append(f"{panel.title}: {values}.")
    return "Cumulative distributions of latencies. " + " ".join(parts)
