"""What a load reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a load is. Times are workload seconds; counts are summed over all client processes."""

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
    """Chunks per workload second since the last report."""
