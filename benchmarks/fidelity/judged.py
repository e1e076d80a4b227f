"""A public measurement beside its prediction."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.fidelity.measurements import Point, relative_error


@dataclass(frozen=True)
class JudgedPoint:
    """A public measurement and the prediction."""

    point: Point
    value: float

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return relative_error(self.point, self.value)
