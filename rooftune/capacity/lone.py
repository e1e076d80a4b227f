"""Requests one at a time: whether a server meets the SLO without any load."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rooftune.capacity.closed_loop import closed_loop
from rooftune.capacity.measured_step import slo_ratios_of
from rooftune.capacity.result import LoneRequests
from rooftune.capacity.steps import Floats
from rooftune.evidence.records.parquet_files import read_requests
from rooftune.runfolder import TrialFolder
from rooftune.workloads.spec import Workload

REQUESTS = 20
"""Requests to send, about."""
LONGEST_S = 600.0
NUMBER = 900
"""Number of the step in which they are sent."""


@dataclass(frozen=True)
class LoneTimes:
    """Medians of requests sent one at a time, seconds; None where they are not known."""

    ttft_s: float | None
    tpot_s: float | None


def lone_workload(workload: Workload, answer_s: float, seed: int) -> Workload:
    """The workload's requests one after the other, each when the one before has ended.

    Args:
        answer_s: expected length of an answer.
    """
    return closed_loop(workload, users=1, think_s=0.0).model_copy(
        update={
            "conversations": None,
            "warmup_s": 0.0,
            "duration_s": min(max(REQUESTS * answer_s, 10.0), LONGEST_S),
            "drain_s": max(30.0, 3 * answer_s),
            "seed": seed,
        }
    )


def lone_requests(folder: TrialFolder, workload: Workload) -> LoneRequests:
    """What the records of such a load show.

    Raises:
        RooftuneError: requests.parquet is missing, empty or cut.
    """
    r = read_requests(folder.requests)
    ratios = slo_ratios_of(r, workload.slo)
    at_share = {n: float(np.quantile(v, workload.slo.share, method="inverted_cdf")) for n, v in ratios.items()}
    limit = max(at_share, key=lambda name: at_share[name])
    worst = np.max(np.stack(list(ratios.values())), axis=0)
    middle = float(np.quantile(ratios[limit], 0.5, method="inverted_cdf"))
    return LoneRequests(
        requests=len(r),
        rate_per_s=len(r) / max(r.observed_until_s, 1e-9),
        attainment=float((worst <= 1).mean()),
        share=workload.slo.share,
        limit=limit,
        ratio=at_share[limit] if math.isfinite(at_share[limit]) else None,
        median_ratio=middle if math.isfinite(middle) else None,
    )


def lone_times(folder: TrialFolder) -> LoneTimes:
    """How long a prompt and a token took.

    Raises:
        RooftuneError: requests.parquet is missing, empty or cut.
    """
    r = read_requests(folder.requests)
    done = r.status == "completed"
    tokens = np.where(np.isfinite(r.output_tokens), r.output_tokens, r.streamed_tokens)
    each = (r.last_s - r.first_token_s) / np.maximum(tokens - 1, 1)
    return LoneTimes(_median((r.first_token_s - r.scheduled_s)[done]), _median(each[done & (tokens > 1)]))


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if len(known) else None
