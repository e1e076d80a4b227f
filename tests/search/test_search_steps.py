"""The search as a state machine: order, stop, failures, budget, ties, confirmation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import BASELINE, LOAD_S, START_S, World, drawn_truth, name_of, problem, run, with_beyond

from rooftune.errors import InputError
from rooftune.search.choice import best_option
from rooftune.search.gain import outlook
from rooftune.search.next_step import confirms, next_step
from rooftune.search.options import Beyond, Noise, Outcome, Problem

P = problem()
BEST = name_of("fp8", "fp8", 128, 512)


def searched(trials: list[Outcome]) -> list[Outcome]:
    return [t for t in trials if t.purpose == "search"]


def test_the_baseline_comes_first_and_the_best_prediction_second() -> None:
    first = next_step(P, []).next
    assert first is not None
    assert first.option == BASELINE
    second = next_step(P, [Outcome(BASELINE, P.option(BASELINE).predicted_log, 0.02)]).next
    assert second is not None
    assert P.option(second.option).predicted_log == pytest.approx(max(o.predicted_log for o in P.options), abs=0.03)


@pytest.mark.parametrize("method", ["guided", "random"])
def test_it_ends_where_the_load_and_not_the_server_limits_the_objective(method: str) -> None:
    limited = problem(method=method)
    value = limited.option(BASELINE).predicted_log
    step = next_step(limited, [Outcome(BASELINE, value - 1, 0.02, load_bound=True)])
    assert step.next is None
    assert step.found is not None
    assert step.found.winner == BASELINE
    assert step.found.reason == f"{BASELINE} serves the whole load, and no configuration can exceed that"
    assert next_step(limited, [Outcome(BASELINE, value - 1, 0.02)]).next is not None


@pytest.mark.parametrize("seed", range(12))
def test_it_comes_within_5_percent_of_the_best_in_a_few_trials_although_the_model_is_wrong(seed: int) -> None:
    truth = drawn_truth(P, seed)
    step, trials = run(P, World(truth, seed=seed))
    assert step.confirmation is not None
    assert truth[step.confirmation.recommended] >= max(truth.values()) - 0.05
    assert len(searched(trials)) <= 15


@pytest.mark.parametrize("seed", range(3))
def test_the_reason_for_a_trial_does_not_repeat_its_name(seed: int) -> None:
    """Progress lines have the name in front of the reason."""
    _, trials = run(P, World(drawn_truth(P, seed), seed=seed))
    assert any(t.purpose == "confirm" for t in trials)
    for count, trial in enumerate(trials):
        asked = next_step(P, trials[:count]).next
        assert asked is not None
        assert asked.option == trial.option
        assert asked.option not in asked.why


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.2, 0.4]))
@settings(max_examples=20, deadline=None)
def test_it_never_recommends_what_is_clearly_worse_than_the_baseline(seed: int, family: float) -> None:
    truth = drawn_truth(P, seed, family)
    step, _ = run(P, World(truth, seed=seed))
    assert step.confirmation is not None
    assert truth[step.confirmation.recommended] >= truth[BASELINE] - 0.02


@given(st.integers(0, 10_000), st.integers(0, 12))
@settings(max_examples=20, deadline=None)
def test_a_killed_search_goes_on_as_if_nothing_had_happened(seed: int, ended: int) -> None:
    """The answer depends on the problem and the trials alone, so trials that were kept are a prefix of the whole."""
    world = World(drawn_truth(P, seed), seed=seed)
    _, whole = run(P, world)
    kept = list(whole[:ended])
    step = next_step(replace(P), kept)
    if ended < len(whole):
        assert step.next is not None
        assert (step.next.option, step.next.purpose, step.next.seed) == (
            whole[ended].option,
            whole[ended].purpose,
            whole[ended].seed,
        )
    else:
        assert step.next is None


def test_it_stops_when_nothing_has_a_real_chance_and_names_the_chance() -> None:
    step, trials = run(P, World({o.id: o.predicted_log for o in P.options}, noise=0.005))
    assert step.found is not None
    assert "no option without a trial is better by 3 %" in step.found.reason
    assert len(searched(trials)) <= 10


def test_a_family_that_disappoints_is_left_after_few_trials() -> None:
    """The model thinks FP8 is fast and it is not."""
    truth = {o.id: o.predicted_log - (0.6 if o.knobs["quantization"] == "fp8" else 0.0) for o in P.options}
    step, trials = run(P, World(truth))
    assert step.found is not None
    assert P.option(step.found.winner).knobs["quantization"] == "awq"
    tried = [t for t in searched(trials) if P.option(t.option).knobs["quantization"] == "fp8"]
    assert 1 <= len(tried) <= 3


def test_what_fails_to_start_casts_doubt_on_what_shares_its_cause_and_it_goes_on() -> None:
    fails = frozenset(o.id for o in P.options if o.knobs["kv_cache_dtype"] == "fp8")
    truth = {o.id: o.predicted_log for o in P.options}
    step, trials = run(P, World(truth, fails=fails))
    assert step.found is not None
    assert step.found.winner not in fails
    assert truth[step.found.winner] == pytest.approx(max(v for k, v in truth.items() if k not in fails), abs=0.05)
    assert 1 <= sum(t.log_value is None for t in trials) <= 4


def test_a_baseline_without_a_value_does_not_end_the_search() -> None:
    """The baseline breaks the SLO with one request at a time; others do not."""
    truth = {o.id: o.predicted_log for o in P.options}
    step, trials = run(P, World(truth, fails=frozenset([BASELINE])))
    assert [t.option for t in trials[:2]] == [BASELINE, BASELINE]
    assert step.confirmation is not None
    assert truth[step.confirmation.recommended] >= max(truth.values()) - 0.03
    assert step.confirmation.claims == ()
    assert step.confirmation.reason == "the baseline has no value that could be compared"


def test_where_nothing_starts_the_search_ends_soon_with_the_reason() -> None:
    step, trials = run(P, World({}, fails=frozenset(o.id for o in P.options)))
    assert step.found is None
    assert step.reason == "neither the baseline nor 4 other options could be measured: out of memory"
    assert len(trials) == 6


@given(st.integers(0, 1000), st.floats(600, 12_000))
@settings(max_examples=20, deadline=None)
def test_the_budget_is_kept_and_leaves_room_to_confirm(seed: int, budget_s: float) -> None:
    limited = problem(budget_s=budget_s)
    step, trials = run(limited, World(drawn_truth(limited, seed), seed=seed))
    assert sum(t.seconds for t in trials) <= max(budget_s, START_S + LOAD_S)
    assert step.found is not None
    assert step.confirmation is not None
    if step.found.winner != BASELINE and confirms(limited):
        assert step.confirmation.claims, "a winner that the budget cannot confirm"


def test_a_budget_without_room_for_a_confirmation_goes_into_the_search() -> None:
    limited = problem(budget_s=3.5 * (START_S + LOAD_S))
    step, trials = run(limited, World(drawn_truth(limited, 3), seed=3))
    assert not confirms(limited)
    assert len(trials) == 3
    assert len({t.option for t in trials}) == 3
    assert step.confirmation is not None
    assert step.confirmation.recommended == BASELINE
    assert step.found is not None
    assert step.found.winner != BASELINE


def test_cheap_trials_come_first_where_gains_are_equal() -> None:
    def slow_to_start(one: Problem) -> Problem:
        dear = [replace(o, start_s=3000.0) if o.knobs["quantization"] == "fp8" else o for o in one.options]
        return replace(one, options=tuple(dear))

    base = Outcome(BASELINE, P.option(BASELINE).predicted_log, 0.02)
    cheap, dear = next_step(P, [base]).next, next_step(slow_to_start(P), [base]).next
    assert cheap is not None
    assert dear is not None
    assert P.option(cheap.option).knobs["quantization"] == "fp8"
    assert P.option(dear.option).knobs["quantization"] == "awq"


def test_of_equal_options_the_one_that_behaves_best_beyond_its_capacity_wins() -> None:
    """128 and 256 sequences carry the same; beyond that 256 has twice the TPOT."""
    few, many = name_of("fp8", "fp8", 128, 512), name_of("fp8", "fp8", 256, 512)
    truth = {o.id: o.predicted_log for o in P.options}
    level = truth[few]
    equals = tuple(replace(o, predicted_log=level) if o.id in (few, many) else o for o in P.options)
    tied = with_beyond(replace(P, options=equals), {few: Beyond(100.0, 8.0), many: Beyond(205.0, 5.0)})
    step, _ = run(tied, World({**truth, few: level, many: level + 0.003}, noise=0.003))
    assert step.confirmation is not None
    assert step.confirmation.recommended == few
    turned = with_beyond(replace(P, options=equals), {few: Beyond(205.0, 5.0), many: Beyond(100.0, 8.0)})
    step, _ = run(turned, World({**truth, few: level + 0.003, many: level}, noise=0.003))
    assert step.confirmation is not None
    assert step.confirmation.recommended == many


@pytest.mark.parametrize(("below", "wins"), [(0.015, "few"), (0.03, "many")])
def test_a_little_capacity_is_traded_for_much_better_behaviour_and_more_is_not(below: float, wins: str) -> None:
    """128 sequences have three times the goodput per TPOT of 256, and carry somewhat less."""
    few, many = name_of("fp8", "fp8", 128, 512), name_of("fp8", "fp8", 256, 512)
    behaviour = {few: Beyond(100.0, 9.0), many: Beyond(200.0, 6.0)}
    trials = [Outcome(BASELINE, 1.0, 1e-3), Outcome(few, 2.0 - below, 1e-3), Outcome(many, 2.0, 1e-3)]
    exact = replace(with_beyond(P, behaviour), noise=Noise(start=0.0, drift=0.0))
    assert P.options[best_option(outlook(exact, trials))].id == {"few": few, "many": many}[wins]


def test_claims_use_fresh_trials_alone_in_palindromes_with_paired_seeds() -> None:
    truth = drawn_truth(P, 5)
    step, trials = run(P, World(truth, seed=5))
    confirming = [t for t in trials if t.purpose == "confirm"]
    assert step.confirmation is not None
    assert not {t.seed for t in confirming} & {t.seed for t in searched(trials)}
    arms = step.confirmation.arms
    first = [t.option for t in confirming[: 2 * len(arms)]]
    assert first == [*arms, *arms[::-1]]
    for claim in step.confirmation.claims:
        assert claim.comparison.paired
        assert claim.comparison.trials_a == sum(t.option == claim.option for t in confirming)
    wrong = [replace(t, log_value=(t.log_value or 0.0) + 3.0) if t.purpose == "search" else t for t in trials]
    again = next_step(P, wrong).confirmation
    assert again is not None
    assert [c.comparison.estimate for c in again.claims] == [c.comparison.estimate for c in step.confirmation.claims]


def test_the_search_overrates_its_winner_and_the_claim_does_not() -> None:
    """Many equal options with much noise: the best of the trials is lucky, the fresh trials are not."""
    flat = replace(P, options=tuple(replace(o, predicted_log=1.0 + 0.2 * (o.id != BASELINE)) for o in P.options))
    truth = {o.id: o.predicted_log for o in flat.options}
    lucky, claimed = [], []
    for seed in range(25):
        step, trials = run(flat, World(truth, noise=0.06, seed=seed))
        assert step.confirmation is not None
        best = max((t.log_value or 0.0) for t in searched(trials) if t.option != BASELINE)
        lucky.append(best - 1.2)
        claim = next(c for c in step.confirmation.claims if c.against == BASELINE)
        claimed.append(math.log(claim.comparison.estimate) - 0.2)
    assert np.mean(lucky) > 0.03
    assert abs(np.mean(claimed)) < 0.02


@pytest.mark.parametrize("method", ["random", "grid", "staged"])
def test_black_boxes_end_with_the_budget_and_recommend_what_they_measured(method: str) -> None:
    limited = problem(budget_s=20 * (START_S + LOAD_S), method=method)
    step, trials = run(limited, World({o.id: o.predicted_log for o in P.options}, noise=0.001))
    assert step.found is not None
    assert step.found.winner in {t.option for t in searched(trials)}
    values = {t.option: t.log_value or 0.0 for t in searched(trials)}
    assert values[step.found.winner] == max(values.values())
    assert len(values) == len(searched(trials))


def test_staged_finds_the_top_of_a_landscape_without_interplay() -> None:
    step, trials = run(problem(method="staged"), World({o.id: o.predicted_log for o in P.options}, noise=1e-4))
    assert step.found is not None
    assert step.found.winner in (BEST, name_of("fp8", "fp8", 128, 2048))
    assert len(searched(trials)) < len(P.options) / 2


def test_tpe_is_deterministic_and_beats_chance() -> None:
    pytest.importorskip("optuna")
    world = World({o.id: o.predicted_log for o in P.options}, noise=0.001)
    limited = problem(budget_s=35 * (START_S + LOAD_S), method="tpe")
    step, trials = run(limited, world)
    _, repeated = run(limited, world)
    assert trials == repeated
    assert step.found is not None
    ranked = sorted(world.truth.values(), reverse=True)
    assert world.truth[step.found.winner] >= ranked[8]


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="two options are called"):
        replace(P, options=(*P.options, P.options[0]))
    with pytest.raises(InputError, match="no option 'none/auto/256/2049' \\(did you mean"):
        replace(P, baseline="none/auto/256/2049")
    with pytest.raises(InputError, match="is not finite"):
        replace(P, options=(*P.options, replace(P.options[0], id="x", predicted_log=-math.inf)))
