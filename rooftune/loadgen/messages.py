"""What a client process reports to its parent, as lines of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProcessStatus:
    """Counts of one client process so far. Written every second."""

    t: float
    """Seconds since the load began."""
    cpu_s: float
    sent: int = 0
    completed: int = 0
    failed: int = 0
    refused: int = 0
    cut: int = 0
    never_begun: int = 0
    left_out: int = 0
    """Later turns of conversations that were not due before the end of the load."""
    in_flight: int = 0
    connections: int = 0
    chunks: int = 0


@dataclass(frozen=True)
class ProcessReport:
    """What one client process reports about itself at the end. Times are real seconds."""

    status: ProcessStatus
    connections_peak: int
    descriptors_limit: int | None
    descriptors_peak: int
    cpu_share: float
    loop_lag_p99_s: float | None
    gc_pause_s: float
    usage_tokens: int
    """Tokens by the server's usage, summed over completed responses."""
    usage_chunks: int
    """Chunks of the same responses."""
    retry_after: int
    """Refusals that carried a Retry-After header."""
    ended_s: float

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> ProcessReport:
        """Read what ``dataclasses.asdict`` wrote."""
        return cls(**{**line, "status": ProcessStatus(**line["status"])})
