"""What decides between the configurations of a run: as a number, as a cell, and compared with the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.formatting import NONE, change, number
from rooftune.report.markup import joined, status
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of
from rooftune.tuning.plan import CapacityFigures, Interval, Verdict
from rooftune.workloads.spec import CAPACITY, COST, ENERGY

BESIDES = ("request_goodput", "median_tpot_ms", "median_ttft_ms", "median_e2el_ms")
"""Metrics that are shown next to the one that decides, unless it is the capacity."""


def deciding_metric(run: RunData) -> str:
    """The metric whose level tables show: the capacity, else what the run optimised."""
    if run.by_capacity:
        return CAPACITY
    goal = run.plan.objective
    return goal.saturated_metric if run.decision.overloaded else goal.metric


def merit(run: RunData, id: str) -> float:
    """Higher is better; 0 where it is not known."""
    if run.by_capacity:
        found = run.capacity_if_measured(id)
        return found.estimate if found is not None else 0.0
    metric = deciding_metric(run)
    value = run.value(id, metric) or 0.0
    return (1 / value if value else 0.0) if lower_is_better(metric) else value


def heading(metric: str) -> str:
    """The head of a metric's column: 'Median TPOT (ms)'."""
    name = metric_name(metric)
    return f"{name[0].upper()}{name[1:]} ({unit_of(metric)})"


def capacity_cell(found: CapacityFigures | None) -> str:
    """'7.86 (7.6 to 8.12)'."""
    if found is None:
        return "not known"
    if found.estimate <= 0:
        return "0"
    return f"{number(found.estimate)} ({number(found.low)} to {number(found.high)})"


def level(run: RunData, id: str) -> str:
    """The level of the metric that decides."""
    if run.by_capacity:
        return capacity_cell(run.capacity_if_measured(id))
    return number(run.value(id, deciding_metric(run)))


def interval_from_baseline(run: RunData, id: str) -> Interval | None:
    """How the deciding metric compares with the baseline's, where trials of both give an interval."""
    verdict = run.verdict(id)
    metric = verdict.metric or deciding_metric(run)
    if verdict.against == "baseline":
        return verdict.ratios.get(metric)
    return None if run.by_capacity else run.ratios(id, "baseline").get(metric)


def trials_compared(verdict: Verdict) -> str:
    """How many trials a comparison with the baseline has: '2 trials each'."""
    ours, theirs = len(verdict.trials), len(verdict.against_trials)
    return f"{ours} trials each" if ours == theirs else f"{ours} trials and {theirs} of the baseline"


def from_baseline(run: RunData, id: str) -> str:
    """The change from the baseline, with an interval where there is one."""
    if id == "baseline":
        return NONE
    interval = interval_from_baseline(run, id)
    if interval is not None:
        return interval.as_change
    ours, base = run.capacity_if_measured(id), run.capacity_if_measured("baseline")
    if ours is None or base is None or base.estimate <= 0:
        return NONE
    return change(ours.estimate / base.estimate)


@dataclass(frozen=True)
class Shown:
    """The metrics of a table besides the one that decides, and those that are withheld from all configurations."""

    metrics: tuple[str, ...]
    note: str


def besides(run: RunData, ids: list[str]) -> Shown:
    """Which other metrics say something about these configurations."""
    if run.by_capacity:
        return Shown((), "")
    wanted = [m for m in (*BESIDES, COST, ENERGY) if m != deciding_metric(run)]
    kept = tuple(m for m in wanted if any(run.value(i, m) is not None for i in ids))
    reasons: dict[str, list[str]] = {}
    for metric in wanted:
        reason = next((r for i in ids if (r := run.withheld(i, metric))), None)
        if reason and metric not in kept:
            reasons.setdefault(reason.rstrip("."), []).append(metric_name(metric))
    words = [f"No values of {joined(metrics)}: {reason}." for reason, metrics in reasons.items()]
    return Shown(kept, " ".join(words))


def verdict_words(run: RunData, id: str) -> str:
    """The verdict on a measured configuration for a reader."""
    if id == "baseline":
        return "starting point"
    verdict = run.verdict(id)
    if verdict.verdict == "applied":
        words = "confirmed" if verdict.ratios else "not compared"
        return f"recommended, {words}" if id == run.decision.incumbent else words
    return "no verdict" if verdict.verdict == "not run" else status(verdict)
