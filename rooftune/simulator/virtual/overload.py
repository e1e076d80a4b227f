"""Whether the predicted load asks for more than the server can serve: the rules by which a measured trial is judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.queues import FLAT, POINTS, grows, inside

Floats = npt.NDArray[np.float64]


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
