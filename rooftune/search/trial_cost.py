"""How long the load of a trial takes, by the rate that its configuration is expected to carry.

A load judges enough requests for its quantile to mean something, so a slow server needs more time than a fast one. A
configuration that is slower than the incumbent is loaded near the incumbent's capacity, where it shows that it has
lost; only the baseline is measured at its own capacity, however low that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLOWEST = 0.75
"""Lowest rate of a search's trial, relative to the incumbent's capacity."""


@dataclass(frozen=True)
class LoadTime:
    """What a load consists of."""

    around_s: float
    """Load before the judged window, and the last answers after it."""
    window_s: float
    """The judged window at least."""
    requests: int
    """Requests that it judges at least."""

    def seconds(self, rate_per_s: float) -> float:
        """A load at a rate."""
        return self.around_s + max(self.window_s, self.requests / rate_per_s)

    def factors(self, rates_per_s: Sequence[float]) -> list[float]:
        """The time of each configuration's load relative to that of the best one, as predicted; the baseline is first.

        Args:
            rates_per_s: predicted; 0 = the configuration keeps the SLO at no rate, and its load is one of the slowest.
        """
        best = max(rates_per_s, default=0.0)
        if best <= 0:
            return [1.0] * len(rates_per_s)
        whole = self.seconds(best)
        floors = [rate if i == 0 and rate > 0 else max(rate, SLOWEST * best) for i, rate in enumerate(rates_per_s)]
        return [self.seconds(rate) / whole for rate in floors]
