"""One step of a capacity measurement: a rate, the requests sent at it, and how they met the SLO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.workloads import spec
from rooftune.workloads.spec import Workload

Floats = npt.NDArray[np.float64]
LEVELS = (0.9, 0.5, 0.2, 0.05)
"""Quantiles of the SLO ratio kept beside that of ``slo.share``: an overloaded step determines only low ones."""
LEAST_REQUESTS = 300
"""Requests that a step judges at least."""
TAIL = 4.0
"""Expected number of requests beyond the share that is promised, at least, for its quantile to mean something."""


@dataclass(frozen=True)
class StepShape:
    """How long a step loads the server, in workload seconds; the same for all steps of a measurement but the rate."""

    settle_s: float
    """Load before the judged window: the queue and the batch fill up."""
    requests: int
    """Requests in the judged window."""
    drain_s: float
    cycle_s: float | None = None
    """Closed loop: time from one request of a user to the next, near the capacity; None = an open loop."""

    def rate_per_s(self, load: float) -> float:
        """Requests/s at a load: a rate, or a number of users."""
        return load if self.cycle_s is None else load / self.cycle_s

    def window_s(self, load: float) -> float:
        """Length of the judged window at a load."""
        return self.requests / self.rate_per_s(load)

    def seconds(self, load: float) -> float:
        """Load and drain of a step at most."""
        return self.settle_s + self.window_s(load) + self.drain_s


def judged_requests(share: float) -> int:
    """Requests that a step judges: enough beyond the ``share`` quantile."""
    return max(LEAST_REQUESTS, round(TAIL / max(1 - share, 1e-3)))


def workload_at(workload: Workload, load: float, shape: StepShape, seed: int) -> Workload:
    """The workload of one step: the arrival process at another rate, or with another number of users, and with its own
    requests.

    Args:
        load: requests/s, or users of a closed loop, which are rounded.

    Raises:
        InputError: the workload's arrivals have no rate to vary.
    """
    arrivals = workload.arrivals
    if isinstance(arrivals, spec.Ramp) or (isinstance(arrivals, spec.Trace) and arrivals.rate_per_s is None):
        raise InputError(
            f"{arrivals.process} arrivals have no rate to vary; use poisson, constant, gamma, burst or closed, or give "
            "the trace a rate_per_s."
        )
    changed: dict[str, float] = {}
    if isinstance(arrivals, spec.Closed):
        load = max(1, round(load))
        changed["concurrency"] = load
    else:
        changed["rate_per_s"] = load
    if isinstance(arrivals, spec.Burst):
        changed["burst_every_s"] = arrivals.burst_every_s * arrivals.rate_per_s / load
    return workload.model_copy(
        update={
            "arrivals": arrivals.model_copy(update=changed),
            "warmup_s": shape.settle_s,
            "duration_s": shape.window_s(load),
            "drain_s": shape.drain_s,
            "seed": seed,
        }
    )


@dataclass(frozen=True)
class StepResponse:
    """What one step showed, or what the reference predicts for the same requests."""

    rate_per_s: float
    requests: int
    attainment: float
    """Share of the judged requests that met every limit."""
    quantiles: Mapping[float, float]
    """SLO ratio by level; infinity where more requests did not end than the level leaves."""

    def quantile(self, level: float) -> float:
        """The SLO ratio at that level."""
        return self.quantiles[level]


@dataclass(frozen=True)
class Step:
    """A step that was measured."""

    workload: Workload
    """As sent; drawing it again gives the same requests."""
    response: StepResponse
    load_s: float
    """Workload seconds for which the server was kept busy."""
    queue_grew: bool = False


def response_of(ratios: Mapping[str, Floats], judged: npt.NDArray[np.bool_], rate: float, share: float) -> StepResponse:
    """Attainment and quantiles of the judged requests.

    Args:
        ratios: by limit, each request's time over the limit; infinite where it did not end.
    """
    worst = np.max(np.stack(list(ratios.values())), axis=0)[judged]
    if not len(worst):
        raise InputError("no request was scheduled in the step's window; raise its number of requests.")
    levels = {level: float(np.quantile(worst, level, method="inverted_cdf")) for level in (share, *LEVELS)}
    return StepResponse(rate, len(worst), float((worst <= 1).mean()), levels)


def lengthened(shape: StepShape, requests: int) -> StepShape:
    """The shape with another number of judged requests."""
    return replace(shape, requests=requests)
