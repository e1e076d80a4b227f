"""Whether the predicted load asks for more than the server can serve: the rules by which a measured trial is judged.

They equal those of ``evidence/overload.py`` and ``evidence/quantiles.py``, which lie above this room; a test holds the two equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST_SHARE = 0.03
POINTS = 120
TOLERANCE = 0.01
FLAT = 1.1
"""Tokens a second of the second half of the window, as a ratio to the first, up to which they count as standing still."""


@dataclass(frozen=True)
class Arrived:
    """Moments of the requests of a load: scheduled, first token, end; infinity where it did not come. Seconds."""

    scheduled_s: Floats
    begun_s: Floats
    left_s: Floats


def overloaded(
    arrived: Arrived, window: tuple[float, float], tokens_of_halves: tuple[float, float], mean_output: float
) -> bool:
    """Whether the requests without a first token, or in flight at a standing token rate, grow through the window."""
    seconds = window[1] - window[0]
    rate = float(((arrived.scheduled_s >= window[0]) & (arrived.scheduled_s < window[1])).sum()) / seconds
    if rate == 0:
        return False
    at = np.linspace(*window, POINTS)
    if grows(at, inside(arrived.scheduled_s, arrived.begun_s, at), rate):
        return True
    first, second = tokens_of_halves
    slow = (first + second) / seconds < 0.95 * rate * mean_output and second <= FLAT * first
    return bool(slow and grows(at, inside(arrived.scheduled_s, arrived.left_s, at), rate))


def inside(begin: Floats, end: Floats, at: Floats) -> Floats:
    """How many of the spans [begin, end) hold each moment."""
    begins, ends = np.sort(begin[np.isfinite(begin)]), np.sort(end[np.isfinite(end)])
    count = np.searchsorted(begins, at, side="right") - np.searchsorted(ends, at, side="right")
    return np.asarray(count, dtype=np.float64)


def grows(at: Floats, values: Floats, rate: float) -> bool:
    """Whether a count of requests grows by more than chance and by a share of the arrivals that matters."""
    quarter = max(len(at) // 4, 1)
    first, last = values[:quarter], values[-quarter:]
    centred = at - at.mean()
    slope = float((centred * (values - values.mean())).sum() / (centred**2).sum())
    gained = slope * float(at[-1] - at[0])
    enough = gained >= max(5.0, 4.0 * math.sqrt(float(first.mean()) + 1.0))
    return bool(enough and gained >= LEAST_SHARE * rate * (at[-1] - at[0]) and last.min() > first.mean())


def censored_quantile(known: Floats, at_least: Floats, q: float) -> float | None:
    """Quantile of known values and of others of which only a lower bound is known; None when it is not determined."""
    upper = _quantile(np.concatenate([known, np.full(len(at_least), np.inf)]), q)
    if not math.isfinite(upper):
        return None
    lower = _quantile(np.concatenate([known, at_least]), q)
    return upper if lower >= upper * (1 - TOLERANCE) else None


def _quantile(values: Floats, q: float) -> float:
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
