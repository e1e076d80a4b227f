"""Rates between which the capacity must be, for servers whose behaviour the reference does not have.

Where errors alone break the SLO, the latencies of the other requests do not show the capacity. Where the reference
breaks the SLO without load and the server does not, its speed does not show it either. The search then goes to a rate
between the highest that the server carried and the lowest at which the SLO broke, until the reference agrees again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.result import LoneRequests

CLOSE = 1.1
"""Ratio of the two rates at which the bracket is narrow enough."""
BELOW = 0.97
"""Rates up to this share of the lowest with errors may still be measured as usual."""
MOST_BROKEN = 4
"""Steps with errors and none without, after which no rate is expected to work."""
OF_SERVED = 0.85
"""Rate to try, relative to what an overloaded server served."""


@dataclass(frozen=True)
class Bracket:
    """The highest rate within the SLO and the lowest at which it broke; None where there is none."""

    carried_per_s: float | None
    broken_per_s: float | None
    broken: int = 0
    """Steps that broke it."""
    served_per_s: float | None = None
    """What the server served in the overload of the lowest broken step."""

    @property
    def narrow(self) -> bool:
        """Whether the two rates are close."""
        if self.carried_per_s is None or self.broken_per_s is None:
            return False
        return self.broken_per_s <= CLOSE * self.carried_per_s

    @property
    def hopeless(self) -> bool:
        """Whether every rate that was tried broke the SLO."""
        return self.carried_per_s is None and self.broken >= MOST_BROKEN

    def allows(self, rate_per_s: float) -> bool:
        """Whether the bracket leaves room for a step at this rate."""
        return self.broken_per_s is None or rate_per_s <= BELOW * self.broken_per_s

    def middle(self) -> float:
        """The next rate to try."""
        if self.broken_per_s is None:
            return 1.5 * (self.carried_per_s or 1.0)
        served = OF_SERVED * (self.served_per_s or 0.0)
        if (self.carried_per_s or 0.0) * CLOSE < served < self.broken_per_s / CLOSE:
            return served
        if self.carried_per_s is None:
            return self.broken_per_s / 3
        return math.sqrt(self.carried_per_s * self.broken_per_s)


def errors_bracket(records: Sequence[StepRecord]) -> Bracket:
    """The rates between which errors begin to break the SLO."""
    broken = [r.rate_per_s for r in records if r.errors_break]
    lowest = min(broken, default=None)
    carried = [r.rate_per_s for r in records if r.met and (lowest is None or r.rate_per_s < lowest)]
    return Bracket(max(carried, default=None), lowest, len(broken))


def slo_bracket(records: Sequence[StepRecord], lone: LoneRequests) -> Bracket:
    """The rates between which the SLO breaks for any reason; the server carries requests one at a time."""
    broken = [r for r in records if not r.met]
    lowest = min(broken, key=lambda r: r.rate_per_s, default=None)
    top = math.inf if lowest is None else lowest.rate_per_s
    carried = max([lone.rate_per_s, *(r.rate_per_s for r in records if r.met and r.rate_per_s < top)])
    if lowest is None:
        return Bracket(carried, None)
    return Bracket(min(carried, lowest.rate_per_s), lowest.rate_per_s, len(broken), lowest.served_per_s)
