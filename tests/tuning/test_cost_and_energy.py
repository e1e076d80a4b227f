"""Cost and energy per token as objectives and constraints: what wins, what is refused, and how runs compare."""

from __future__ import annotations

import re
from typing import Any

import capacity_world as made
import pytest
import synthetic_run as plain

from rooftune.engines.price import accelerators_of
from rooftune.engines.target import Target
from rooftune.errors import InputError
from rooftune.evidence.comparison.compare import compare
from rooftune.evidence.records.trial import TrialResult
from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.named import accelerator
from rooftune.trial_order import TrialOrder
from rooftune.tuning import goal as goals
from rooftune.tuning.entries import Extension, extend
from rooftune.tuning.goal import check_measurable, goal_of
from rooftune.tuning.plan import Plan
from rooftune.tuning.playbook import default_playbook, with_candidates
from rooftune.tuning.search import decide
from rooftune.workloads.spec import COST, ENERGY, Workload

PRICE = 0.5
DROP = [
    "cuda-graphs-decode",
    "awq-marlin-graphs",
    "attention-triton",
    "fp8-kv",
    "token-budget-512",
    "token-budget-8192",
]
WIDE = "two-gpus"


class PricedWorld(made.CapacityWorld):
    """Servers that cost by the accelerator."""

    def run(self, order: TrialOrder) -> TrialResult:
        found = super().run(order)
        carried, hourly = found.metrics.get("capacity", 0.0), PRICE * accelerators_of(order.config.flags())
        cost = {COST: hourly * 1e6 / 3600 / (carried * 150)} if carried else {}
        return found.model_copy(update={"metrics": {**found.metrics, **cost}})


def cost_plan(metric: str = COST, **more: Any) -> Plan:
    """The published case and a candidate on two accelerators."""
    book = with_candidates(
        extend(default_playbook(), Extension(drop=DROP)), [f"{WIDE}=tensor_parallel_size=2"], "0.15.1"
    )
    return plain.plan_of(plain.workload(objective={"metric": metric, **more}), playbook=book)


def world(plan: Plan, wide: float) -> PricedWorld:
    found = PricedWorld(plan, {**dict.fromkeys(made.CAPACITIES, 1.0), "baseline": 1.4, "awq-marlin": 2.0, WIDE: wide})
    found.rates[WIDE] = 1000.0
    return found


@pytest.mark.parametrize(("metric", "winner"), [("capacity", WIDE), (COST, "awq-marlin")])
def test_two_gpus_that_carry_more_cost_more_per_token(metric: str, winner: str) -> None:
    """They carry 1.7 times as much for twice the price."""
    decision = decide(plan := cost_plan(metric), world(plan, wide=3.4).search())
    assert decision.incumbent == winner
    if metric == COST:
        found = next(v for v in decision.verdicts if v.candidate == WIDE)
        assert found.verdict == "no gain"
        assert found.metric == COST
        assert found.ratios[COST].low > 1
        assert plan.objective.direction == "lower"


def test_two_gpus_that_carry_enough_more_win_by_cost() -> None:
    plan = cost_plan()
    tried = world(plan, wide=5.2)
    decision = decide(plan, tried.search())
    assert decision.incumbent == WIDE
    carried = decision.capacity
    assert carried is not None
    said = re.search(r", at ([\d.]+) USD per million output tokens; ", decision.first_sentence)
    assert said is not None, decision.first_sentence
    assert float(said[1]) == pytest.approx(2 * PRICE * 1e6 / 3600 / (carried.estimate * 150), rel=0.02)


def test_one_trial_settles_only_what_is_lost_for_its_price() -> None:
    """With twice the accelerators, 1.2 times the capacity is far too little: one trial shows it."""
    plan = cost_plan()
    results = world(plan, wide=2.4).search()
    assert sum(r.candidate == WIDE for r in results) == 1
    found = next(v for v in decide(plan, results).verdicts if v.candidate == WIDE)
    assert found.verdict == "no gain"
    assert found.reason.startswith("capacity for its price −4"), "1.2 times as much on twice the accelerators"


def test_cost_is_compared_as_the_capacity_that_it_follows_from() -> None:
    """On servers of one price the answer is the same, with the ratio inverted: so are its error rates."""
    plan = cost_plan()
    results = world(plan, wide=3.4).search()
    of = {name: [r for r in results if r.candidate == name][:2] for name in ("awq-marlin", "baseline")}
    by = {m: compare(of["awq-marlin"], of["baseline"], m) for m in ("capacity", COST)}
    assert by[COST].estimate == pytest.approx(1 / by["capacity"].estimate)
    assert by[COST].low == pytest.approx(1 / by["capacity"].high)
    assert by[COST].answer == by["capacity"].answer == "better"
    assert by[COST].direction == "lower"


JOULES = {"baseline": 2.0, "awq-marlin": 1.6, "batch-16": 1.5, "batch-8": 3.0}


class PoweredWorld(plain.World):
    """Servers whose GPUs take this much energy for a token."""

    def __init__(self, plan: Plan, **joules: float) -> None:
        super().__init__(plan)
        self.joules = {**JOULES, **joules}

    def run(self, order: TrialOrder) -> TrialResult:
        found = super().run(order)
        each = self.joules.get(order.candidate, 2.5) * float(self.random.normal(1, 0.005))
        return found.model_copy(update={"metrics": {**found.metrics, ENERGY: each}})


def energy_plan(objective: dict[str, Any]) -> Plan:
    load = plain.workload(objective=objective)
    planned = plain.plan_of(plain.workload(), playbook=extend(default_playbook(), Extension(drop=DROP)))
    return planned.model_copy(update={"objective": goal_of(load)})


def test_the_least_energy_per_token_wins_in_overload_too() -> None:
    plan = energy_plan({"metric": ENERGY})
    decision = decide(plan, PoweredWorld(plan).search())
    assert decision.incumbent in ("batch-16", "awq-marlin")
    slow = next(v for v in decision.verdicts if v.candidate == "batch-8")
    assert slow.verdict == "no gain"
    assert slow.ratios[ENERGY].low > 1
    assert "energy per output token −" in decision.first_sentence


def test_a_configuration_above_the_bound_on_energy_cannot_win() -> None:
    plan = energy_plan({"metric": "output_throughput", "constraints": [{"metric": ENERGY, "at_most": 2.2}]})
    tried = PoweredWorld(plan, **{"awq-marlin": 2.6})
    found = {v.candidate: v for v in decide(plan, tried.search()).verdicts}
    assert found["awq-marlin"].verdict == "no gain"
    assert "energy per output token is 2.6" in found["awq-marlin"].reason
    assert "J instead of ≤ 2.2 J" in found["awq-marlin"].reason


HERE = Target(engine="vllm", model="llama-3.1-8b", engine_version="0.32.0")
THERE = HERE.model_copy(update={"engine": "endpoint", "url": "http://10.0.0.5:8000"})
BESIDE = THERE.model_copy(update={"url": "http://127.0.0.1:8000"})
SIMULATED = Target(gpu="L4", model="llama-3.1-8b", engine_version="0.32.0")


def hardware(gpu: Accelerator) -> Any:
    return plain.hardware().model_copy(update={"accelerator": gpu})


def wants(**objective: Any) -> Workload:
    return plain.workload(objective=objective)


AT_MOST = {"metric": "capacity", "constraints": [{"metric": ENERGY, "at_most": 1.0}]}


@pytest.mark.parametrize("objective", [{"metric": ENERGY}, AT_MOST])
@pytest.mark.parametrize(
    ("target", "gpu", "read", "why"),
    [
        (SIMULATED, "L4", True, "the simulated engine has no model of it; measure with --engine vllm on an NVIDIA GPU"),
        (THERE, "L4", True, "the server runs on another machine; run rooftune there"),
        (HERE, "cpu", True, "NVML reads none here; measure on an NVIDIA GPU"),
        (HERE, "L4", False, "NVML reads none here"),
        (HERE, "L4", True, None),
        (BESIDE, "L4", True, None),
    ],
)
def test_energy_is_refused_where_no_power_can_be_read(
    objective: dict[str, Any], target: Target, gpu: str, read: bool, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goals, "power_is_read", lambda: read)
    if why is None:
        check_measurable(wants(**objective), target, hardware(accelerator(gpu)))
        return
    with pytest.raises(InputError, match=why) as refused:
        check_measurable(wants(**objective), target, hardware(accelerator(gpu)))
    assert "name another metric" in str(refused.value)


def test_cost_is_refused_where_no_price_is_known() -> None:
    unpriced = SIMULATED.model_copy(update={"gpu": "A30"})
    with pytest.raises(InputError, match=r"none is known for A30; give one with --price \(US dollars"):
        check_measurable(wants(metric=COST), unpriced, hardware(accelerator("A30")))
    check_measurable(wants(metric=COST), unpriced.model_copy(update={"usd_per_gpu_hour": 1.0}), plain.hardware())
    check_measurable(wants(metric=COST), SIMULATED, plain.hardware())


def test_without_a_capacity_the_cost_is_that_of_the_load() -> None:
    closed = plain.workload(arrivals={"process": "closed", "concurrency": 4}, objective={"metric": COST})
    assert goal_of(wants(metric=COST)).by_capacity
    assert not goal_of(closed).by_capacity
    assert goal_of(closed).saturated_metric == COST
    assert goal_of(closed).direction == "lower"
