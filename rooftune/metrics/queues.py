"""How many requests are present at a moment, and whether their number grows.

Measurement and prediction use the same rules.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST_SHARE = 0.03
"""A queue that grows by less than this share of the asked rate is not called overload."""
POINTS = 120
"""Number of moments in a window at which requests are counted."""
FLAT = 1.1
"""Ratio of the token rates of the second and first half of the window up to which the rate is called flat."""


def inside(begin: Floats, end: Floats, at: Floats) -> Floats:
    """How many of the spans [begin, end) contain each moment; NaN means never begun, infinity never ended."""
    begins, ends = np.sort(begin[np.isfinite(begin)]), np.sort(end[np.isfinite(end)])
    count = np.searchsorted(begins, at, side="right") - np.searchsorted(ends, at, side="right")
    return np.asarray(count, dtype=np.float64)


def slope(at: Floats, values: Floats) -> float:
    """Least-squares slope, per second."""
    centred = at - at.mean()
    return float((centred * (values - values.mean())).sum() / (centred**2).sum())


def grows(at: Floats, values: Floats, rate: float) -> bool:
    """Whether a count of requests grows through the window: by more than chance, and by a relevant share of arrivals.

    Args:
        at: moments, seconds.
        values: requests at each of them.
        rate: arrivals per second.
    """
    quarter = max(len(at) // 4, 1)
    first, last = values[:quarter], values[-quarter:]
    gained = slope(at, values) * float(at[-1] - at[0])
    enough = gained >= max(5.0, 4.0 * float(np.sqrt(first.mean() + 1.0)))
    return bool(enough and gained >= LEAST_SHARE * rate * (at[-1] - at[0]) and last.min() > first.mean())
