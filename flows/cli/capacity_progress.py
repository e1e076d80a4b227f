"""What a person sees while a capacity is measured: a bar on a terminal, a line per step in a pipe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.cli import terminal
from flows.cli.progress import load_text
from rooftune.capacity.listener import CapacityListener
from rooftune.capacity.units import UNITS, amount, bare, per_of
from rooftune.formatting import number, percent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from rooftune.capacity.estimate import CapacityEstimate
    from rooftune.capacity.listener import MeasurementPlan
    from rooftune.capacity.measured_step import StepRecord
    from rooftune.capacity.search import NextStep
    from rooftune.loadgen.progress import Progress


class Silent(CapacityListener):
    """Shows nothing, and knows whether the measurement has begun."""

    def __init__(self, time_scale: float = 1.0) -> None:
        self.time_scale, self.begun = time_scale, False

    def planned(self, plan: MeasurementPlan) -> None:
        self.begun = True

    def engine(self, line: str) -> None:
        """A line of the log of the engine that is starting."""


class Lines(Silent):
    """A line for the plan and for each step."""

    def planned(self, plan: MeasurementPlan) -> None:
        super().planned(plan)
        self.say(plan_text(plan, self.time_scale))

    def waiting(self, sentence: str) -> None:
        self.say(sentence)

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        self.say(step_text(record, found, kept))

    def say(self, sentence: str) -> None:
        """Show a line."""
        terminal.note(sentence)


class BarAndLines(Lines):
    """The same above a bar for the step in progress."""

    def __init__(self, bars: Bars, time_scale: float) -> None:
        super().__init__(time_scale)
        self.bars = bars
        self.task = bars.add_task("starting", total=None, text="")

    def say(self, sentence: str) -> None:
        from rich.markup import escape

        self.bars.console.print(escape(sentence))

    def engine(self, line: str) -> None:
        self.bars.update(self.task, text=line[:60])

    def step(self, number: int, order: NextStep) -> None:
        title = f"step {number}: {amount(order.load, per_of(order.workload))}"
        self.bars.reset(self.task, description=title, total=None, text="")

    def load(self, progress: Progress) -> None:
        self.bars.update(self.task, total=progress.total_s, completed=progress.elapsed_s, text=load_text(progress))


@contextlib.contextmanager
def capacity_display(time_scale: float, *, quiet: bool) -> Iterator[Silent]:
    """The listener for this terminal, pipe, or nobody."""
    if quiet:
        yield Silent(time_scale)
        return
    if not terminal.watched():
        yield Lines(time_scale)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bars:
        yield BarAndLines(bars, time_scale)


def plan_text(plan: MeasurementPlan, time_scale: float) -> str:
    """What will be done, in a sentence or two; first that the budget does not allow it."""
    if plan.predicted <= 0:
        return "The reference breaks the SLO even without load, so the first steps look for a load that works."
    loads = ", ".join(number(load, 2) for load in plan.loads)
    minutes = duration(plan.load_s / time_scale)
    said = (
        f"The reference carries {amount(plan.predicted, plan.per)}. First steps: {loads} {UNITS[plan.per]}, about "
        f"{minutes} of load. Ctrl-C ends with what is known so far."
    )
    if plan.fits:
        return said
    budget, share = duration(plan.most_load_s / time_scale), percent(plan.share, 3)
    return (
        f"The budget of {budget} is too short for a narrow interval: the first steps take {minutes}, because each "
        f"judges {plan.requests:,} requests for an SLO that {share} of them must meet. Raise --budget, or promise a "
        f"smaller share (--slo share=0.9). {said}"
    )


def duration(seconds: float) -> str:
    """A length of time: '45 s', '12 min', '3.5 h'."""
    if seconds < 90:
        return f"{number(seconds, 2)} s"
    return f"{number(seconds / 60, 2)} min" if seconds < 5400 else f"{number(seconds / 3600, 2)} h"


def step_text(record: StepRecord, found: CapacityEstimate | None, kept: bool) -> str:
    """A step and the estimate after it."""
    shown = [f"{name} p99 {number(record.latencies[key])} ms" for name, key in _SHOWN if key in record.latencies]
    parts = [f"{percent(record.attainment, 3)} of {record.requests:,} requests within the SLO", *shown]
    if record.errors:
        parts.append(f"{record.errors:,} failed or refused")
    if record.queue_grew:
        parts.append("the queue grew")
    known, per = "", per_of(record.workload)
    if found is not None and found.rate_per_s > 0:
        low, high = bare(found.low_per_s, per), bare(found.high_per_s, per)
        known = f" -> capacity {bare(found.rate_per_s, per)} ({low} to {high})"
    again = " (measured before)" if kept else ""
    return f"step {record.number}: {amount(record.load, per)}: {', '.join(parts)}{known}{again}"


_SHOWN = (("TTFT", "p99_ttft_ms"), ("TPOT", "p99_tpot_ms"))
