"""The number of client processes that a load needs."""

from __future__ import annotations

import math

import numpy as np

from rooftune.workloads.request_plan import RequestPlan

CHUNKS_PER_S = 50_000.0
"""Chunks per second that one process handles without falling behind, with a margin of three (docs/benchmarks.md)."""
REQUESTS_PER_S = 1_000.0
STREAM_TOKENS_PER_S = 100.0
"""Assumed speed of one stream in a closed loop, whose rate is unknown beforehand (fast decode on one GPU)."""


def processes_needed(plan: RequestPlan, total_s: float, scale: float) -> int:
    """Processes for the busiest ten seconds of a plan at one token per chunk, regardless of the number of cores."""
    mean = float(plan.output_tokens.mean()) if len(plan) else 0.0
    if plan.concurrency is not None:
        chunks = plan.concurrency * STREAM_TOKENS_PER_S * scale
        return max(1, math.ceil(chunks / CHUNKS_PER_S))
    if not len(plan):
        return 1
    counts, _ = np.histogram(plan.arrival_s, bins=np.arange(0.0, total_s + 10.0, 10.0))
    rate = float(counts.max()) / min(10.0, total_s) * scale
    return max(1, math.ceil(rate * mean / CHUNKS_PER_S), math.ceil(rate / REQUESTS_PER_S))


def processes_for(plan: RequestPlan, total_s: float, scale: float, *, local: bool = False) -> int:
    """As many as the rate needs, at most the cores that are idle now. With ``local``, one core is reserved for the
    server."""
    needed = processes_needed(plan, total_s, scale)
    return max(1, min(needed, free_cores() - local)) if needed > 1 else 1


def free_cores() -> int:
    """Cores of this machine that are idle now, at least one."""
    import psutil

    from rooftune.hardware.host import cores

    busy = psutil.cpu_percent(0.1) / 100 * (psutil.cpu_count() or 1)
    return max(1, int(cores() - busy + 0.5))
