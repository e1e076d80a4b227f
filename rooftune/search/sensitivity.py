"""How much the capacity of a configuration changes with the speed of its server.

An error of the model is an error of step times. Where a limit of the batch just fits the SLO, a server that is 10 %
faster carries more than 10 % more; where the batch is small, less. With these slopes the trials of one configuration
correct the others of its family each by its own amount, and the best batch limit moves with the speed.
"""

from __future__ import annotations

import math

from rooftune.simulator.virtual.capacity import Sample, capacities_by_speed
from rooftune.simulator.virtual.predict import EmulatedEngine

STEP = 1.1
"""Factor on the speed, up and down."""
LEAST, MOST = 0.3, 4.0
"""Slopes beyond these are steps of the sample, not of the server."""


def speed_slope(engine: EmulatedEngine, drawn: Sample, capacity_per_s: float) -> float:
    """d ln(capacity) / d ln(speed) around the predicted capacity; 1 where the configuration has none."""
    if capacity_per_s <= 0:
        return 1.0
    fast, slow = capacities_by_speed(engine, drawn, (STEP, 1 / STEP), capacity_per_s)
    if fast <= 0:
        return 1.0
    if slow <= 0:
        return MOST
    return min(max(math.log(fast / slow) / (2 * math.log(STEP)), LEAST), MOST)
