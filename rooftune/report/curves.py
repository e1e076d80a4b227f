"""The response of the baseline and of the recommended configuration to the rate: content of curves.json."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.curve import predicted_response
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.result import CurvePoint
from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.capacity_figures import capacity_of
from rooftune.workloads.spec import Workload

CURVES = "curves.json"


class ReferenceCurves(BaseModel):
    """SLO attainment and latencies against the rate. Simulated, at the speed that was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    curves: dict[str, list[CurvePoint]] = Field(default_factory=dict, description="by configuration")


def reference_curve(server: ReferenceServer, workload: Workload, trials: Sequence[TrialResult]) -> list[CurvePoint]:
    """The response of one configuration around its capacity; empty where its trials do not give a speed.

    Args:
        server: the reference of the trials.
        trials: of one configuration.

    Raises:
        RooftuneError: the reference cannot be simulated.
    """
    found = capacity_of(trials)
    steps = [s for t in trials if t.believed and t.capacity is not None for s in t.capacity.steps]
    speeds = [s.log_speed for s in steps if s.log_speed is not None]
    if found is None or found.estimate <= 0 or not speeds:
        return []
    return predicted_response(server.engine(), workload, math.exp(sum(speeds) / len(speeds))).curve(found.estimate)
