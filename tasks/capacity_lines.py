"""A capacity measurement in lines: the plan, each step, the time; for a pipe, and for the log of a Prefect run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rooftune.capacity.listener import CapacityListener
from rooftune.capacity.units import UNITS, amount, bare, per_of
from rooftune.formatting import number, percent
from tasks.run_lines import EVERY_S, Interval, elapsed_text, load_text

if TYPE_CHECKING:
    from rooftune.capacity.estimate import CapacityEstimate
    from rooftune.capacity.listener import MeasurementPlan
    from rooftune.capacity.measured_step import StepRecord
    from rooftune.capacity.search import NextStep
    from rooftune.loadgen.progress import Progress


class CapacityLines(CapacityListener):
    """Says the plan, each step with the estimate after it, and how far a long start or load is."""

    def __init__(self, say: Callable[[str], None], time_scale: float = 1.0, every_s: float = EVERY_S) -> None:
        self.say, self.time_scale, self.interval = say, time_scale, Interval(every_s)
        self.plan: MeasurementPlan | None = None
        self.planned_at, self.doing = time.monotonic(), "the first step"

    def planned(self, plan: MeasurementPlan) -> None:
        self.plan, self.planned_at = plan, time.monotonic()
        self.say(plan_text(plan, self.time_scale))

    def waiting(self, sentence: str) -> None:
        self.say(sentence)

    def engine(self, line: str) -> None:
        """A line of the log of the engine that is starting."""
        if self.interval.due():
            self.say(f"the server starts: {line[:200]}")

    def step(self, number: int, order: NextStep) -> None:
        self.doing = f"step {number}: {amount(order.load, per_of(order.workload))}"
        self.interval.restart()

    def load(self, progress: Progress) -> None:
        if self.interval.due():
            self.say(f"{self.doing}: {elapsed_text(progress)}, {load_text(progress)}")

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        left = "" if kept else self._left()
        self.say(step_text(record, found, kept) + left)

    def _left(self) -> str:
        """How much of the planned time and of the budget is over, in real seconds."""
        if self.plan is None:
            return ""
        passed_s, planned_s = time.monotonic() - self.planned_at, self.plan.load_s / self.time_scale
        words = f"; {duration(passed_s)}"
        words += f" of about {duration(planned_s)}" if passed_s < planned_s else " so far"
        most_s = self.plan.most_load_s / self.time_scale
        return words + (f", at most {duration(most_s)} of load" if math.isfinite(most_s) else "")


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
