"""The comparison figures of a report as PNG, with direct labels and colours for colour-blind readers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rooftune.evidence.records.columns import Floats
from rooftune.formatting import number, percent
from rooftune.metrics.window import Window
from rooftune.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    Drawing,
    Kind,
    colour_of,
    draw_kinds,
    new_figure,
    phase_lines,
    titled,
)
from rooftune.report.run_data import RunData

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_REQUEST_FINISHED = "No request scheduled in the window was answered in full before the load ended"


@dataclass(frozen=True)
class PlottedRequests:
    """Times of one trial's requests that were scheduled in the window."""

    e2el_s: Floats
    """Of completed requests, sorted."""
    scheduled: int
    gaps_s: Floats
    """Between the chunks of all streams, sorted."""


def draw_all(run: RunData) -> list[Drawing]:
    """Draw every figure that the records allow."""
    return draw_kinds(run, KINDS)


def throughput(run: RunData) -> Figure | None:
    """Horizontal bars: output throughput of each measured configuration, trials as dots."""
    names = [p.id for p in run.measured if run.value(p.id, "output_throughput") is not None]
    if not names:
        return None
    figure, (axis,) = new_figure(0.8 + 0.34 * len(names))
    _bars(run, axis, names, "output_throughput", labels=True)
    axis.set_title(titled(run, "Output throughput, tokens/s"), loc="left", fontsize=11)
    return figure


def latency(run: RunData) -> Figure | None:
    """Bars of median TPOT, and next to them bars of median TTFT unless it is withheld."""
    names = [p.id for p in run.measured if run.value(p.id, "median_tpot_ms") is not None]
    if not names:
        return None
    first = any(run.value(n, "median_ttft_ms") is not None for n in names)
    figure, axes = new_figure(0.8 + 0.34 * len(names), 2 if first else 1)
    _bars(run, axes[0], names, "median_tpot_ms", labels=True, room=1.45 if first else 1.22)
    axes[0].set_title(titled(run, "Time per output token, median, ms"), loc="left", fontsize=11)
    if first:
        axes[1].set_title("Time to first token, median, ms", loc="left", fontsize=11)
        _bars(run, axes[1], names, "median_ttft_ms", labels=False, room=1.45)
    else:
        reason = run.withheld(names[0], "median_ttft_ms") or "it was not measured"
        said = textwrap.fill(f"Time to first token is withheld: {reason}.", 120)
        figure.supxlabel(said, fontsize=9, color=GREY, x=0.01, ha="left")
    return figure


def _bars(run: RunData, axis: Axes, names: list[str], metric: str, *, labels: bool, room: float = 1.22) -> None:
    values = [run.value(n, metric) for n in names]
    most = max((v for v in values if v is not None), default=1.0)
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        if value is None:
            axis.text(0, place, "withheld", va="center", fontsize=9, color=GREY)
            continue
        axis.barh(place, value, color=colour_of(run, name), height=0.66)
        trials = [t.metrics[metric] for t in run.of(name) if metric in t.metrics]
        axis.plot(trials, [place] * len(trials), "o", color="black", markersize=3, alpha=0.7)
        axis.text(max(value, *trials) + 0.015 * most, place, number(value), va="center", fontsize=9, color="black")
    axis.set_yticks(range(len(names)), names if labels else [""] * len(names))
    for tick, name in zip(axis.get_yticklabels(), names, strict=True):
        tick.set_fontweight("bold" if name == run.decision.incumbent else "normal")
    axis.invert_yaxis()
    axis.set_xlim(0, most * room)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    phase_lines(run, axis, names)


def distribution(run: RunData) -> Figure | None:
    """Of all scheduled requests, the share answered within a time; and the distribution of gaps between tokens."""
    chosen = chosen_for_curves(run)
    data = {name: found for name in chosen if (found := times(run, name)) is not None}
    if not data:
        return None
    answered = any(len(found.e2el_s) for found in data.values())
    figure, axes = new_figure(4.2, 2 if answered else 1)
    colours = dict(zip(data, [GREY, BLUE, ORANGE, GREEN, PINK], strict=False))
    if len(data) == 1:
        colours = dict.fromkeys(data, BLUE)
    if answered:
        _answered(run, axes[0], data, colours)
    else:
        figure.supxlabel(f"{NO_REQUEST_FINISHED}, so it has no curve.", fontsize=9, color=GREY, x=0.01, ha="left")
    _between(axes[-1], data, colours)
    axes[-1].set_title(
        "Gaps between tokens" if answered else titled(run, "Gaps between tokens"), loc="left", fontsize=11
    )
    for axis in axes:
        axis.set_ylim(0, 1.02)
        axis.grid(axis="y", color="#E6E6E6", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.yaxis.set_major_formatter(lambda v, _: percent(v))
    return figure


def _answered(run: RunData, axis: Axes, data: dict[str, PlottedRequests], colours: dict[str, str]) -> None:
    """Of all scheduled requests, the share answered within a time."""
    for name, found in data.items():
        _curve(axis, found.e2el_s, found.scheduled, colours[name], name)
    axis.set_title(titled(run, "Requests answered within … s"), loc="left", fontsize=11)
    axis.set_ylabel("share of all requests scheduled in the window", fontsize=9)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    axis.set_xlabel("time from scheduled send to last token, s", fontsize=9)
    axis.set_xlim(left=0)


def _between(axis: Axes, data: dict[str, PlottedRequests], colours: dict[str, str]) -> None:
    """Gaps between tokens."""
    gaps = {name: found.gaps_s * 1000 for name, found in data.items()}
    for name, values in gaps.items():
        _curve(axis, values, len(values), colours[name], name)
    axis.set_xlabel("gap, ms (log scale)", fontsize=9)
    axis.set_xscale("log")
    _log_range(axis, list(gaps.values()))
    _names(axis, gaps, colours)
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.xaxis.set_minor_formatter(lambda v, _: f"{v:,.0f}" if f"{v:.0e}"[0] in "25" and v >= 1 else "")


def chosen_for_curves(run: RunData) -> list[str]:
    """The baseline, the recommended configuration, and the one with the lowest time per output token."""
    names = ["baseline", run.decision.incumbent]
    if run.by_capacity:  # each runs at another rate, so their latencies have no order
        return [n for n in dict.fromkeys(names) if run.of(n)]
    tpot = {p.id: v for p in run.measured if (v := run.value(p.id, "median_tpot_ms")) is not None}
    if tpot:
        names.append(min(tpot, key=lambda k: tpot[k]))
    return [n for n in dict.fromkeys(names) if run.of(n)]


def times(run: RunData, name: str) -> PlottedRequests | None:
    """The times of one configuration's last trial; None without records."""
    import pyarrow.parquet as pq

    trial = run.of(name)[-1]
    path = run.folder.trial(name, trial.n).requests
    if not path.is_file() or trial.window is None:
        return None
    columns = ["status", "scheduled_s", "last_token_s", "chunk_s"]
    found = pq.read_table(path, columns=columns)
    scheduled = found["scheduled_s"].to_numpy()
    inside = (scheduled >= trial.window.start_s) & (scheduled < trial.window.end_s)
    done = inside & (np.asarray(found["status"].to_pylist()) == "completed")
    last = found["last_token_s"].to_numpy()
    return PlottedRequests(np.sort((last - scheduled)[done]), int(inside.sum()), _gaps(found, scheduled, trial.window))


def _gaps(found: pa.Table, scheduled: Floats, window: Window) -> Floats:
    """Gaps between the chunks that arrived in the window, of finished and unfinished requests."""
    column = found["chunk_s"].combine_chunks()
    values = column.values.to_numpy(zero_copy_only=False).astype(np.float64)
    offsets = column.offsets.to_numpy()
    lengths = np.diff(offsets)
    values = values[offsets[0] : offsets[-1]]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    gaps = np.diff(values)
    arrived = values[1:] + scheduled[owner[1:]] if len(values) else values
    same = (owner[1:] == owner[:-1]) & (arrived >= window.start_s) & (arrived < window.end_s)
    return np.sort(gaps[same])


def _log_range(axis: Axes, values: list[Floats]) -> None:
    """A range around the bulk of the gaps. Tokens that were read together have gaps of zero and are ignored."""
    seen = [v[v > 0] for v in values]
    seen = [v for v in seen if len(v)]
    if seen:
        low = min(float(np.quantile(v, 0.02)) for v in seen)
        high = max(float(np.quantile(v, 0.998)) for v in seen)
        axis.set_xlim(0.7 * low, max(1.3 * high, 3 * low))


def _names(axis: Axes, values: dict[str, Floats], colours: dict[str, str]) -> None:
    """Write each curve's name next to it, at heights that keep the names apart."""
    for place, (name, found) in enumerate(values.items()):
        if len(found):
            height = 0.9 - 0.14 * place
            at = float(found[min(int(height * len(found)), len(found) - 1)])
            style = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
            axis.set_xlim(right=max(axis.get_xlim()[1], at * (1.2 + 0.055 * len(name))))
            axis.text(at * 1.06, height, name, color=colours[name], fontsize=9, va="center", bbox=style)


def _curve(axis: Axes, values: Floats, total: int, colour: str, name: str) -> None:
    if not len(values) or not total:
        axis.plot([], [], color=colour, label=f"{name}: none")
        return
    picks = np.unique(np.linspace(0, len(values) - 1, 2000).astype(int))
    across, up = np.r_[values[0], values[picks]], np.r_[0, (picks + 1) / total]
    axis.plot(across, up, color=colour, linewidth=1.8, label=name)


def roofline_figure(run: RunData) -> Figure | None:
    """The roofline with every believed configuration placed."""
    from rooftune.roofline.figure import figure_of

    return figure_of(run.roofline) if run.roofline else None


KINDS = (
    Kind("throughput.png", "Output throughput of each configuration, by phase; dots are trials", throughput),
    Kind(
        "latency.png", "Time per output token and time to first token of each configuration; dots are trials", latency
    ),
    Kind("distribution.png", "Distribution of request latency and of the gaps between tokens", distribution),
    Kind("roofline.png", "Roofline: decode and prefill of each believed configuration", roofline_figure),
)
