"""What the asked rate sees on one server fewer and one more, once a run has ended. Simulated at the measured speed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rooftune.capacity.curve import predicted_response
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.replicas import replicas_for
from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.plan import Decision
from rooftune.workloads.spec import Workload


def with_rows(
    decision: Decision, workload: Workload, server: ReferenceServer, trials: Sequence[TrialResult]
) -> Decision:
    """The decision with a row for each number of servers near the one that the asked rate needs.

    Args:
        server: the reference of the incumbent's trials.
        trials: of the incumbent.

    Raises:
        RooftuneError: the reference cannot be simulated.
    """
    found, figures = decision.replicas, decision.capacity
    speeds = [s.log_speed for t in trials if t.capacity for s in t.capacity.steps if s.log_speed is not None]
    if found is None or figures is None or not speeds:
        return decision
    response = predicted_response(server.engine(), workload, math.exp(sum(speeds) / len(speeds)))
    rows = replicas_for(
        found.asked_rate_per_s,
        "rate",
        figures.estimate,
        figures.low,
        response,
        decision.usd_per_hour,
        figures.output_tokens,
    )
    return decision.model_copy(update={"replicas": rows})
