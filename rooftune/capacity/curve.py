"""The reference's response at the speed that was measured: the SLO's share and latencies against rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rooftune.capacity.reference import LONG_RUN
from rooftune.capacity.result import CurvePoint
from rooftune.metrics.quantiles import quantile
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.capacity import MANY_RUNS, SETTLING, Sample, at_speed, sample, slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.simulator.virtual.saturation import saturated_rate
from rooftune.workloads.spec import Workload

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
PLACES = (0.5, 0.7, 0.8, 0.88, 0.94, 0.97, 1.0, 1.03, 1.06, 1.12, 1.2, 1.35)
"""Rates of the curve, relative to the capacity."""


@dataclass(frozen=True)
class PredictedResponse:
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
        ratios = slo_ratios(run, self.workload.slo, self.speed)
        judged = slice(int(SETTLING * len(run.due_s)), None)
        worst = np.max(np.stack([r[judged] for r in ratios.values()]), axis=0)
        kept = 1 - float(refused.mean())
        tokens = np.maximum(run.generated - 1, 1)
        times = {
            "ttft_ms": run.first_s - run.due_s,
            "tpot_ms": np.where(run.generated > 1, (run.last_s - run.first_s) / tokens, np.nan),
            "e2el_ms": run.last_s - run.due_s,
        }
        latencies = {
            f"{word}_{name}": 1000 * quantile(known[judged][np.isfinite(known[judged])] / self.speed, q)
            for name, known in times.items()
            for word, q in QUANTILES.items()
        }
        return CurvePoint(
            rate_per_s=rate_per_s,
            attainment=kept * float((worst <= 1).mean()),
            requests=len(worst),
            latencies={k: v for k, v in latencies.items() if np.isfinite(v)},
            queue_grew=rate_per_s > self.saturated_per_s,
        )

    def curve(self, capacity_per_s: float) -> list[CurvePoint]:
        """The response around the capacity."""
        return [self.at(place * capacity_per_s) for place in PLACES]
