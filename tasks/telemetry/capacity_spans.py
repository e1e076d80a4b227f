"""A span for each step of a capacity measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rooftune.capacity.listener import CapacityListener
from tasks.telemetry.span import Span
from tasks.telemetry.spans import begin

if TYPE_CHECKING:
    from rooftune.capacity.estimate import CapacityEstimate
    from rooftune.capacity.listener import MeasurementPlan
    from rooftune.capacity.measured_step import StepRecord
    from rooftune.capacity.result import CapacityResult
    from rooftune.capacity.search import NextStep
    from rooftune.loadgen.progress import Progress


class CapacitySpans(CapacityListener):
    """Records the steps, and passes everything on."""

    def __init__(self, shown: CapacityListener) -> None:
        self._shown = shown
        self._step: Span | None = None

    def planned(self, plan: MeasurementPlan) -> None:
        self._shown.planned(plan)

    def step(self, number: int, order: NextStep) -> None:
        self._step = begin("step", {"step": number, "load": order.load, "why": order.reason})
        self._shown.step(number, order)

    def load(self, progress: Progress) -> None:
        self._shown.load(progress)

    def waiting(self, sentence: str) -> None:
        self._shown.waiting(sentence)

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        if self._step is not None:
            estimate = found.rate_per_s if found is not None else None
            latencies = {f"metric.{name}": value for name, value in record.latencies.items()}
            audit = {"errors": record.errors, "queue_grew": record.queue_grew}
            measured = {"attainment": record.attainment, "requests": record.requests, "capacity": estimate}
            self._step.set({**measured, **audit, **latencies})
        self.close()
        self._shown.measured(record, found, kept)

    def close(self) -> None:
        """End the span of a step that did not come to its end."""
        if self._step is not None:
            self._step.end()
        self._step = None


def record_capacity(span: Span, result: CapacityResult) -> None:
    """The end of a measurement."""
    span.set(
        {
            "per": result.per,
            "capacity": result.rate_per_s,
            "capacity_low": result.low_per_s,
            "capacity_high": result.high_per_s,
            "users": result.users,
            "precise": result.precise,
            "audit.trusted": result.believed,
            "audit.failed": [c.id for c in result.checks if c.status == "fail"] or None,
        }
    )
