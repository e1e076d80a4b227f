"""The reference's response at the speed that was measured: the SLO's share and latencies against the load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rooftune.capacity.reference import LONG_RUN
from rooftune.capacity.result import CurvePoint
from rooftune.capacity.units import per_of
from rooftune.metrics.quantiles import quantile
from rooftune.metrics.summary import ANSWER_TTFT, limited_spans
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, Floats, SimulatedRun
from rooftune.simulator.virtual.capacity import MANY_RUNS, SETTLING, Sample, at_speed, sample, slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.simulator.virtual.saturation import saturated_rate
from rooftune.simulator.virtual.users import UsersSample, run_users, users_sample
from rooftune.workloads.spec import Workload

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
PLACES = (0.5, 0.7, 0.8, 0.88, 0.94, 0.97, 1.0, 1.03, 1.06, 1.12, 1.2, 1.35)
"""Loads of the curve, relative to the capacity."""


class PredictedResponse(Protocol):
    """What a simulated server shows at any load."""

    def at(self, load: float) -> CurvePoint:
        """What the requests of the sample would see at that load."""
        ...

    def curve(self, capacity: float) -> list[CurvePoint]:
        """The response around the capacity."""
        ...


def predicted_response(engine: EmulatedEngine, workload: Workload, speed: float) -> PredictedResponse:
    """The response of a server ``speed`` times as fast as the engine: to a rate, or to a number of users."""
    if per_of(workload) == "users":
        return UsersPrediction(engine, users_sample(workload, LONG_RUN), speed)
    return RatePrediction(engine, workload, speed)


@dataclass(frozen=True)
class RatePrediction:
    """A simulated server, ``speed`` times as fast as its engine, under one workload."""

    engine: EmulatedEngine
    workload: Workload
    speed: float

    @cached_property
    def _drawn(self) -> Sample:
        return sample(self.workload, LONG_RUN)

    @cached_property
    def saturated_per_s(self) -> float:
        """Arrivals per second beyond which the queue grows without end."""
        plan, engine = self._drawn.plan, self.engine
        rate = saturated_rate(plan, engine.step_time, engine.limits, engine.acceptance, runs=MANY_RUNS) or 0.0
        return rate * self.speed * float((plan.turn == 0).mean())

    def at(self, rate_per_s: float) -> CurvePoint:
        """What the requests of the sample would see at that rate."""
        engine = self.engine
        plan = at_speed(self._drawn.at(rate_per_s), self.speed)
        refused = too_long(plan, engine.limits.max_model_len)
        run = run_fast(
            select(plan, ~refused),
            engine.step_time,
            engine.limits,
            ClientSettings(),
            acceptance=engine.acceptance,
            runs=MANY_RUNS,
        )
        judged = np.arange(len(run.due_s)) >= int(SETTLING * len(run.due_s))
        kept = 1 - float(refused.mean())
        ratios = slo_ratios(run, self.workload.slo, self.speed)
        point = _point(run, ratios, judged, kept, self.speed)
        grew = rate_per_s > self.saturated_per_s
        return point.model_copy(update={"rate_per_s": rate_per_s, "queue_grew": grew})

    def curve(self, capacity: float) -> list[CurvePoint]:
        """The response around the capacity."""
        return [self.at(place * capacity) for place in PLACES]


@dataclass(frozen=True)
class UsersPrediction:
    """The same for users of a closed loop."""

    engine: EmulatedEngine
    drawn: UsersSample
    speed: float

    def at(self, load: float) -> CurvePoint:
        """What this many users would see; a fraction is rounded up."""
        users = max(1, math.ceil(load - 1e-9))
        seen = run_users(self.engine, self.drawn, users, self.speed)
        point = _point(seen.run, seen.ratios, seen.judged, 1 - seen.refused, self.speed)
        return point.model_copy(update={"rate_per_s": seen.rate_per_s, "users": users})

    def curve(self, capacity: float) -> list[CurvePoint]:
        """The response around the capacity."""
        return [self.at(users) for users in sorted({max(1, round(place * capacity)) for place in PLACES})]


def _point(
    run: SimulatedRun, ratios: dict[str, Floats], judged: npt.NDArray[np.bool_], kept: float, speed: float
) -> CurvePoint:
    """Attainment and latencies of the judged requests of a run.

    Args:
        kept: share of the requests that the server does not refuse.
    """
    worst = np.max(np.stack([r[judged] for r in ratios.values()]), axis=0)
    times = limited_spans(run.times(run.due_s))
    times["tpot_ms"] = np.where(run.generated > 1, times["tpot_ms"], np.nan)
    if ANSWER_TTFT not in ratios:
        del times[ANSWER_TTFT]
    latencies = {
        f"{word}_{name}": 1000 * quantile(known[judged][np.isfinite(known[judged])] / speed, q)
        for name, known in times.items()
        for word, q in QUANTILES.items()
    }
    return CurvePoint(
        rate_per_s=0.0,
        attainment=kept * float((worst <= 1).mean()),
        requests=len(worst),
        latencies={k: v for k, v in latencies.items() if np.isfinite(v)},
    )
