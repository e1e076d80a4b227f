"""Loads (rates, or users) between which the capacity must be, where the reference does not behave like the server.

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

    carried: float | None
    broken_at: float | None
    broken: int = 0
    """Steps that broke it."""
    served_per_s: float | None = None
    """What the server served in the overload of the lowest broken step."""
    whole: bool = False
    """The loads are whole numbers of users."""

    @property
    def narrow(self) -> bool:
        """Whether the two rates are close."""
        if self.carried is None or self.broken_at is None:
            return False
        return self.broken_at <= CLOSE * self.carried or (self.whole and self.broken_at - self.carried <= 1)

    @property
    def hopeless(self) -> bool:
        """Whether every rate that was tried broke the SLO."""
        lowest = self.whole and self.broken_at is not None and self.broken_at <= 1
        return self.carried is None and (lowest or self.broken >= MOST_BROKEN)

    def allows(self, load: float) -> bool:
        """Whether the bracket leaves room for a step at this load."""
        return self.broken_at is None or load <= BELOW * self.broken_at

    def middle(self) -> float:
        """The next rate to try."""
        if self.broken_at is None:
            return 1.5 * (self.carried or 1.0)
        served = OF_SERVED * (self.served_per_s or 0.0)
        if (self.carried or 0.0) * CLOSE < served < self.broken_at / CLOSE:
            return served
        if self.carried is None:
            return self.broken_at / 3
        return math.sqrt(self.carried * self.broken_at)


def errors_bracket(records: Sequence[StepRecord]) -> Bracket:
    """The loads between which errors begin to break the SLO."""
    broken = [r.load for r in records if r.errors_break]
    lowest = min(broken, default=None)
    carried = [r.load for r in records if r.met and (lowest is None or r.load < lowest)]
    return Bracket(max(carried, default=None), lowest, len(broken), whole=_whole(records))


def slo_bracket(records: Sequence[StepRecord], lone: LoneRequests) -> Bracket:
    """The loads between which the SLO breaks for any reason; the server carries requests one at a time."""
    broken, whole = [r for r in records if not r.met], _whole(records)
    lowest = min(broken, key=lambda r: r.load, default=None)
    top = math.inf if lowest is None else lowest.load
    alone = 1.0 if whole else lone.rate_per_s
    carried = max([alone, *(r.load for r in records if r.met and r.load < top)])
    if lowest is None:
        return Bracket(carried, None, whole=whole)
    return Bracket(min(carried, lowest.load), lowest.load, len(broken), lowest.served_per_s, whole)


def _whole(records: Sequence[StepRecord]) -> bool:
    return any(r.users is not None for r in records)
