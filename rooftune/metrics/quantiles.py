"""Quantiles that stay honest when some values are not known: bounds, and order-statistic intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TOLERANCE = 0.01
"""Largest relative distance of the two bounds at which a quantile is still called determined."""


def quantile(values: Floats, q: float) -> float:
    """Linear-interpolated quantile as ``numpy.percentile`` has it, where infinite values are allowed."""
    if len(values) == 0:
        return math.nan
    ordered = np.sort(values)
    place = (len(ordered) - 1) * q
    low, share = int(place), place - int(place)
    if share == 0 or low + 1 >= len(ordered):
        return float(ordered[low])
    if not math.isfinite(ordered[low + 1]):
        return math.inf
    return float(ordered[low] + share * (ordered[low + 1] - ordered[low]))


def censored_quantile(known: Floats, at_least: Floats, q: float) -> float | None:
    """Quantile of ``known`` values and others of which only a lower bound is known; None when it is not determined.

    The unknown values are put at their lower bounds and then at infinity. The true quantile is between the two;
    where these differ by less than 1 %, the larger is quoted. This needs no assumption on why values are unknown, as
    the Kaplan-Meier estimate would (Kaplan, Meier 1958, J. Am. Stat. Assoc. 53, 457).
    """
    upper = quantile(np.concatenate([known, np.full(len(at_least), np.inf)]), q)
    if not math.isfinite(upper):
        return None
    lower = quantile(np.concatenate([known, at_least]), q)
    return upper if lower >= upper * (1 - TOLERANCE) else None


def order_interval(values: Sequence[float] | Floats, q: float, level: float = 0.95) -> tuple[float, float] | None:
    """Distribution-free interval of a quantile of independent values by order statistics.

    Ranks from the binomial law of how many values lie below the quantile (David, Nagaraja, Order Statistics, 2003,
    section 7.1). None when there are too few values for one: a p99 needs 368 at 95 %.
    """
    n = len(values)
    alpha = (1 - level) / 2
    cumulative, low, high = 0.0, -1, -1
    for k in range(n + 1):
        log_p = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        cumulative += math.exp(log_p + k * math.log(q) + (n - k) * math.log(1 - q))
        if cumulative <= alpha:
            low = k
        if cumulative >= 1 - alpha:
            high = k + 1
            break
    if low < 0 or high < 0 or high > n:
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(ordered[low]), float(ordered[high - 1])
