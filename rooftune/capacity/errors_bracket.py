"""Rates at which the server fails or refuses requests: the reference has no such thing, so they are bracketed.

Where errors alone break the SLO, the latencies of the other requests do not show the capacity. The search then halves
the distance between the highest rate that the server carried and the lowest at which errors broke the SLO.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.capacity.measured_step import StepRecord

CLOSE = 1.1
"""Ratio of the two rates at which the bracket is narrow enough."""
BELOW = 0.97
"""Rates up to this share of the lowest with errors may still be measured as usual."""
MOST_BROKEN = 4
"""Steps with errors and none without, after which no rate is expected to work."""


@dataclass(frozen=True)
class ErrorsBracket:
    """The highest rate within the SLO and the lowest at which errors broke it; None where there is none."""

    carried_per_s: float | None
    broken_per_s: float | None
    broken: int = 0
    """Steps that errors broke."""

    @property
    def narrow(self) -> bool:
        """Whether the two rates are close."""
        both = self.carried_per_s is not None and self.broken_per_s is not None
        return both and self.broken_per_s <= CLOSE * self.carried_per_s  # type: ignore[operator]

    @property
    def hopeless(self) -> bool:
        """Whether every rate that was tried gave errors."""
        return self.carried_per_s is None and self.broken >= MOST_BROKEN

    def allows(self, rate_per_s: float) -> bool:
        """Whether errors leave room for a step at this rate."""
        return self.broken_per_s is None or rate_per_s <= BELOW * self.broken_per_s

    def middle(self) -> float:
        """The next rate to try."""
        assert self.broken_per_s is not None
        if self.carried_per_s is None:
            return self.broken_per_s / 3
        return math.sqrt(self.carried_per_s * self.broken_per_s)


def errors_bracket(records: Sequence[StepRecord]) -> ErrorsBracket:
    """The bracket that the steps so far give."""
    broken = [r.rate_per_s for r in records if r.errors_break]
    lowest = min(broken, default=None)
    carried = [r.rate_per_s for r in records if r.met and (lowest is None or r.rate_per_s < lowest)]
    return ErrorsBracket(max(carried, default=None), lowest, len(broken))
