"""What a load tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a load is. Times are workload seconds; counts are of all client processes together."""

    elapsed_s: float
    total_s: float
    """Warm-up and measured window; the drain that follows is bounded by the workload."""
    sent: int = 0
    completed: int = 0
    failed: int = 0
    """Failed and refused."""
    in_flight: int = 0
    connections: int = 0
    output_tokens_per_s: float = 0.0
    """Chunks that arrived since the last report, per workload second."""
