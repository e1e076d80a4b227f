"""From the steps of one server to its capacity with an interval.

Each step gives the speed of the reference that matches it. The speeds of one server differ by its noise, by the shape
of the reference, which may be wrong away from the SLO's edge, and by the accelerator's warming up. So a drift that
decays and a slope over the distance from the edge are fitted beside the level, outliers get less weight, and the spread
is moderated by what is known of servers from elsewhere. The reference turns the interval of the speed into one of the
capacity: where a small gain in speed allows a much larger batch, the capacity changes by more than the speed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rooftune.capacity.reference import Reference
from rooftune.capacity.steps import Step
from rooftune.evidence.comparison.t_distribution import t_quantile

STEP_SPREAD = 0.020
"""Standard deviation of ln(speed) from step to step that is expected before steps show it."""
STEP_FREEDOM = 4.0
"""Weight of that expectation, in degrees of freedom."""
SHAPE_SPREAD = 0.03
"""What a wrong shape adds to it, per unit of the logarithm of the SLO ratio."""
BETWEEN = 0.010
"""Standard deviation of ln(speed) from start to start of one configuration (``evidence.comparison``)."""
ELSEWHERE_FREEDOM = 4.0
"""Degrees of freedom of the parts that are known from elsewhere."""
DRIFT, DRIFT_SPREAD, WARM_S = 0.04, 0.05, 60.0
"""Mean and standard deviation of the part of ln(speed) that a cold card still has and a warm one lost, and the seconds
of load in which most of it is gone. A T4 lost 10 % in its first two minutes (the log of the T4 experiment), other cards
lose less."""
LEVEL = 0.05
"""Two-sided error of the interval."""
TAILS = 4.0
"""Degrees of freedom of the scatter of steps: a step that a neighbour or a stall disturbed gets less weight."""
ROUNDS = 8
"""Rounds in which those weights settle."""
FURTHEST = 1.5
"""A logarithm of the SLO ratio beyond which a step says little more."""


@dataclass(frozen=True)
class Shape:
    """How well the reference's shape is known, as standard deviations of ln(speed)."""

    slope: float
    """Per unit of the logarithm of the SLO ratio."""
    floor: float
    """At the edge of the SLO, where more steps do not reduce it."""


SIMULATED_SHAPE = Shape(slope=0.12, floor=0.014)
"""Of a prediction: a reference whose bandwidth and arithmetic are wrong by a tenth each has another shape."""
EXACT_SHAPE = Shape(slope=0.02, floor=0.003)
"""Of a server that is the reference itself."""


@dataclass(frozen=True)
class SpeedEstimate:
    """Speed of the warm server relative to the reference, with its uncertainty in logarithms."""

    log_speed: float
    error: float
    freedom: float
    least_error: float = 0.0
    """The part of the error that more steps do not reduce."""

    @property
    def half(self) -> float:
        """Half width of the 95 % interval of ln(speed)."""
        return t_quantile(LEVEL / 2, round(self.freedom, 1)) * self.error


@dataclass(frozen=True)
class CapacityEstimate:
    """Capacity in requests/s (of a closed loop: users), its 95 % interval, and what it came from."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float
    speed: float
    half: float
    """Half width of the interval, relative."""
    least_half: float = 0.0
    """The same if endless steps were made on this server: what is left are other starts and the reference's shape."""


def offset(step: Step) -> float:
    """Logarithm of the step's SLO ratio: 0 at the edge of the SLO, at most ``FURTHEST`` in size."""
    ratio = step.response.quantile(step.workload.slo.share)
    if not math.isfinite(ratio):
        return FURTHEST
    return max(-FURTHEST, min(FURTHEST, math.log(max(ratio, 1e-9))))


def loaded_before(steps: Sequence[Step]) -> list[float]:
    """Seconds for which the server had been loaded by the middle of each step's window."""
    found, before = [], 0.0
    for step in steps:
        found.append(before + step.workload.warmup_s + step.workload.duration_s / 2)
        before += step.load_s
    return found


def estimate_speed(
    log_speeds: Sequence[float],
    offsets: Sequence[float],
    between: float = BETWEEN,
    loaded_s: Sequence[float] = (),
    shape: Shape = SIMULATED_SHAPE,
) -> SpeedEstimate:
    """Level of the steps' speeds at the edge of the SLO on a warm server, and its error.

    Args:
        offsets: of the same steps, see :func:`offset`.
        between: standard deviation from start to start.
        loaded_s: see :func:`loaded_before`; without it the server is taken as warm.
        shape: how well the reference's shape is known.
    """
    return _estimated_speed(tuple(log_speeds), tuple(offsets), between, tuple(loaded_s), shape)


@lru_cache(maxsize=4096)
def _estimated_speed(
    log_speeds: tuple[float, ...],
    offsets: tuple[float, ...],
    between: float,
    loaded_s: tuple[float, ...],
    shape: Shape,
) -> SpeedEstimate:
    """The estimate of :func:`estimate_speed`, which each decision of a search asks for again."""
    y, x = np.asarray(log_speeds), np.asarray(offsets)
    cold = np.exp(-np.asarray(loaded_s) / WARM_S) if len(loaded_s) else np.zeros(len(y))
    design = np.stack([np.ones(len(y)), cold, x], axis=1)
    known = np.array([0.0, DRIFT_SPREAD**-2, shape.slope**-2])
    expected = known * np.array([0.0, DRIFT, 0.0])
    variance = STEP_SPREAD**2 + (SHAPE_SPREAD * x) ** 2
    trust = np.ones(len(y))
    for _ in range(ROUNDS):  # weights by residuals, residuals by weights
        weighted = design * (trust / variance)[:, None]
        covariance = np.linalg.inv(weighted.T @ design + np.diag(known))
        rest = y - design @ (fitted := covariance @ (weighted.T @ y + expected))
        trust = (TAILS + 1) / (TAILS + rest**2 / variance)
    freedom = len(y) - 1 + STEP_FREEDOM
    scale = (float((trust * rest**2 / variance).sum()) + STEP_FREEDOM) / freedom
    least = shape.floor**2 + between**2
    error = math.sqrt(scale * float(covariance[0, 0]) + least)
    return SpeedEstimate(float(fitted[0]), error, freedom + ELSEWHERE_FREEDOM, math.sqrt(least))


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
    return capacity_at(reference, matched_speed(reference, steps, speeds, between))


def matched_speed(
    reference: Reference, steps: Sequence[Step], log_speeds: Sequence[float], between: float = BETWEEN
) -> SpeedEstimate:
    """The same from the speeds that the steps gave, with what is known of the reference."""
    offsets = [offset(step) for step in steps]
    if reference.exact:
        return estimate_speed(log_speeds, offsets, between, shape=EXACT_SHAPE)
    return estimate_speed(log_speeds, offsets, between, loaded_before(steps))


def capacity_at(reference: Reference, found: SpeedEstimate) -> CapacityEstimate:
    """The capacity of the reference at a speed, with the interval that the speed's becomes."""
    speed = math.exp(found.log_speed)
    rate, ends = reference.capacity(speed), reference.ends(speed, found.half)
    half = (ends.high - ends.low) / (2 * rate) if rate > 0 else math.expm1(found.half)
    return CapacityEstimate(rate, ends.low, ends.high, speed, half, half * found.least_error / found.error)
