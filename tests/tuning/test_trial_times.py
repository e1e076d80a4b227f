"""What a trial of each option is expected to cost."""

from __future__ import annotations

import guided_world as made
import pytest
import synthetic_run

from rooftune.tuning.guided.build import _load_factors
from rooftune.tuning.guided.predicted_space import PredictedSpace
from rooftune.tuning.plan import Plan

PLAN = made.plan()
LOAD = synthetic_run.workload(objective={"metric": "capacity"})


def on_vllm(plan: Plan) -> Plan:
    return plan.model_copy(update={"target": plan.target.model_copy(update={"engine": "vllm"})})


def test_on_a_real_engine_a_slow_baseline_takes_longer_than_the_best() -> None:
    foreseen = PredictedSpace((), (0.5, 3.0, 0.5, 2.5), {})
    factors = _load_factors(on_vllm(PLAN), LOAD, foreseen)
    assert factors is not None
    assert factors[0] > 2.5
    assert factors[1] == 1.0
    assert 1.0 < factors[2] < 1.4, "loaded near the incumbent's capacity, where it shows that it has lost"


def test_on_a_simulated_engine_all_loads_take_the_same_real_time() -> None:
    assert _load_factors(PLAN, LOAD, PredictedSpace((), (1.0, 8.0), {})) is None


def test_the_search_sees_what_each_trial_costs() -> None:
    search = PLAN.search
    assert search is not None
    slow = [o.model_copy(update={"load_factor": 3.0 if i == 0 else 1.0}) for i, o in enumerate(search.options)]
    problem = search.model_copy(update={"options": slow}).problem("capacity", 1, trial_s=30.0)
    baseline, other = problem.options[0], problem.options[1]
    assert baseline.start_s == other.start_s
    assert baseline.load_s == pytest.approx(3 * other.load_s)
