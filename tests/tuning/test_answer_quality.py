"""Searches in which some configurations spoil the answers: when they are checked, and that they cannot win."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import capacity_world
import guided_world as made
import pytest

from rooftune.evidence.records.quality import Measure, MeasureName, Quality
from rooftune.evidence.records.trial import TrialResult
from rooftune.quality.key import answers_key, model_key
from rooftune.trial_order import TrialOrder
from rooftune.tuning.answer_quality import Checks, due, promising
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.plan import Plan, QualityRules
from rooftune.tuning.search import decide, next_trial
from rooftune.vllm_rules.config import EngineConfig

PLAN = made.plan()
Spoils = Callable[[EngineConfig], bool]


def by_fp8(config: EngineConfig) -> bool:
    return config.kv_cache_dtype == "fp8"


class Guarded:
    """Checks the trials of a made-up world as a run does: once, on promising trials."""

    spoils: Spoils
    plan: Plan

    def __init__(self, *args: Any, spoils: Spoils = by_fp8, **more: Any) -> None:
        super().__init__(*args, **more)
        self.spoils, self.measured, self.checked = spoils, list[TrialResult](), list[str]()

    def run(self, order: TrialOrder) -> TrialResult:
        found: TrialResult = super().run(order)  # type: ignore[misc]
        asked = due(self.plan, self.measured, order.candidate, order.config, has_floor=True)
        if asked == "check" and promising(self.plan, self.measured, found, order.config):
            self.checked.append(order.candidate)
            found = found.model_copy(update={"quality": verdict(order.config, self.spoils(order.config))})
        self.measured.append(found)
        return found


class GuidedWorld(Guarded, made.GuidedWorld):
    """A guided search with checks."""


class LadderWorld(Guarded, capacity_world.CapacityWorld):
    """A search by the ladder with checks."""


def verdict(config: EngineConfig, spoilt: bool) -> Quality:
    name = "spoilt" if spoilt else "equal"
    return Quality(verdict=name, reason="KL divergence 0.4 nats above the floor", key=answers_key(config), prompts=40)


@pytest.mark.parametrize("seed", range(3))
def test_what_spoils_the_answers_does_not_win(seed: int) -> None:
    world = GuidedWorld(PLAN, family=0.03, seed=seed)
    assert by_fp8(PLAN.candidate(world.best).config), "without a check it would win"
    decision = decide(PLAN, world.search(budget=340, cost=14))
    assert decision.incumbent != "baseline"
    assert not by_fp8(PLAN.candidate(decision.incumbent).config)
    spoilt = [v for v in decision.verdicts if v.verdict == "spoilt"]
    assert spoilt
    assert "its answers are spoilt (KL divergence 0.4 nats above the floor)" in spoilt[0].reason
    assert "--accept-quality-loss" in spoilt[0].reason
    best = max(c for n, c in world.capacities.items() if not by_fp8(PLAN.candidate(n).config))
    assert world.capacities[decision.incumbent] >= 0.95 * best


def test_it_wins_where_the_loss_is_accepted() -> None:
    plan = PLAN.model_copy(update={"quality": QualityRules(accept_loss=True)})
    world = GuidedWorld(plan, family=0.03, seed=1)
    decision = decide(plan, world.search(budget=340, cost=14))
    assert by_fp8(plan.candidate(decision.incumbent).config)
    assert not [v for v in decision.verdicts if v.verdict == "spoilt"]


def test_each_way_of_answering_is_checked_once_and_only_where_it_may_differ() -> None:
    world = GuidedWorld(PLAN, family=0.03, seed=2, spoils=lambda _: False)
    world.search(budget=340, cost=14)
    keys = [answers_key(PLAN.candidate(name).config) for name in world.checked]
    assert keys
    assert len(keys) == len(set(keys))
    assert answers_key(PLAN.candidates[0].config) not in keys


def test_a_search_without_spoilt_answers_is_the_one_without_checks() -> None:
    world = GuidedWorld(PLAN, family=0.03, seed=3, spoils=lambda _: False)
    plain = made.GuidedWorld(PLAN, family=0.03, seed=3)
    assert [r.candidate for r in world.search(budget=340, cost=14)] == [
        r.candidate for r in plain.search(budget=340, cost=14)
    ]


def test_no_trial_is_spent_on_what_a_check_ruled_out() -> None:
    world = GuidedWorld(PLAN, family=0.03, seed=0)
    results = world.search(budget=340, cost=14)
    first = next(i for i, r in enumerate(results) if r.quality is not None and r.quality.verdict == "spoilt")
    key = results[first].quality.key  # type: ignore[union-attr]
    later = [r for r in results[first + 1 :] if answers_key(PLAN.candidate(r.candidate).config) == key]
    assert not later


@pytest.mark.parametrize("cut", [3, 6, 10])
def test_a_killed_run_goes_on_with_the_same_trial(cut: int) -> None:
    world = GuidedWorld(PLAN, level=0.1, family=0.03, seed=2)
    whole = world.search(budget=340, cost=14)
    if cut < len(whole):
        again = next_trial(PLAN, list(reversed(whole[:cut])), 340 - 14 * cut, 14, world.forecast)
        assert again == world.orders[cut]


def test_the_ladder_drops_what_spoils_the_answers() -> None:
    plan = capacity_world.plan()
    world = LadderWorld(plan, seed=1)
    results = world.search(budget=None)
    decision = decide(plan, results)
    found = {v.candidate: v for v in decision.verdicts}
    assert found["fp8-kv"].verdict == "spoilt"
    assert decision.incumbent != "fp8-kv"
    assert sum(r.candidate == "fp8-kv" for r in results) == 1
    plain = capacity_world.CapacityWorld(plan, seed=1)
    assert decide(plan, plain.search(budget=None)).incumbent == "fp8-kv"


def test_a_check_is_due_after_the_floor_and_only_once() -> None:
    config = PLAN.candidates[0].config.with_change({"kv_cache_dtype": "fp8"})
    assert due(PLAN, [], "baseline", PLAN.candidates[0].config, has_floor=False) == "floor"
    assert due(PLAN, [], "baseline", PLAN.candidates[0].config, has_floor=True) is None
    assert due(PLAN, [], "x", config, has_floor=False) is None
    assert due(PLAN, [], "x", config, has_floor=True) == "check"
    assert due(PLAN, [], "y", PLAN.candidates[0].config.with_change({"max_num_seqs": 8}), has_floor=True) is None
    done = made.GuidedWorld(PLAN).search(budget=60, cost=14)[0].model_copy(update={"quality": verdict(config, True)})
    assert due(PLAN, [done], "z", config.with_change({"max_num_seqs": 8}), has_floor=True) is None


def test_only_promising_trials_are_checked() -> None:
    world = made.GuidedWorld(PLAN, noise=0.001)
    results = world.search(budget=340, cost=14)
    baseline = [r for r in results if r.candidate == "baseline"][:1]
    capacity = world.capacities["baseline"]
    for r in results:
        if r.candidate != "baseline" and r.seed < PLAN.objective.seed + 1000:
            better = world.capacities[r.candidate] > 1.01 * capacity
            worse = world.capacities[r.candidate] < 0.99 * capacity
            if better or worse:
                assert promising(PLAN, baseline, r, PLAN.candidate(r.candidate).config) == better
    fresh = next(r for r in results if r.seed >= PLAN.objective.seed + 1000)
    assert promising(PLAN, baseline, fresh, PLAN.candidate(fresh.candidate).config)


def drafting(tokens: int) -> EngineConfig:
    """FP8 KV with n-gram drafts of this length."""
    drafts = {"method": "ngram", "num_speculative_tokens": tokens, "prompt_lookup_max": 4}
    return PLAN.candidates[0].config.with_change({"kv_cache_dtype": "fp8", "speculative_config": drafts})


@pytest.mark.parametrize(("name", "others"), [("KL divergence", True), ("not greedy", False)])
def test_a_model_that_spoils_the_answers_does_so_with_any_drafts(name: MeasureName, others: bool) -> None:
    measure = Measure(name=name, value=0.4, floor=0.01, low=0.3, high=0.5, threshold=0.05)
    config, trial = drafting(3), made.GuidedWorld(PLAN).search(budget=60, cost=14)[0]
    found = verdict(config, True).model_copy(update={"model_key": model_key(config), "measures": [measure]})
    results = [trial.model_copy(update={"quality": found})]
    checks = Checks.of(PLAN, results)
    for config in (drafting(5), PLAN.candidates[0].config.with_change({"kv_cache_dtype": "fp8"})):
        assert bool(checks.why_not(config)) == others
        assert due(PLAN, results, "x", config, has_floor=True) == (None if others else "check")
    assert not checks.why_not(PLAN.candidates[0].config)
    accepted = PLAN.model_copy(update={"quality": QualityRules(accept_loss=True)})
    assert due(accepted, results, "x", drafting(5), has_floor=True) == "check", "what may win is checked"


def test_the_first_verdict_of_a_key_holds() -> None:
    config = PLAN.candidates[0].config.with_change({"kv_cache_dtype": "fp8"})
    first, second = made.GuidedWorld(PLAN).search(budget=60, cost=14)[:2]
    results = [
        second.model_copy(update={"quality": verdict(config, True)}),
        first.model_copy(update={"quality": verdict(config, False)}),
    ]
    assert Checks.of(PLAN, results).why_not(config) == ""
    assert Progress.of(PLAN, results).checks.of_config(config) is not None
