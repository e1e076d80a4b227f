"""Who follows a capacity measurement while it runs, and what is known before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rooftune.capacity.estimate import CapacityEstimate
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.reference import Reference
from rooftune.capacity.search import AROUND, FEWEST, PROBE_RATE, NextStep, probe_shape
from rooftune.capacity.steps import workload_at
from rooftune.capacity.units import Per, load_of, per_of
from rooftune.loadgen.progress import Progress


@dataclass(frozen=True)
class MeasurementPlan:
    """What a measurement will probably do. Predicted by the reference as it is."""

    per: Per
    predicted: float
    """Requests/s, or users."""
    loads: tuple[float, ...]
    """Of the first steps; later ones follow the estimate."""
    load_s: float
    """Workload seconds of these steps."""
    requests: int = 0
    """That a full step judges."""
    share: float = 0.0
    """Share of the requests that the SLO promises."""
    most_load_s: float = math.inf
    """Workload seconds that the budget allows."""

    @property
    def fits(self) -> bool:
        """Whether the budget allows these steps."""
        return self.load_s <= self.most_load_s


class CapacityListener:
    """Called when something happens. This one does nothing."""

    def planned(self, plan: MeasurementPlan) -> None:
        """The measurement begins."""

    def step(self, number: int, order: NextStep) -> None:
        """A step begins."""

    def load(self, progress: Progress) -> None:
        """The load of the step has advanced."""

    def waiting(self, sentence: str) -> None:
        """The measurement waits for something, or has changed something."""

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        """A step has ended, or had been measured before (``kept``); ``found`` is the estimate so far."""


def measurement_plan(reference: Reference, most_load_s: float = math.inf) -> MeasurementPlan:
    """The first steps of a measurement whose server is like the reference.

    Args:
        most_load_s: workload seconds of load after which no further step begins.
    """
    workload, capacity, shape = reference.workload, reference.capacity(1.0), reference.shape(1.0)
    per, share = per_of(workload), workload.slo.share
    if capacity <= 0:
        return MeasurementPlan(per, 0.0, (), 0.0)
    factors = (PROBE_RATE, *AROUND[: FEWEST + 1])
    loads = [load_of(workload_at(workload, factor * capacity, shape, 0)) for factor in factors]
    each = [2 * shape.settle_s + shape.window_s(load) for load in loads]
    each[0] = 2 * shape.settle_s + probe_shape(shape, loads[0]).window_s(loads[0])
    return MeasurementPlan(per, capacity, tuple(loads), sum(each), shape.requests, share, most_load_s)
