"""Guided searches made up without a server: a plan with invented predictions, true capacities that differ from them."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import capacity_world as made
import numpy as np
import synthetic_run

from rooftune.knobs.configuration import Configuration
from rooftune.search.from_space import TrialCost
from rooftune.trial_order import TrialLoad
from rooftune.tuning.entries import Extension, Playbook, extend
from rooftune.tuning.guided import build
from rooftune.tuning.guided.predicted_space import PredictedSpace
from rooftune.tuning.guided.search_plan import SearchMethod
from rooftune.tuning.plan import Plan
from rooftune.tuning.playbook import default_playbook
from rooftune.vllm_rules.config import EngineConfig

BASELINE = 1.4
FACTORS = {"weights": {"awq_marlin": 4.0}, "kv_cache_dtype": {"fp8": 1.25}, "graphs": {"graphs": 1.04}}
BEST_LIMIT = 96
VARIED = {*FACTORS, "max_num_seqs", "small", "mine", "late"}
"""Knobs of the part of the space that is predicted: about a hundred configurations."""


def invented(configuration: Configuration) -> float:
    """A capacity that has its optimum at Marlin, FP8 KV, graphs and 96 sequences."""
    values = configuration.values
    log = math.log(BASELINE) + 0.04 * math.log2(256 / BEST_LIMIT) ** 2
    for knob, factors in FACTORS.items():
        log += math.log(factors.get(str(values.get(knob)), 1.0))
    return math.exp(log - 0.04 * math.log2(int(values["max_num_seqs"]) / BEST_LIMIT) ** 2)


def plan(
    method: SearchMethod | None = "guided", playbook: Playbook | None = None, *, predicts: bool = True, **objective: Any
) -> Plan:
    """The plan of the published case with a search over its whole space."""
    load = synthetic_run.workload(objective={"metric": "capacity", **objective})
    if not predicts and method is not None:
        narrow = {"max_num_seqs": [32, 64, 96, 128], "max_num_batched_tokens": [2048]}
        playbook = extend(playbook or default_playbook(), Extension(knobs=narrow))
    found = synthetic_run.plan_of(load, playbook=playbook)

    def predicted(context: object, configurations: Any, *_: object) -> PredictedSpace | None:
        if not predicts:
            return None
        base = configurations[0].values
        kept = tuple(c for c in configurations if all(v == base.get(k) for k, v in c.values.items() if k not in VARIED))
        return PredictedSpace(kept, tuple(map(invented, kept)), {})

    with mock.patch.object(build, "predicted_space", predicted):
        return build.with_search(
            found, load, synthetic_run.hardware(), playbook or default_playbook(), method, TrialCost(3, 9)
        )


class OptionForecast:
    """A forecast that is the prediction of the option with these flags."""

    def __init__(self, plan: Plan) -> None:
        assert plan.search is not None
        base = plan.candidates[0].config
        self.known = {_key(base.with_change(o.change)): o.predicted for o in plan.search.options}

    def capacity(self, config: EngineConfig) -> float | None:
        return self.known.get(_key(config))

    def load(self, config: EngineConfig, rate_per_s: float) -> TrialLoad:
        return TrialLoad(rate_per_s=rate_per_s, settle_s=10, requests=400, drain_s=20, time_scale=made.SCALE)


def _key(config: EngineConfig) -> str:
    return repr(sorted(config.flags().items()))


class GuidedWorld(made.CapacityWorld):
    """Servers whose capacities differ from the predictions: by a level, by family, and alone."""

    def __init__(
        self,
        plan: Plan,
        *,
        level: float = 0.0,
        family: float = 0.0,
        alone: float = 0.0,
        noise: float = 0.01,
        seed: int = 0,
    ) -> None:
        assert plan.search is not None
        random = np.random.default_rng(seed)
        names = sorted({name for option in plan.search.options for name in option.families})
        shift = {name: family * random.standard_normal() for name in names}
        true = {}
        for o in plan.search.options:
            error = level + sum(shift[name] for name in o.families) + alone * random.standard_normal()
            true[o.id] = (o.predicted or BASELINE) * math.exp(error)
        super().__init__(plan, true, noise, seed)
        self.rates = {**self.rates, **{name: 100.0 * value for name, value in true.items()}}
        self.forecast = OptionForecast(plan)  # type: ignore[assignment]

    @property
    def best(self) -> str:
        """The option with the highest true capacity."""
        assert self.plan.search is not None
        return max((o.id for o in self.plan.search.options), key=lambda name: self.capacities[name])
