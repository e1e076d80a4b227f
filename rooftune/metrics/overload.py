"""Whether a load asks for more than the server can serve: one rule for measured and for predicted runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.metrics.queues import FLAT, POINTS, grows, inside, slope
from rooftune.metrics.window import Window

Floats = npt.NDArray[np.float64]
SERVED_SHARE = 0.95
"""Share of the asked tokens/s below which a growing number of requests in flight is called overload."""


@dataclass(frozen=True)
class Presence:
    """Moments of the requests of a load: scheduled, first token, end; infinity where it did not come. Seconds."""

    scheduled_s: Floats
    begun_s: Floats
    left_s: Floats


@dataclass(frozen=True)
class Growth:
    """How the requests of an open loop grow in number through the window."""

    rising: bool
    """Requests without a first token grow."""
    saturated: bool
    """Requests in flight grow while the tokens per second do not."""
    queue_per_s: float
    """Growth of the requests without a first token."""
    in_flight_per_s: float

    @property
    def overloaded(self) -> bool:
        """Whether the load asks for more than the server can serve."""
        return self.rising or self.saturated


def growth(presence: Presence, window: Window, halves: tuple[float, float], mean_output: float) -> Growth:
    """Judge the growth of the requests through the window.

    Args:
        halves: output tokens in the first and in the second half of the window.
        mean_output: planned output tokens of a request.
    """
    at = np.linspace(window.start_s, window.end_s, POINTS)
    waiting = inside(presence.scheduled_s, presence.begun_s, at)
    present = inside(presence.scheduled_s, presence.left_s, at)
    queue, in_flight = slope(at, waiting), slope(at, present)
    rate = float(window.holds(presence.scheduled_s).sum()) / window.seconds
    if rate == 0:
        return Growth(False, False, queue, in_flight)
    first, second = halves
    slow = (first + second) / window.seconds < SERVED_SHARE * rate * mean_output and second <= FLAT * first
    return Growth(grows(at, waiting, rate), bool(slow) and grows(at, present, rate), queue, in_flight)
