"""Whether requests in flight stay at a ceiling: the trace that a limit leaves, wherever it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rooftune.evidence.records.columns import Floats, Requests
from rooftune.metrics.queues import inside
from rooftune.metrics.window import Window

POINTS = 2000
AT_MOST_SHARE = 0.15
"""Share of the time that a count spends at exactly its largest value when something holds it there."""
NEAR_SHARE = 0.5
"""Share of the time that it then spends within 10 % of it."""
OFTEN_SHARE, ALWAYS_NEAR = 0.05, 0.95
"""The same for a count that is hit again and again but left for moments, as a slot stands empty until its next first
token."""
WAITING_SHARE = 0.8
"""Share of the time at the ceiling during which others must be waiting, else nothing was held back."""


@dataclass(frozen=True)
class InFlightCeiling:
    """A count of requests over the window, and whether something holds it down."""

    level: int
    at_level: float
    """Share of the window at exactly this level."""
    near: float
    """Share of the window within 10 % below it."""
    waiting: float
    """Mean number of requests that wait meanwhile."""
    held: bool

    def figures(self) -> dict[str, float]:
        """For the check."""
        return {
            "level": self.level,
            "share_of_time_at_level": round(self.at_level, 3),
            "share_of_time_near_level": round(self.near, 3),
            "waiting_meanwhile": round(self.waiting, 1),
        }


def ceiling(begin: Floats, end: Floats, window: Window, due: Floats | None = None) -> InFlightCeiling:
    """Look for a ceiling of the spans [begin, end) in the window.

    Args:
        begin: start of each span; NaN = never.
        end: its end; infinity = not before the client stopped waiting.
        window: where to look.
        due: moment from which each request wanted to begin; None = not known, then a constant number is enough.
    """
    at = np.linspace(window.start_s, window.end_s, POINTS, endpoint=False)
    count = inside(begin, end, at)
    level = int(count.max(initial=0))
    if level == 0:
        return InFlightCeiling(0, 0.0, 0.0, 0.0, False)
    top = count == level
    exactly, near = float(top.mean()), float((count >= 0.9 * level).mean())
    needed = AT_MOST_SHARE if level > 8 else 0.5
    if due is None:
        return InFlightCeiling(level, exactly, near, 0.0, exactly >= 0.5)
    waiting = inside(due, np.fmin(np.nan_to_num(begin, nan=np.inf), end), at)
    constant = exactly >= needed and near >= NEAR_SHARE
    constant |= level > 8 and exactly >= OFTEN_SHARE and near >= ALWAYS_NEAR
    held = constant and float((waiting[top] >= 1).mean()) >= WAITING_SHARE
    return InFlightCeiling(level, exactly, near, float(waiting[top].mean()), bool(held))


def streams(r: Requests, window: Window) -> InFlightCeiling:
    """Requests that are being answered, from first to last token, while others wait for their first."""
    return ceiling(r.first_token_s, r.left_s, window, r.scheduled_s)


def in_flight(r: Requests, window: Window) -> InFlightCeiling:
    """Requests from send to end, while others are due but not sent; where due is all that is known, standing still."""
    known = np.isfinite(r.sent_s).any() and bool((np.nan_to_num(r.sent_s) > r.scheduled_s + 1e-6).any())
    held_back = bool((~np.isfinite(r.sent_s)).any())
    return ceiling(r.sent_s, r.left_s, window, r.scheduled_s if known or held_back else None)
