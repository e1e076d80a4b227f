"""Where the time of a step goes: weights, KV cache, prefill, host and all-reduce."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooftune.files import read_model
from rooftune.formatting import number, percent
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.style import BLUE, GREEN, GREY, INK, PURPLE, SURFACE, VERMILION
from rooftune.report.figures.words import highlighted, role, titled
from rooftune.report.run_data import RunData
from rooftune.report.step_parts import STEPS, StepBreakdown, StepParts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

READING = "bars: simulated at the batch and the context that were measured; vertical line: measured mean TPOT"
NARROW = 0.035
"""Share of the axis below which a part has no number inside."""
HEIGHT = 0.55


@dataclass(frozen=True)
class Part:
    """One part of a step."""

    field: str
    words: str
    colour: str


PARTS = (
    Part("weights", "weights", BLUE),
    Part("kv_cache", "KV cache", GREEN),
    Part("prefill", "prefill of other requests", VERMILION),
    Part("all_reduce", "all-reduce", PURPLE),
    Part("host", "host and launches", GREY),
)


@drawn
def step_time(run: RunData) -> Chart | None:
    """A stacked bar for the mean step of each of the two configurations whose parts explain the measured time; None
    without any."""
    path = run.folder.path / STEPS
    if not path.is_file():
        return None
    known = read_model(path, StepBreakdown).steps
    steps = {n: known[n] for n in highlighted(run) if n in known and known[n].total > 0 and known[n].explains}
    if not steps:
        return None
    chart, (axis,) = new_chart(titled(run, "Where the time of a step goes"), 1.55 + 0.75 * len(steps))
    chart.head(axis, READING)
    most = 1.12 * max(max(s.total, s.measured_ms or 0.0) for s in steps.values())
    for place, (name, step) in enumerate(steps.items()):
        _bar(chart, axis, role(run, name), step, place, most)
    axis.set_yticks(range(len(steps)), [_row_name(role(run, n), s) for n, s in steps.items()], linespacing=1.25)
    axis.invert_yaxis()
    axis.set_xlim(0, most)
    axis.set_xlabel("milliseconds per step")
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.grid(False)
    handles = [b for b in axis.containers if not str(b.get_label()).startswith("_")]
    chart.figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
    chart.description = "The mean step. " + " ".join(_description(role(run, n), s) for n, s in steps.items())
    return chart


def _bar(chart: Chart, axis: Axes, name: str, step: StepParts, place: int, most: float) -> None:
    """One stacked bar with its numbers, and the measured time beside it."""
    left = 0.0
    for part in PARTS:
        value = float(getattr(step, part.field))
        if value <= 0:
            continue
        label = part.words if part.words not in _named(axis) else "_again"
        bar = axis.barh(
            place, value, left=left, height=HEIGHT, color=part.colour, edgecolor=SURFACE, linewidth=1.0, label=label
        )
        words = f"{name}, {part.words}: {number(value)} ms, {percent(value / step.total)} of the step"
        chart.mark(bar.patches[0], [words])
        if value > NARROW * most:
            axis.text(left + value / 2, place, number(value, 2), ha="center", va="center", color=SURFACE)
        left += value
    if step.measured_ms is not None:
        ends = [place - 0.6 * HEIGHT, place + 0.6 * HEIGHT]
        axis.plot([step.measured_ms] * 2, ends, color=INK, linewidth=2.2, solid_capstyle="butt")
        right = max(left, step.measured_ms)
        axis.annotate(
            f"measured {number(step.measured_ms)}",
            (right, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
        chart.hover(axis, [step.measured_ms], [place], [f"{name}: measured mean TPOT {number(step.measured_ms)} ms"])


def _named(axis: Axes) -> set[str]:
    """The parts that have an entry in the legend."""
    return {str(container.get_label()) for container in axis.containers}


def _row_name(name: str, step: StepParts) -> str:
    return f"{name}\n{number(step.batch, 2)} sequences"


def _description(name: str, step: StepParts) -> str:
    parts = ", ".join(
        f"{p.words} {number(float(getattr(step, p.field)), 2)} ms" for p in PARTS if getattr(step, p.field)
    )
    measured = f"; measured {number(step.measured_ms)} ms" if step.measured_ms is not None else ""
    return f"{name}: {parts}{measured}."
