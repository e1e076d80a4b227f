"""When requests arrive: the times of every arrival process except recorded traces."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.workloads import spec
from rooftune.workloads.spec import Workload
from rooftune.workloads.strict import MOST_REQUESTS

Floats = npt.NDArray[np.float64]
SHORTEST_ANSWER_S = 0.05
"""Mean time of an answer for which a closed loop has enough requests until its end."""


def expected_arrivals(workload: Workload) -> float:
    """About how many requests or conversations arrive; 0 where a trace or a closed loop decides."""
    a, total = workload.arrivals, workload.total_s
    if isinstance(a, spec.Ramp):
        return total * max(a.from_rate_per_s, a.to_rate_per_s)
    if isinstance(a, spec.Burst):
        return total * (a.rate_per_s + a.burst_size / a.burst_every_s)
    return 0.0 if isinstance(a, (spec.Closed, spec.Trace)) else total * a.rate_per_s


def arrival_times(workload: Workload, rng: np.random.Generator) -> Floats:
    """Seconds of the arrivals in [0, warm-up + duration), in order.

    Raises:
        InputError: more than can be drawn.
    """
    expected = expected_arrivals(workload)
    if expected > MOST_REQUESTS:
        raise InputError(
            f"{workload.name} asks for about {expected:.2g} requests, and at most {MOST_REQUESTS:,} can be drawn; "
            "lower the rate, duration_s or warmup_s."
        )
    a, total = workload.arrivals, workload.total_s
    if isinstance(a, spec.Closed):
        # More than can be served: the loop sends the next when one ends, and stops with the window.
        pause = a.think_s + (workload.conversations.think_s if workload.conversations else 0.0)
        return np.zeros(int(min(2_000_000, a.concurrency * max(50, total / (SHORTEST_ANSWER_S + pause)))))
    if isinstance(a, spec.Constant):
        return np.arange(0, total, 1 / a.rate_per_s)
    if isinstance(a, spec.Ramp):
        top = max(a.from_rate_per_s, a.to_rate_per_s)
        times = _gaps(rng, top, 1.0, total)
        rate = a.from_rate_per_s + (a.to_rate_per_s - a.from_rate_per_s) * times / total
        kept: Floats = times[rng.random(len(times)) * top < rate]
        return kept
    if isinstance(a, spec.Burst):
        base = _gaps(rng, a.rate_per_s, 1.0, total)
        bursts = np.repeat(np.arange(a.burst_every_s, total, a.burst_every_s), a.burst_size)
        return np.sort(np.concatenate([base, bursts]), kind="stable")
    assert isinstance(a, (spec.Poisson, spec.Gamma))
    return _gaps(rng, a.rate_per_s, a.burstiness if isinstance(a, spec.Gamma) else 1.0, total)


def _gaps(rng: np.random.Generator, rate: float, burstiness: float, total: float) -> Floats:
    count = int(total * rate + 10 * math.sqrt(total * rate / burstiness) + 20)
    times = np.cumsum(rng.gamma(burstiness, 1 / (rate * burstiness), count))
    within: Floats = times[times < total]
    return within
