"""The test behind the gate: is a metric worse than a bound, is it not, or do the trials leave it open?

The question is one of non-inferiority. The ratio new / reference has a two-sided interval that is corrected for
repeated looks (``rooftune.evidence.comparison``). The gate passes if the whole interval is on the good side of the
bound, fails if the whole interval is beyond it, and otherwise asks for more trials. Both errors therefore have a known
rate, also where the true loss is exactly the bound. ``benchmarks/validity/losses.py`` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rooftune.errors import InputError
from rooftune.evidence.comparison.compare import MOST_TRIALS, Comparison, compare_arms
from rooftune.evidence.comparison.least_squares import Arm
from rooftune.evidence.comparison.t_distribution import t_quantile
from rooftune.tuning.plan import Interval
from rooftune.workloads.spec import lower_is_better

GateVerdict = Literal["no loss", "loss", "not enough evidence"]
Design = Literal["beside", "apart", "given"]
"""How the trials of both sides were made.

``beside``: in one run, in balanced order. ``apart``: the reference earlier, the new ones until the answer is clear.
``given``: both earlier, so there is one look.
"""
LEAST_TRIALS = 2
"""Trials per side below which nothing is decided."""
RUNS_FOR_SPREAD = 5
"""Earlier runs from which the variation between runs is estimated."""
ERROR_RATE = 0.05
LARGEST_LOSS = 0.5


class Finding(BaseModel):
    """The verdict of the gate, with the interval that led to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    verdict: GateVerdict
    reason: str
    metric: str
    direction: Literal["higher", "lower"] = Field(description="which is better")
    max_loss: float = Field(description="the bound: 0.03 = a loss of 3 %")
    ratio: Interval | None = Field(default=None, description="new / reference with the interval that decides")
    trials: int
    reference_trials: int
    more_trials: int | None = Field(default=None, description="about how many more trials are needed; None = not known")
    between_runs: float | None = Field(
        default=None, description="standard deviation of the level from run to run, relative; None = not known"
    )


@dataclass(frozen=True)
class Sides:
    """The logarithms of one metric on both sides."""

    new: Arm
    runs: tuple[Arm, ...]
    """The reference's, run by run. Their median level is what the new one is compared with."""


@dataclass(frozen=True)
class Bound:
    """A loss that is still accepted, as the ratio new / reference."""

    max_loss: float
    lower_is_better: bool

    @property
    def ratio(self) -> float:
        return 1 + self.max_loss if self.lower_is_better else 1 - self.max_loss

    def loses(self, low: float, high: float) -> bool:
        """Whether the whole interval is beyond the bound."""
        return low > self.ratio if self.lower_is_better else high < self.ratio

    def keeps(self, low: float, high: float) -> bool:
        """Whether the whole interval is on the good side of the bound."""
        return high < self.ratio if self.lower_is_better else low > self.ratio

    def broken_by(self, ratio: float) -> bool:
        """Whether one ratio is beyond the bound."""
        return self.loses(ratio, ratio)


def parse_loss(text: str) -> float:
    """A bound as users write it: ``3%``, or ``0.03``.

    Raises:
        InputError: it is not a share between 0 and 50 %.
    """
    compact = text.replace(" ", "")
    try:
        value = float(compact.removesuffix("%")) / (100 if compact.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= LARGEST_LOSS:
        raise InputError(f"--max-loss takes a share above 0 and up to 50 %, such as 3%, not {text!r}.")
    return value


def judge_arms(
    sides: Sides, metric: str, max_loss: float, design: Design, *, most_trials: int = MOST_TRIALS
) -> Finding:
    """Judge the trials of both sides.

    Args:
        most_trials: trials per side after which no more are made; looks are after 2, 4 … of them.
    """
    new, reference = sides.new, pooled(sides.runs)
    bound = Bound(max_loss, lower_is_better(metric))
    if min(len(new), len(reference)) < LEAST_TRIALS:
        return _too_few(new, reference, metric, bound)
    if design != "beside":
        new, reference = _without_order(new), _without_order(reference)
    looks_until = LEAST_TRIALS if design == "given" else most_trials
    found = compare_arms(new, reference, metric, error_rate=ERROR_RATE, most_trials=looks_until)
    drift = between_runs(sides.runs, found.spread or 0.0)
    ratio = _widened(found, drift, len([run for run in sides.runs if len(run)]))
    verdict = _verdict(ratio, bound)
    open_yet = verdict == "not enough evidence" and design != "given"
    return Finding(
        verdict=verdict,
        reason=REASONS[verdict],
        metric=metric,
        direction=found.direction,
        max_loss=max_loss,
        ratio=ratio,
        trials=len(new),
        reference_trials=len(reference),
        more_trials=_more(found, ratio, bound, design) if open_yet else None,
        between_runs=drift.deviation if drift is not None else None,
    )


def pooled(runs: Sequence[Arm]) -> Arm:
    """The trials of several runs as one side, each run moved to the median level.

    The distances from the levels grow by what computing a level for each run takes away from them.
    """
    known = [run for run in runs if len(run)]
    if len(known) == 1:
        return known[0]
    if not known:
        return Arm(np.empty(0), (), np.empty(0))
    total, levels = sum(map(len, known)), [float(run.logs.mean()) for run in known]
    middle = float(np.median(levels))
    wider = math.sqrt((total - 1) / (total - len(known))) if total > len(known) else 0.0
    moved = [middle + wider * (run.logs - level) for run, level in zip(known, levels, strict=True)]
    return Arm(
        logs=np.concatenate(moved if wider else [run.logs for run in known]),
        seeds=tuple(seed for run in known for seed in run.seeds),
        positions=np.zeros(total),
        simulated=all(run.simulated for run in known),
    )


@dataclass(frozen=True)
class Drift:
    """How far the level of one configuration varies from run to run."""

    deviation: float
    """Standard deviation of ln(level), beyond what the trials of each run explain."""
    runs: int


def between_runs(runs: Sequence[Arm], spread: float) -> Drift | None:
    """The variation between earlier runs beyond the spread of their trials; None with too few of them."""
    known = [run for run in runs if len(run)]
    if len(known) < RUNS_FOR_SPREAD:
        return None
    levels = np.array([run.logs.mean() for run in known])
    within = spread**2 * float(np.mean([1 / len(run) for run in known]))
    return Drift(math.sqrt(max(float(levels.var(ddof=1)) - within, 0.0)), len(known))


def _too_few(new: Arm, reference: Arm, metric: str, bound: Bound) -> Finding:
    side = "the new configuration" if len(new) <= len(reference) else "the reference"
    count = min(len(new), len(reference))
    return Finding(
        verdict="not enough evidence",
        reason=f"{side} has {count or 'no'} trusted trial{'' if count < 2 else 's'} with this metric; two are needed",
        metric=metric,
        direction="lower" if bound.lower_is_better else "higher",
        max_loss=bound.max_loss,
        trials=len(new),
        reference_trials=len(reference),
    )


def _without_order(side: Arm) -> Arm:
    """The side without places in an order: two runs share none."""
    return replace(side, positions=np.zeros(len(side)))


MEDIAN = math.pi / 2
"""Variance of a median relative to that of the mean."""


def _widened(found: Comparison, drift: Drift | None, runs: int) -> Interval:
    """The deciding interval, widened by what the comparison does not know of the reference's runs.

    These are the variation between runs, and that a median is less precise than the mean of all trials. The parts are
    added as squares of half widths (Zou & Donner 2008, Stat. Med. 27:1693).
    """
    assert found.decision_low is not None
    assert found.decision_high is not None
    assert found.decision_level is not None
    middle, tail = math.log(found.estimate), (1 - found.decision_level) / 2
    half = math.log(found.decision_high / found.decision_low) / 2
    if runs > 2:
        lost = (MEDIAN - 1) * (found.spread or 0.0) ** 2 / found.trials_b
        half = math.hypot(half, t_quantile(tail, float(max(found.trials_b - runs, runs - 1))) * math.sqrt(lost))
    if drift is not None:
        by_run = drift.deviation * math.sqrt(1 + MEDIAN / drift.runs)
        half = math.hypot(half, t_quantile(tail, float(drift.runs - 1)) * by_run)
    return Interval(
        estimate=found.estimate, low=math.exp(middle - half), high=math.exp(middle + half), level=found.decision_level
    )


def _verdict(ratio: Interval, bound: Bound) -> GateVerdict:
    if bound.keeps(ratio.low, ratio.high):
        return "no loss"
    return "loss" if bound.loses(ratio.low, ratio.high) else "not enough evidence"


REASONS: dict[GateVerdict, str] = {
    "no loss": "the whole interval is on the good side of the bound",
    "loss": "the whole interval is beyond the bound",
    "not enough evidence": "the interval includes the bound",
}


def _more(found: Comparison, ratio: Interval, bound: Bound, design: Design) -> int | None:
    """About how many more trials per measured side are needed if estimate and spread stay as they are.

    None where no number of them would do: the estimate is at the bound, or the reference has too few trials.
    """
    gap = abs(math.log(ratio.estimate / bound.ratio))
    factor = (gap / (math.log(ratio.high / ratio.low) / 2)) ** 2
    new, reference = 1 / found.trials_a, 1 / found.trials_b
    left = (new + reference) * factor / 2 if design == "beside" else (new + reference) * factor - reference
    if left <= 1 / 1000:
        return None
    return max(math.ceil(1 / left) - found.trials_a, 1)
