"""Trials that measure a capacity, made up without a server: true capacities by candidate, noise, and a forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import synthetic_run as made

from rooftune.capacity.estimate import estimate_speed
from rooftune.evidence.records.capacity import LoneStep, RateStep, TrialCapacity
from rooftune.evidence.records.trial import TrialResult
from rooftune.trial_order import TrialLoad, TrialOrder
from rooftune.tuning.plan import Plan
from rooftune.tuning.playbook import Playbook
from rooftune.tuning.search import next_trial
from rooftune.vllm_rules.config import EngineConfig

CAPACITIES = {
    "baseline": 1.4,
    "batch-8": 0.6,
    "batch-16": 1.25,
    "batch-32": 1.4,
    "cuda-graphs": 0.0,
    "cuda-graphs-decode": 1.45,
    "awq-marlin": 5.5,
    "awq-marlin-graphs": 5.9,
    "attention-triton": 5.2,
    "fp8-kv": 7.9,
}
SCALE = 20.0
LONE = "one request at a time breaks its TPOT limit, with 1.6 times the limit at the median"


def plan(playbook: Playbook | None = None, **more: Any) -> Plan:
    """The plan of the published case with the capacity as objective."""
    return made.plan_of(made.workload(objective={"metric": "capacity", **more}), playbook=playbook)


@dataclass
class FlagForecast:
    """A forecast that is the truth times a factor: that of the last candidate of the plan whose flags are set."""

    plan: Plan
    capacities: dict[str, float]
    factor: float = 1.0

    def capacity(self, config: EngineConfig) -> float | None:
        flags = config.flags()
        matching = [
            self.capacities[c.id]
            for c in self.plan.candidates
            if c.id in self.capacities and all(flags.get(k) == v for k, v in c.change.items())
        ]
        return self.factor * matching[-1]

    def load(self, config: EngineConfig, rate_per_s: float) -> TrialLoad:
        return TrialLoad(rate_per_s=rate_per_s, settle_s=10, requests=400, drain_s=20, time_scale=SCALE)


class CapacityWorld(made.World):
    """Answers trial orders as servers with these true capacities would."""

    def __init__(
        self,
        plan: Plan,
        capacities: dict[str, float] | None = None,
        noise: float = 0.01,
        seed: int = 0,
        factor: float = 1.0,
    ) -> None:
        super().__init__(plan, noise=noise, seed=seed)
        self.capacities = {**CAPACITIES, **(capacities or {})}
        self.forecast = FlagForecast(plan, self.capacities, factor)
        self.metrics: dict[str, dict[str, float]] = {}
        self.orders: list[TrialOrder] = []

    def run(self, order: TrialOrder) -> TrialResult:
        self.orders.append(order)
        found = super().run(order)
        if found.status == "failed":
            return found
        metrics = {**found.metrics, "p99_ttft_ms": 700.0, **self.metrics.get(order.candidate, {})}
        capacity = self._lone() if self.capacities[order.candidate] <= 0 else self._carried(order)
        metrics["capacity"] = capacity.rate_per_s or 0.0
        return found.model_copy(update={"capacity": capacity, "metrics": metrics, "overloaded": False})

    def _lone(self) -> TrialCapacity:
        lone = LoneStep(requests=20, attainment=0.0, limit="tpot_ms", ratio=1.7, median_ratio=1.6, sentence=LONE)
        return TrialCapacity(rate_per_s=0.0, limited_by="tpot_ms", lone=lone)

    def _carried(self, order: TrialOrder) -> TrialCapacity:
        true = self.capacities[order.candidate] * math.exp(self.random.normal(0, self.noise))
        rate = order.load.rate_per_s if order.load is not None else true
        offset = max(-1.5, min(1.5, 3 * math.log(max(rate, 1e-3) / true)))
        speeds = [math.log(true)]
        half = estimate_speed(speeds, [offset]).half
        step = RateStep(
            rate_per_s=rate,
            seed=order.seed,
            requests=400,
            attainment=0.99,
            latencies={"median_ttft_ms": 120.0, "p99_ttft_ms": 700.0, "median_tpot_ms": 60.0, "p99_tpot_ms": 98.0},
            log_speed=speeds[0],
            offset=offset,
        )
        return TrialCapacity(
            rate_per_s=true,
            low_per_s=true * math.exp(-half),
            high_per_s=true * math.exp(half),
            half=math.expm1(half),
            limited_by="tpot_ms",
            steps=[step],
            output_tokens=150.0,
        )

    def search(self, budget: float | None = None, cost: float = 10.0, most: int = 200) -> list[TrialResult]:
        results: list[TrialResult] = []
        left = budget
        while len(results) < most and (order := next_trial(self.plan, results, left, cost, self.forecast)):
            results.append(self.run(order))
            left = None if left is None else left - cost
        return results
