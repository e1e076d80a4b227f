"""The guided search over the whole space: what it orders, what it decides, and that it goes on from files alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

import guided_world as made
import numpy as np
import pytest
import synthetic_run

from rooftune.engines.server import Limits, Switched
from rooftune.engines.switching import KNOBS
from rooftune.evidence.records.trial import TrialResult
from rooftune.search import gain
from rooftune.search.confirm import FRESH
from rooftune.search.options import Outcome, Problem
from rooftune.search.posterior import Posterior
from rooftune.tuning.guided.progress import Progress, ending, first_trials
from rooftune.tuning.guided.search_plan import SWITCH_S
from rooftune.tuning.guided.standing import standing_of
from rooftune.tuning.plan import Plan
from rooftune.tuning.search import decide, next_trial, run_state

PLAN = made.plan()
SEED = PLAN.objective.seed


def confirming(results: list[TrialResult]) -> list[TrialResult]:
    return [r for r in results if r.seed >= SEED + FRESH]


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_what_no_ladder_would_and_confirms_it(seed: int) -> None:
    world = made.GuidedWorld(PLAN, level=0.1, family=0.03, alone=0.005, seed=seed)
    results = world.search(budget=340, cost=14)
    decision = decide(PLAN, results)
    assert world.capacities[decision.incumbent] >= 0.96 * world.capacities[world.best]
    assert results[0].candidate == "baseline"
    found = next(v for v in decision.verdicts if v.candidate == decision.incumbent)
    assert found.verdict == "applied"
    assert found.against == "baseline"
    true = world.capacities[decision.incumbent] / world.capacities["baseline"]
    assert found.ratios["capacity"].low < true < found.ratios["capacity"].high


def test_claims_and_figures_come_from_fresh_trials_alone() -> None:
    results = made.GuidedWorld(PLAN, family=0.03, seed=1).search(budget=340, cost=14)
    decision = decide(PLAN, results)
    fresh = {(r.candidate, r.n) for r in confirming(results)}
    found = next(v for v in decision.verdicts if v.candidate == decision.incumbent)
    assert len(found.trials) >= 2
    assert {(found.candidate, n) for n in found.trials} <= fresh
    assert {("baseline", n) for n in found.against_trials} <= fresh
    inflated = [
        r if (r.candidate, r.n) in fresh or r.capacity is None
        else r.model_copy(update={"capacity": r.capacity.model_copy(update={"rate_per_s": 1.02 * r.capacity.rate_per_s})})
        for r in results
    ]  # fmt: skip
    again = decide(PLAN, inflated)
    if again.incumbent == decision.incumbent:
        assert again.capacity == decision.capacity


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 9, 14, 19, 20, 21, 22, 23])
def test_a_killed_run_goes_on_with_the_same_trial(cut: int) -> None:
    world = made.GuidedWorld(PLAN, level=0.1, family=0.03, seed=2)
    whole = world.search(budget=340, cost=14)
    stored = Plan.model_validate_json(PLAN.model_dump_json())
    if cut < len(whole):
        order = next_trial(stored, list(reversed(whole[:cut])), 340 - 14 * cut, 14, world.forecast)
        assert order == world.orders[cut]


def test_next_trial_and_standing_come_from_one_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    world = made.GuidedWorld(PLAN, level=0.1, family=0.03, seed=2)
    whole = world.search(budget=340, cost=14)
    counted = Counter[str]()
    worked_out = gain.posterior

    def posterior(problem: Problem, outcomes: Sequence[Outcome]) -> Posterior:
        counted["posterior"] += 1
        return worked_out(problem, outcomes)

    monkeypatch.setattr(gain, "posterior", posterior)
    for n in (0, 1, 4, 9, len(whole) - 3, len(whole)):
        counted.clear()
        state = run_state(PLAN, whole[:n], 340 - 14 * n, 14, world.forecast)
        decision = decide(PLAN, whole[:n], progress=state.progress)
        assert counted["posterior"] == 1, n
        assert decision == decide(PLAN, whole[:n]), "what is left of the budget does not change the decision"
        progress = Progress.of(PLAN, whole[:n], 340 - 14 * n, 14)
        assert (state.next, state.standing) == (progress.order(world.forecast), standing_of(progress))
        assert state.ending == ending(progress)


@pytest.mark.parametrize("budget", [70, 140, 250, 340])
def test_the_budget_is_kept_and_leaves_room_for_the_confirmation(budget: int) -> None:
    world = made.GuidedWorld(PLAN, family=0.05, noise=0.02, seed=budget)
    results = world.search(budget=budget, cost=10)
    assert 10 * len(results) <= budget
    winner = decide(PLAN, results).search
    assert winner is not None
    assert sum(r.candidate == winner.winner for r in confirming(results)) >= 2
    assert sum(r.candidate == "baseline" for r in confirming(results)) >= 2


def test_every_rung_of_the_ladder_has_its_row() -> None:
    decision = decide(PLAN, made.GuidedWorld(PLAN, seed=3).search(budget=200, cost=14))
    found = {v.candidate: v for v in decision.verdicts}
    assert set(found) >= {c.id for c in PLAN.candidates}
    assert found["chunked-prefill"].verdict == "already on"
    assert found["attention-flash"].verdict == "not supported"
    rung = found["batch-8"]
    assert rung.verdict == "not run"
    assert rung.predicted is not None
    assert rung.predicted.estimate < 0.9
    assert rung.reason.startswith("capacity predicted −")
    assert rung.reason.endswith("compared with baseline, not measured")


def test_the_best_configuration_with_the_same_answers_stands_beside_the_winner() -> None:
    results = made.GuidedWorld(PLAN, seed=4).search(budget=340, cost=14)
    decision = decide(PLAN, results)
    assert decision.search is not None
    assert "fp8-kv" in decision.incumbent
    same = decision.search.same_answers
    assert "fp8-kv" not in same
    assert "marlin" in same
    assert decision.search.same_answers_measured
    assert any(r.candidate == same for r in results)
    assert decision.search.same_answers_ratio is not None
    assert 3 < decision.search.same_answers_ratio.estimate < 5


def test_each_knob_of_the_winner_has_its_worth() -> None:
    decision = decide(PLAN, made.GuidedWorld(PLAN, seed=5).search(budget=340, cost=14))
    assert decision.search is not None
    worth = {k.knob: k for k in decision.search.knobs}
    assert worth["weights"].ratio is not None
    assert worth["weights"].ratio.low < 4 < worth["weights"].ratio.high
    assert all(k.sentence.endswith(f"({k.source})") for k in decision.search.knobs if k.ratio)
    phases = {p.phase: p for p in decision.search.phases}
    assert "fp8-kv" not in phases["easy-wins"].option
    assert phases["medium-term"].option == decision.incumbent


def test_what_the_running_server_can_become_costs_no_start() -> None:
    world = made.GuidedWorld(PLAN, seed=6)
    order = next_trial(PLAN, [], 340, 14, world.forecast)
    assert order is not None
    bound = Limits(max_num_seqs=256, max_num_batched_tokens=2048, long_prefill_token_threshold=0)
    first = world.run(order).model_copy(update={"switchable": bound})
    progress = Progress.of(PLAN, [first], 340, 14)
    cheap = progress.on_running_server
    assert cheap
    for option in progress.search.usable:
        lower = option.knobs["max_num_seqs"] <= 256 and set(option.change) <= set(KNOBS)
        assert (option.id in cheap) == lower, option.id
        assert (progress.problem.option(option.id).start_s == SWITCH_S) == lower
    how = Switched(server_of="baseline/1", started=bound, limits=bound, log_from=0)
    second = first.model_copy(update={"candidate": min(cheap), "position": 1, "switched": how})
    assert Progress.of(PLAN, [first, second]).on_running_server == cheap, "the server is still that of the baseline"
    failed = second.model_copy(update={"status": "failed"})
    assert not Progress.of(PLAN, [first, failed]).on_running_server, "its server was stopped"


def test_only_trials_of_the_search_share_a_real_server() -> None:
    real = PLAN.model_copy(update={"target": PLAN.target.model_copy(update={"engine": "vllm"})})
    world = made.GuidedWorld(PLAN, level=0.1, seed=7)
    results = world.search(budget=340, cost=14)
    for i in range(len(results)):
        order = next_trial(real, results[:i], 340 - 14 * i, 14, world.forecast)
        assert order is not None
        assert order.shares_server == (order.seed < SEED + FRESH)
        simulated = next_trial(PLAN, results[:i], 340 - 14 * i, 14, world.forecast)
        assert simulated is not None
        assert not simulated.shares_server


def test_where_the_baseline_serves_the_whole_load_no_trial_looks_for_more_throughput() -> None:
    plan = made.plan(metric="output_throughput")
    order = next_trial(plan, [], 1000, 10)
    assert order is not None
    trial = synthetic_run.World(plan).run(order)
    served = trial.model_copy(update={"overloaded": False})
    assert Progress.of(plan, [trial]).step.next is not None
    assert "baseline serves the whole load" in ending(Progress.of(plan, [served]))
    following = next_trial(plan, [served], 1000, 10)
    assert following is None or following.candidate == "baseline"


def test_what_does_not_start_is_left_alone() -> None:
    world = made.GuidedWorld(PLAN, seed=6)
    assert PLAN.search is not None
    world.failing = {o.id: "no kernel for FP8 KV" for o in PLAN.search.options if "kv=fp8" in o.families}
    results = world.search(budget=340, cost=14)
    decision = decide(PLAN, results)
    failed = [v for v in decision.verdicts if v.verdict == "failed"]
    assert 1 <= len(failed) <= 4
    assert failed[0].reason == "no kernel for FP8 KV"
    assert "fp8-kv" not in decision.incumbent
    best = max(v for name, v in world.capacities.items() if name not in world.failing)
    assert world.capacities[decision.incumbent] >= 0.96 * best


def test_a_baseline_that_fails_is_the_answer() -> None:
    world = made.GuidedWorld(PLAN, seed=7)
    assert PLAN.search is not None
    world.failing = {o.id: "the port is taken" for o in PLAN.search.options}
    decision = decide(PLAN, world.search(budget=340, cost=14))
    assert decision.verdicts[0].verdict == "failed"
    assert "the port is taken" in decision.first_sentence


def test_a_doubted_trial_is_run_again_and_then_not_trusted() -> None:
    world = made.GuidedWorld(PLAN, seed=8)
    second = next_trial(PLAN, world.search(most=1), None, 14, world.forecast)
    assert second is not None
    world.doubted = {second.candidate}
    results = world.search(budget=340, cost=14)
    assert sum(r.candidate == second.candidate for r in results) == 2
    found = next(v for v in decide(PLAN, results).verdicts if v.candidate == second.candidate)
    assert found.verdict == "not trusted"
    assert "disturbed" in found.reason


def test_a_doubted_trial_that_the_budget_could_not_repeat_says_why() -> None:
    world = made.GuidedWorld(PLAN, seed=8)
    second = next_trial(PLAN, world.search(most=1), None, 14, world.forecast)
    assert second is not None
    world.doubted = {second.candidate}
    found = {v.candidate: v for v in decide(PLAN, world.search(most=2)).verdicts}
    assert found[second.candidate].verdict == "not trusted"
    assert "was not repeated: " in found[second.candidate].reason
    assert "disturbed" in found[second.candidate].reason


def test_a_constraint_keeps_a_configuration_from_winning() -> None:
    plan = made.plan(constraints=[{"metric": "p99_ttft_ms", "at_most": 800}])
    world = made.GuidedWorld(plan, seed=9)
    assert plan.search is not None
    world.metrics = {o.id: {"p99_ttft_ms": 900.0} for o in plan.search.options if "kv=fp8" in o.families}
    decision = decide(plan, world.search(budget=340, cost=14))
    assert "fp8-kv" not in decision.incumbent
    broken = [v for v in decision.verdicts if "p99 TTFT is 900 ms" in v.reason]
    assert broken
    assert all(v.verdict == "no gain" for v in broken)


@pytest.mark.parametrize("method", ["random", "grid"])
def test_methods_without_a_model_measure_and_confirm(method: str) -> None:
    plan = made.plan(method, predicts=False)  # type: ignore[arg-type]
    assert plan.search is not None
    assert not plan.search.predicts
    results = made.GuidedWorld(plan, alone=0.2, seed=10).search(budget=200, cost=10)
    assert len({r.candidate for r in results}) > 8
    decision = decide(plan, results)
    assert confirming(results)
    assert decision.search is not None
    assert decision.search.method == method


def test_a_guided_search_needs_no_predictions() -> None:
    plan = made.plan("guided", predicts=False)
    world = made.GuidedWorld(plan, seed=11)
    world.capacities = {name: value * (4 if "marlin" in name else 1) for name, value in world.capacities.items()}
    decision = decide(plan, world.search(budget=340, cost=10))
    assert "marlin" in decision.incumbent


def test_ratios_of_a_latency_are_those_of_its_values() -> None:
    found = made.plan("guided", predicts=False)
    goal = found.objective.model_copy(update={"metric": "median_tpot_ms", "direction": "lower", "slo": {}})
    plan = found.model_copy(update={"objective": goal})
    world = made.GuidedWorld(plan, seed=11)
    world.metrics = {
        name: {"median_tpot_ms": (10 if "marlin" in name else 40) * math.exp(0.01 * world.random.standard_normal())}
        for name in world.capacities
    }
    decision = decide(plan, world.search(budget=340, cost=10))
    assert "marlin" in decision.incumbent
    summary = decision.search
    assert summary is not None
    best = next(p for p in reversed(summary.phases) if p.option == decision.incumbent)
    confirmed = next(v for v in decision.verdicts if v.candidate == decision.incumbent).ratios["median_tpot_ms"]
    assert best.ratio.estimate == pytest.approx(confirmed.estimate, rel=0.2)
    assert best.ratio.low < best.ratio.estimate < best.ratio.high < 1
    known = [k.ratio.estimate for k in summary.knobs if k.ratio is not None]
    assert known == sorted(known), "the largest gain first"
    assert min(known) < 0.5


def test_a_change_that_gains_next_to_nothing_is_not_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(made.FACTORS, "graphs", {"graphs": 1.005})
    plan = made.plan()
    results = made.GuidedWorld(plan, seed=20, noise=0.005).search(budget=340, cost=14)
    decision = decide(plan, results)
    assert decision.incumbent == "awq_marlin+fp8-kv+seqs96"
    assert any("graphs" in r.candidate for r in results), "it was measured"
    assert decision.search is not None
    said = decision.search.left_out
    assert said.startswith("the winner leaves graphs as in the baseline, because its expected gain of +0.")
    assert said.endswith(" % is below 1 %")
    assert said in ending(Progress.of(plan, results, 0.0, 14.0))
    before = decide(plan, [r for r in results if r.seed < SEED + FRESH])
    assert before.search is not None
    assert (before.incumbent, before.search.left_out) == ("baseline", ""), "nothing is confirmed yet"


@pytest.mark.parametrize("budget", [7.2, 8.5, 11])
def test_trials_that_are_owed_never_take_the_place_of_the_confirmation(budget: float) -> None:
    world = made.GuidedWorld(PLAN, seed=16)
    results = world.search(budget=budget * 40, cost=40)
    decision = decide(PLAN, results)
    assert "marlin" in decision.incumbent
    assert len(confirming(results)) >= 4


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [100, 340, 900])
def test_a_budget_is_kept_within_a_tenth_although_trials_differ_in_cost(budget: int, seed: int) -> None:
    world, random = made.GuidedWorld(PLAN, level=0.1, family=0.05, seed=seed), np.random.default_rng(seed)
    results: list[TrialResult] = []
    costs: list[float] = []
    while True:
        expected = median(costs) if costs else 11.0
        order = next_trial(PLAN, results, budget - sum(costs), expected, world.forecast)
        if order is None:
            break
        results.append(world.run(order))
        costs.append(14.0 * math.exp(random.normal(0, 0.25)))
    assert sum(costs) <= 1.1 * budget
    if budget >= 340:
        assert len(confirming(results)) >= 4


def test_a_small_budget_names_what_carried_more() -> None:
    decision = decide(PLAN, made.GuidedWorld(PLAN, seed=17).search(budget=60, cost=14))
    assert decision.incumbent == "baseline"
    assert "carried" in decision.first_sentence
    assert "marlin" in decision.first_sentence
    assert "larger --budget" in decision.first_sentence


def test_ids_are_short_unique_and_say_everything() -> None:
    assert PLAN.search is not None
    ids = [o.id for o in PLAN.search.options]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "baseline"
    assert {"awq_marlin+fp8-kv+graphs+seqs96", "fp8-kv", "awq-marlin", "batch-8"} <= set(ids)
    for option in PLAN.search.options:
        assert PLAN.candidate(option.id).config == PLAN.candidates[0].config.with_change(option.change)


def test_the_first_trials_and_the_ending_in_words() -> None:
    first, second = first_trials(PLAN)
    assert first.option == "baseline"
    assert "marlin" in second.option
    assert "expected +" in second.why
    results = made.GuidedWorld(PLAN, seed=12).search(budget=340, cost=14)
    words = ending(Progress.of(PLAN, results, 0.0, 14.0))
    assert "chance that something clearly better is left" in words
    assert f"recommended {decide(PLAN, results).incumbent}" in words
