"""Who follows a capacity measurement while it runs, and what is known before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.capacity.estimate import CapacityEstimate
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.reference import Reference
from rooftune.capacity.search import AROUND, FEWEST, PROBE_RATE, PROBE_SHARE, NextStep
from rooftune.loadgen.progress import Progress


@dataclass(frozen=True)
class MeasurementPlan:
    """What a measurement will probably do. Predicted by the reference as it is."""

    predicted_per_s: float
    rates_per_s: tuple[float, ...]
    """Of the first steps; later ones follow the estimate."""
    load_s: float
    """Workload seconds of these steps."""


class CapacityListener:
    """Called when something happens. This one does nothing."""

    def planned(self, plan: MeasurementPlan) -> None:
        """The measurement begins."""

    def step(self, number: int, order: NextStep) -> None:
        """A step begins."""

    def load(self, progress: Progress) -> None:
        """The load of the step has advanced."""

    def waiting(self, sentence: str) -> None:
        """The measurement waits for something."""

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        """A step has ended, or had been measured before (``kept``); ``found`` is the estimate so far."""


def measurement_plan(reference: Reference) -> MeasurementPlan:
    """The first steps of a measurement whose server is like the reference."""
    rate, shape = reference.capacity(1.0), reference.shape(1.0)
    rates = [PROBE_RATE * rate, *(factor * rate for factor in AROUND[: FEWEST + 1])]
    if rate <= 0:
        return MeasurementPlan(0.0, (), 0.0)
    each = [2 * shape.settle_s + shape.window_s(r) for r in rates]
    each[0] = 2 * shape.settle_s + PROBE_SHARE * shape.window_s(rates[0])
    return MeasurementPlan(rate, tuple(rates), sum(each))
