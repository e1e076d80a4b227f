"""What a trial of each option is expected to cost."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import guided_world as made
import pytest
import synthetic_run

from rooftune.capacity.estimate import EXACT_SHAPE, estimate_speed
from rooftune.capacity.reference import GRID, Reference
from rooftune.capacity.reference_server import reference_server
from rooftune.search.from_space import TrialCost
from rooftune.simulator.fastpath.run import LaidOut
from rooftune.simulator.runs import SimulatedRun
from rooftune.tuning import forecast
from rooftune.tuning.guided.build import _load_factors
from rooftune.tuning.guided.predicted_space import PredictedSpace
from rooftune.tuning.plan import Plan
from tasks.planning import expected_cost, planned_cost, room_of
from tasks.trial_time import START_S

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


class FakeReference:
    """A reference that takes a quarter of a second of the test's clock for each new place of its grid."""

    elapsed_s = 0.0

    def __init__(self, engine: object, workload: object, requests: int) -> None:
        assert requests == forecast.SAMPLE
        FakeReference.elapsed_s += 40.0  # the first run loads the compiled code

    def capacity(self, speed: float) -> float:
        FakeReference.elapsed_s += 2 * 0.25
        return 1.0

    def ends(self, speed: float, half: float) -> None:
        assert half == 1.5 * GRID
        FakeReference.elapsed_s += 3 * 0.25  # the places are 1.5 away on both sides, and 0 and 1 are known


def test_the_figures_of_a_trial_take_as_long_as_the_reference_on_its_long_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = PLAN.candidates[0].config
    found = forecast.SimulatedForecast(PLAN.target, LOAD, config.model, clock=lambda: FakeReference.elapsed_s)
    monkeypatch.setattr(forecast, "Reference", FakeReference)
    assert found.figures_s(config) == pytest.approx(forecast.PLACES * 0.25 * forecast.LONG_RUN / forecast.SAMPLE)
    unknown = forecast.SimulatedForecast(PLAN.target.model_copy(update={"gpu": None}), LOAD, config.model)
    assert unknown.figures_s(config) == 0.0


def test_the_figures_simulate_as_many_requests_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests that the figures of a trial simulate, on a sample five times as long as the probed one."""
    counted = Counter[str]()
    run = LaidOut.run

    def counting(laid_out: LaidOut, **how: Any) -> SimulatedRun:
        counted["requests"] += laid_out.requests
        return run(laid_out, **how)

    monkeypatch.setattr(LaidOut, "run", counting)
    monkeypatch.setattr(forecast, "SAMPLE", 4_000)
    config, work = PLAN.candidates[0].config, lambda: float(counted["requests"])
    said = forecast.SimulatedForecast(PLAN.target, LOAD, config.model, clock=work).figures_s(config)
    said *= 20_000 / forecast.LONG_RUN
    server = reference_server(PLAN.target, config.flags(), PLAN.target.gpu or "")
    reference = Reference(server.engine(), LOAD, requests=20_000)
    counted.clear()
    measured = estimate_speed([0.03], [0.2], shape=EXACT_SHAPE)
    reference.capacity(math.exp(measured.log_speed))
    reference.ends(math.exp(measured.log_speed), measured.half)
    assert 0.6 < said / counted["requests"] < 1.6


def test_the_cost_of_a_trial_is_the_sum_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    config = PLAN.candidates[0].config
    monkeypatch.setattr(forecast.SimulatedForecast, "figures_s", lambda *_: 7.0)
    cost = expected_cost(PLAN, LOAD)
    whole = forecast.SimulatedForecast(PLAN.target, LOAD, config.model)
    rate = whole.capacity(config)
    assert rate
    load = whole.load(config, rate)
    assert load.time_scale
    assert cost.start_s == START_S["simulated"]
    assert cost.load_s == pytest.approx((2 * load.settle_s + load.requests / rate) / load.time_scale)
    assert cost.figures_s == 7.0
    assert cost.seconds == pytest.approx(cost.start_s + cost.load_s + 7.0)
    assert room_of(PLAN, LOAD, 100.0).trial_s == pytest.approx(cost.seconds)
    assert planned_cost(PLAN, LOAD) == TrialCost(cost.start_s, cost.load_s), "a plan does not depend on the machine"
