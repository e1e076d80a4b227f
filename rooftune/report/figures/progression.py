"""The progression of a run: the best configuration after each phase, with its interval and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rooftune.formatting import number
from rooftune.report.figures.chart import Chart, drawn, new_chart
from rooftune.report.figures.labels import wrapped
from rooftune.report.figures.style import GREY, INK
from rooftune.report.figures.words import (
    BASELINE,
    Amount,
    amount_of,
    axis_words,
    called,
    colour_of,
    gain,
    shown_metric,
    titled,
    unit,
)
from rooftune.report.run.naming import names_of
from rooftune.report.run_data import RunData
from rooftune.tuning.configuration import described_difference
from rooftune.workloads.spec import CAPACITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

READING = "bars: the best configuration so far; thin lines: 95 % intervals; dots: trials"
RANGE = "; thin line of the baseline: the range of its trials"
ROW = 0.62
"""Inches of one phase."""
ROOM = 1.55
"""Width of the axis relative to the longest bar, for the words behind it."""


@dataclass(frozen=True)
class Stage:
    """The best configuration that the phases so far allow."""

    phase: str
    name: str
    amount: Amount
    verdict: str
    """In a few words: 'applied', 'predicted, not measured' ..."""
    short: str = ""
    """Its name in the report."""


@drawn
def progression(run: RunData) -> Chart | None:
    """A bar for each phase: its best configuration, from the baseline to the recommendation."""
    metric = shown_metric(run)
    found = stages(run, metric)
    if len({s.name for s in found}) < 2:
        return None
    chart, (axis,) = new_chart(titled(run, "What each phase gained"), 0.95 + ROW * len(found))
    chart.head(axis, READING if metric == CAPACITY else READING + RANGE)
    for place, stage in enumerate(found):
        _bar(chart, axis, run, stage, place, metric)
    axis.set_yticks(range(len(found)), [_row_name(s) for s in found], linespacing=1.2)
    axis.invert_yaxis()
    axis.set_xlim(0, ROOM * max(s.amount.high for s in found))
    axis.set_xlabel(axis_words(metric))
    axis.xaxis.set_major_formatter(lambda v, _: number(v))
    axis.grid(False)
    chart.description = "The best configuration after each phase. " + " ".join(
        f"{s.phase}: {_explained(run, s)} with {s.amount.words} {unit(metric)} ({s.verdict})." for s in found
    )
    return chart


def _explained(run: RunData, stage: Stage) -> str:
    """The short name, and what it changes from the baseline."""
    change = described_difference(run.config_of(stage.name), run.config_of(BASELINE))
    return f"{stage.short} ({change})" if change else stage.short


def stages(run: RunData, metric: str) -> list[Stage]:
    """The stages: by the search over the whole space, else the incumbent after each phase."""
    names = names_of(run)
    search = run.decision.search
    found = _searched(run, metric) if search is not None and search.phases else _climbed(run, metric)
    return [replace(s, short=names.plain(s.name)) for s in found]


def _climbed(run: RunData, metric: str) -> list[Stage]:
    """The incumbent after each phase."""
    found = []
    for phase in run.phases:
        name = run.incumbent_after(phase)
        amount = amount_of(run, name, metric)
        if amount is not None:
            stays = phase != BASELINE and name == run.incumbent_before(phase)
            words = "starting point" if phase == BASELINE else "nothing better" if stays else "applied"
            found.append(Stage(phase, name, amount, words))
    return found


def _searched(run: RunData, metric: str) -> list[Stage]:
    """The ladder of the phases as the search has it; what was not measured has the model's interval."""
    assert run.decision.search is not None
    base = amount_of(run, BASELINE, metric)
    found: list[Stage] = []
    for best in run.decision.search.phases:
        measured = amount_of(run, best.option, metric) if best.measured else None
        r = best.ratio
        scaled = Amount(base.value * r.estimate, base.value * r.low, base.value * r.high) if base is not None else None
        amount = measured or scaled
        if amount is None:
            continue
        stays = bool(found) and found[-1].name == best.option
        known = "measured" if measured is not None else "predicted, not measured"
        words = "starting point" if best.option == BASELINE and not found else "nothing better" if stays else known
        recommended = best.option == run.decision.incumbent and not stays
        found.append(Stage(best.phase, best.option, amount, "recommended" if recommended else words))
    return found


def _bar(chart: Chart, axis: Axes, run: RunData, stage: Stage, place: int, metric: str) -> None:
    """The bar, its interval, its trials, and its value in words."""
    amount, colour = stage.amount, colour_of(run, stage.name)
    bar = axis.barh(place, amount.value, color=colour, height=0.5)
    more = gain(run, amount.value, metric) if stage.name != BASELINE else ""
    words = f"{amount.words}" + (f"   {more}" if more else "")
    chart.mark(
        bar.patches[0], [f"{stage.phase}: {called(stage.name, stage.short)}, {words} {unit(metric)} ({stage.verdict})"]
    )
    axis.plot([amount.low, amount.high], [place, place], color=INK, linewidth=1.3, solid_capstyle="butt")
    trials = [(t.n, t.metrics[metric]) for t in run.of(stage.name) if metric in t.metrics]
    words_of = [f"trial {n}: {number(v)} {unit(metric)}" for n, v in trials]
    chart.dots(
        axis, [v for _, v in trials], [place] * len(trials), words_of,
        colour=INK, size=20,
    )  # fmt: skip
    right = max([amount.high, *(v for _, v in trials)])
    axis.annotate(
        words, (right, place), xytext=(6, 5), textcoords="offset points", va="center",
        fontweight="bold" if stage.name == run.decision.incumbent else "normal",
    )  # fmt: skip
    axis.annotate(
        stage.verdict, (right, place), xytext=(6, -7), textcoords="offset points", va="center", fontsize=8, color=GREY
    )


def _row_name(stage: Stage) -> str:
    if stage.name == stage.phase:
        return stage.phase
    short = stage.short if stage.short.startswith(stage.phase) else f"{stage.phase}: {stage.short}"
    return short if stage.short == stage.name else f"{short}\n{wrapped(stage.name, 30, 2)}"
