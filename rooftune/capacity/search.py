"""Which load comes next (a rate, or a number of users), and when the measurement ends.

A pure function of the steps so far, so a killed measurement goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rooftune.capacity.estimate import CapacityEstimate, offset
from rooftune.capacity.reference import Reference
from rooftune.capacity.steps import Step, StepShape, lengthened, workload_at
from rooftune.capacity.units import amount, bare, load_of, per_of
from rooftune.workloads.spec import Workload

PROBE_SHARE = 0.25
"""Requests of the first step relative to the others: it only finds out roughly how fast the server is."""
PROBE_LEAST_S = 60.0
"""Seconds that it lasts at least: a cold card is then warm for the steps that count."""
PROBE_RATE = 0.7
"""Load of the first step relative to the capacity that the reference predicts."""
AROUND = (1.0, 0.95, 1.03, 1.0, 0.97, 1.02)
"""Loads of the steps after it, relative to the estimate: on both sides of the edge, so that a drift cancels."""
EDGE, REACH = 0.1, 0.06
"""If the median SLO ratio of the full steps is off 1 by more than this part, the next step is off the estimate to the
other side, by this part for each such step: a reference of another shape may see the edge where it is not."""
FEWEST = 2
"""Full steps at least."""
ENOUGH, NEARLY = 3, 0.8
"""Full steps after which the measurement ends if this share of the interval's width does not depend on more of them."""


def probe_shape(shape: StepShape, load: float) -> StepShape:
    """How long the first step is at its load."""
    least = shape.rate_per_s(load) * (PROBE_LEAST_S - shape.settle_s)
    return lengthened(shape, round(max(50, PROBE_SHARE * shape.requests, least)))


@dataclass(frozen=True)
class Precision:
    """When a measurement is good enough."""

    half: float = 0.05
    """Relative half width of the 95 % interval."""
    most_steps: int = 10
    most_load_s: float = float("inf")
    """Workload seconds of load after which no further step begins."""
    beaten_by_per_s: float = 0.0
    """A capacity reached elsewhere: the measurement ends once this server is shown to carry less."""


@dataclass(frozen=True)
class NextStep:
    """The workload of the next step."""

    workload: Workload
    reason: str

    @property
    def load(self) -> float:
        """Its rate in requests/s, or its users."""
        return load_of(self.workload)


@dataclass(frozen=True)
class Ended:
    """Why no further step is needed."""

    reason: str
    precise: bool


def next_step(
    reference: Reference, steps: Sequence[Step], precision: Precision, *, seed: int, found: CapacityEstimate | None
) -> NextStep | Ended:
    """The next step of a measurement, or its end.

    Args:
        seed: of the measurement; each step draws its own requests.
        found: the estimate from ``steps``; None without steps.
    """
    if found is None:
        speed = 1.0
        rate = reference.capacity(speed)
        shape = reference.shape(speed)
        if rate <= 0:
            rate = LONE_RATE / (shape.settle_s + shape.drain_s)
        load, reason = PROBE_RATE * rate, "finds out roughly how fast the server is"
        return _order(reference, load, probe_shape(shape, load), seed, 0, reason)
    ended = _ended(steps, precision, found)
    if ended is not None:
        return ended
    if found.rate_per_s <= 0:
        return Ended("even a lone request breaks the SLO", True)
    rate = found.rate_per_s * _around(steps)
    shape = reference.shape(found.speed)
    per = per_of(reference.workload)
    reason = f"the interval is {bare(found.low_per_s, per)} to {amount(found.high_per_s, per)} so far"
    return _order(reference, rate, shape, seed, len(steps), reason)


def _around(steps: Sequence[Step]) -> float:
    """Load of the next step relative to the estimate."""
    full = [offset(step) for step in steps[1:]]
    middle = median(full) if full else 0.0
    if abs(middle) > EDGE:
        side = math.copysign(1.0, middle)
        return math.exp(-side * REACH * sum(side * x > EDGE for x in full))
    return AROUND[len(full) % len(AROUND)]


LONE_RATE = 1.0
"""Requests in flight, about, when even a lone request seems to break the SLO."""


def _ended(steps: Sequence[Step], precision: Precision, found: CapacityEstimate) -> Ended | None:
    full = len(steps) - 1
    if full >= FEWEST and found.half <= precision.half:
        return Ended(f"the interval is within ±{100 * found.half:.1f} %", True)
    if full >= ENOUGH and found.least_half > NEARLY * found.half:
        return Ended(
            f"more steps on this server would hardly narrow ±{100 * found.half:.1f} %: one start of a server differs "
            "from another, and the shape of the reference is not exact",
            False,
        )
    if full >= 1 and found.high_per_s < precision.beaten_by_per_s:
        return Ended("it is shown to carry less than another configuration", True)
    if len(steps) >= precision.most_steps:
        return Ended(f"{len(steps)} steps were made", False)
    if sum(s.load_s for s in steps) >= precision.most_load_s:
        return Ended("the time for this measurement is used up", False)
    return None


def _order(reference: Reference, load: float, shape: StepShape, seed: int, number: int, reason: str) -> NextStep:
    return NextStep(workload_at(reference.workload, load, shape, seed * 1_000 + number), reason)
