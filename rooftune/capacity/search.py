"""Which load comes next (a rate, or a number of users), and when the measurement ends.

A pure function of the steps so far, so a killed measurement goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.capacity.estimate import CapacityEstimate, estimate
from rooftune.capacity.reference import Reference
from rooftune.capacity.steps import Step, StepShape, lengthened, workload_at
from rooftune.capacity.units import amount, bare, load_of, per_of
from rooftune.workloads.spec import Workload

PROBE_SHARE = 0.25
"""Requests of the first step relative to the others: it only finds out roughly how fast the server is."""
PROBE_RATE = 0.7
"""Load of the first step relative to the capacity that the reference predicts."""
AROUND = (1.0, 0.95, 1.03, 1.0, 0.97, 1.02)
"""Loads of the steps after it, relative to the estimate: on both sides of the edge, so that a drift cancels."""
FEWEST = 2
"""Full steps at least."""


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
        shape = lengthened(shape, max(50, round(PROBE_SHARE * shape.requests)))
        return _order(reference, PROBE_RATE * rate, shape, seed, 0, "finds out roughly how fast the server is")
    ended = _ended(steps, precision, found)
    if ended is not None:
        return ended
    if found.rate_per_s <= 0:
        return Ended("even a lone request breaks the SLO", True)
    rate = found.rate_per_s * AROUND[(len(steps) - 1) % len(AROUND)]
    shape = reference.shape(found.speed)
    per = per_of(reference.workload)
    reason = f"the interval is {bare(found.low_per_s, per)} to {amount(found.high_per_s, per)} so far"
    return _order(reference, rate, shape, seed, len(steps), reason)


LONE_RATE = 1.0
"""Requests in flight, about, when even a lone request seems to break the SLO."""


def _ended(steps: Sequence[Step], precision: Precision, found: CapacityEstimate) -> Ended | None:
    full = len(steps) - 1
    if full >= FEWEST and found.half <= precision.half:
        closed = steps[0].workload.arrivals.process == "closed"
        what = "the speed of the server is known" if closed else "the interval is"
        return Ended(f"{what} within ±{100 * found.half:.1f} %", True)
    if full >= 1 and found.high_per_s < precision.beaten_by_per_s:
        return Ended("it is shown to carry less than another configuration", True)
    if len(steps) >= precision.most_steps:
        return Ended(f"{len(steps)} steps were made", False)
    if sum(s.load_s for s in steps) >= precision.most_load_s:
        return Ended("the time for this measurement is used up", False)
    return None


def _order(reference: Reference, load: float, shape: StepShape, seed: int, number: int, reason: str) -> NextStep:
    return NextStep(workload_at(reference.workload, load, shape, seed * 1_000 + number), reason)


def current(reference: Reference, steps: Sequence[Step]) -> CapacityEstimate | None:
    """The estimate so far; None without steps."""
    return estimate(reference, steps) if steps else None
