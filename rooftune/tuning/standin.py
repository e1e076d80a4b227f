"""A small comparison until the one of ``rooftune.evidence`` is used: paired log ratios with a t interval."""

from __future__ import annotations

import math
from statistics import mean, stdev

from rooftune.evidence.trial import TrialResult
from rooftune.tuning.plan import Interval

_T = {1: 12.7, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31}


def compare(
    a: list[TrialResult], b: list[TrialResult], metric: str, *, lower_is_better: bool, smallest: float = 0.02
) -> tuple[Interval, str, str]:
    """Interval of a / b, one of better, worse, no measurable difference, more trials needed; and a sentence."""
    x, y = [math.log(t.metrics[metric]) for t in a], [math.log(t.metrics[metric]) for t in b]
    difference = mean(x) - mean(y)
    freedom = max(len(x) + len(y) - 2, 1)
    pooled = math.sqrt((_square(x) + _square(y)) / freedom)
    half = _T.get(freedom, 2.2) * pooled * math.sqrt(1 / len(x) + 1 / len(y))
    half = max(half, 0.003)
    interval = Interval(
        estimate=math.exp(difference), low=math.exp(difference - half), high=math.exp(difference + half)
    )
    sign = -1.0 if lower_is_better else 1.0
    low, high = sorted((sign * (difference - half), sign * (difference + half)))
    if low > 0 and sign * difference > smallest:
        return interval, "better", "the interval lies wholly on one side"
    if high < 0 and sign * difference < -smallest:
        return interval, "worse", "the interval lies wholly on one side"
    if max(abs(low), abs(high)) < 2.5 * smallest:
        return interval, "no measurable difference", "the interval is narrow and holds 1"
    return interval, "more trials needed", "the interval is too wide"


def _square(values: list[float]) -> float:
    return stdev(values) ** 2 * (len(values) - 1) if len(values) > 1 else 0.0
