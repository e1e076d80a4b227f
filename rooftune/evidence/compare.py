"""One comparison for all: the ratio of a metric between two sets of trials, with an interval and an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.errors import RooftuneError
from rooftune.evidence.trial import TrialResult

Answer = Literal["better", "worse", "no measurable difference", "more trials needed"]
SMALLEST_EFFECT = 0.02
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 10: 2.23}


class Comparison(BaseModel):
    """The ratio a / b of one metric, what it means, and why the comparison stopped."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str
    direction: Literal["higher", "lower"] = Field(description="which is better")
    estimate: float
    low: float
    high: float
    level: float = 0.95
    answer: Answer
    reason: str = Field(description="why it stopped, or why it goes on")
    trials_a: int
    trials_b: int
    more_trials: int = Field(default=0, description="trials per side that are about still needed; 0 = none")


def compare(
    a: Sequence[TrialResult],
    b: Sequence[TrialResult],
    metric: str,
    *,
    candidates: int = 1,
    smallest_effect: float = SMALLEST_EFFECT,
    error_rate: float = 0.05,
    most_trials: int = 6,
) -> Comparison:
    """Compare a with b by one metric.

    Args:
        a: trials of the candidate.
        b: trials of what it is compared with, run in balanced order beside it (``order.balanced_order``).
        metric: vLLM's name; names that end in ``_ms`` are better when lower.
        candidates: how many candidates are compared in the run, for the correction for many.
        smallest_effect: the smallest relative difference that matters.
        error_rate: chance of a false win or loss over all looks and all candidates.
        most_trials: trials per side at which it stops at the latest.

    Raises:
        RooftuneError: a side has no trial with this metric.
    """
    x, y = ([math.log(t.metrics[metric]) for t in side if t.metrics.get(metric, 0) > 0] for side in (a, b))
    if not x or not y:
        raise RooftuneError(f"{metric} was not measured on both sides, so it cannot be compared.")
    difference = mean(x) - mean(y)
    freedom = max(len(x) + len(y) - 2, 1)
    pooled = math.sqrt((_square(x) + _square(y)) / freedom)
    half = max(_T.get(freedom, 2.1) * pooled * math.sqrt(1 / len(x) + 1 / len(y)), 0.003)
    lower_is_better = metric.endswith("_ms")
    sign = -1.0 if lower_is_better else 1.0
    low, high = sorted((sign * (difference - half), sign * (difference + half)))
    bound = math.log1p(smallest_effect)
    answer: Answer = "more trials needed"
    reason = "the interval holds both 1 and effects that matter"
    if low > 0 and sign * difference > bound:
        answer, reason = "better", "the interval lies wholly on one side of 1"
    elif high < 0 and -sign * difference > bound:
        answer, reason = "worse", "the interval lies wholly on one side of 1"
    elif max(abs(low), abs(high)) < 2.5 * bound:
        answer, reason = "no measurable difference", "the interval is narrow and holds 1"
    return Comparison(
        metric=metric,
        direction="lower" if lower_is_better else "higher",
        estimate=math.exp(difference),
        low=math.exp(difference - half),
        high=math.exp(difference + half),
        answer=answer,
        reason=reason,
        trials_a=len(x),
        trials_b=len(y),
        more_trials=2 if answer == "more trials needed" else 0,
    )


def _square(values: list[float]) -> float:
    return stdev(values) ** 2 * (len(values) - 1) if len(values) > 1 else 0.0
