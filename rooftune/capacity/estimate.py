"""From the steps of one server to its capacity with an interval, and the rate of the next step.

Each step gives the speed of the reference that matches it. Speeds of one server agree but for noise of the server and
for the reference's shape, which may be wrong away from the SLO's edge. So a step counts less the further its SLO ratio
is from 1, and the spread of the speeds is moderated by what is known of servers from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rooftune.capacity.reference import Reference
from rooftune.capacity.steps import Step
from rooftune.evidence.comparison.t_distribution import t_quantile

STEP_SPREAD = 0.022
"""Standard deviation of ln(speed) from step to step that is expected before steps show it."""
STEP_FREEDOM = 4.0
"""Weight of that expectation, in degrees of freedom."""
SHAPE_SPREAD = 0.05
"""Standard deviation of ln(speed) per unit of the logarithm of the SLO ratio: what a wrong shape costs away from the
edge."""
SHAPE_FLOOR = 0.012
"""The same at the edge, which more steps do not reduce."""
BETWEEN = 0.010
"""Standard deviation of ln(capacity) from start to start of one configuration (``evidence.comparison``)."""
LEVEL = 0.05
"""Two-sided error of the interval."""
FURTHEST = 1.5
"""A logarithm of the SLO ratio beyond which a step says little more."""


@dataclass(frozen=True)
class SpeedEstimate:
    """Speed of the server relative to the reference, with its uncertainty in logarithms."""

    log_speed: float
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Half width of the 95 % interval of ln(capacity)."""
        return t_quantile(LEVEL / 2, round(self.freedom, 1)) * self.error


@dataclass(frozen=True)
class CapacityEstimate:
    """Capacity in requests/s (of a closed loop: users), its 95 % interval, and what it came from."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float
    speed: float
    half: float
    """Half width of the interval of the speed, relative."""


def offset(step: Step) -> float:
    """Logarithm of the step's SLO ratio: 0 at the edge of the SLO, at most ``FURTHEST`` in size."""
    ratio = step.response.quantile(step.workload.slo.share)
    if not math.isfinite(ratio):
        return FURTHEST
    return max(-FURTHEST, min(FURTHEST, math.log(max(ratio, 1e-9))))


def estimate_speed(log_speeds: Sequence[float], offsets: Sequence[float], between: float = BETWEEN) -> SpeedEstimate:
    """Weighted mean of the steps' speeds and its error."""
    y, x = np.asarray(log_speeds), np.asarray(offsets)
    weights = 1 / (STEP_SPREAD**2 + (SHAPE_SPREAD * x) ** 2)
    mean = float((weights * y).sum() / weights.sum())
    freedom = len(y) - 1
    # Residuals scaled to a step at the edge, drawn towards the expectation.
    squares = float((weights * STEP_SPREAD**2 * (y - mean) ** 2).sum())
    variance = (squares + STEP_FREEDOM * STEP_SPREAD**2) / (freedom + STEP_FREEDOM)
    of_mean = variance / (STEP_SPREAD**2 * weights.sum())
    total = of_mean + SHAPE_FLOOR**2 + between**2
    return SpeedEstimate(mean, math.sqrt(total), freedom + STEP_FREEDOM + 4.0)


def estimate(reference: Reference, steps: Sequence[Step], between: float = BETWEEN) -> CapacityEstimate:
    """The capacity that the steps of one server show.

    Raises:
        ValueError: no step.
    """
    if not steps:
        raise ValueError("no step to estimate from")
    speeds: list[float] = []
    for step in steps:
        speeds.append(math.log(reference.speed_of(step, math.exp(speeds[-1]) if speeds else 1.0)))
    return from_speeds(reference, speeds, [offset(step) for step in steps], between)


def from_speeds(
    reference: Reference, log_speeds: Sequence[float], offsets: Sequence[float], between: float = BETWEEN
) -> CapacityEstimate:
    """The same from the logarithms of the speeds that the steps gave, and their offsets from the edge."""
    found = estimate_speed(log_speeds, offsets, between)
    speed = math.exp(found.log_speed)
    ends = reference.ends(speed, found.half)
    return CapacityEstimate(reference.capacity(speed), ends.low, ends.high, speed, math.expm1(found.half))
