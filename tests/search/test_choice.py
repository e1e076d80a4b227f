"""Of options that are as good as each other the simplest is confirmed, at no cost in trials."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import BASELINE, World, drawn_truth, name_of, problem, run, with_beyond

from rooftune.search.choice import best_option, burden, chosen, simpler
from rooftune.search.gain import Outlook, outlook
from rooftune.search.next_step import next_step
from rooftune.search.options import Beyond, Noise, Outcome, Problem

P = replace(problem(), risky=frozenset({"quantization", "kv_cache_dtype"}))
FULL = name_of("fp8", "fp8", 128, 512)
PLAIN = name_of("fp8", "fp8", 128, 2048)
"""The same with the baseline's token budget."""


EXACT = replace(P, noise=Noise(start=1e-3, drift=0.0))
SURE = replace(P.sizes, level=0.002, slope=0.001, residual=0.002)
"""What a knob is worth is nearly as predicted."""
BASE = Outcome(BASELINE, 1.0, 1e-3)


def taken(of: Problem, outcomes: list[Outcome]) -> str:
    return of.options[chosen(outlook(of, outcomes))].id


def with_a_useless_knob(gain: float = 0.0) -> Problem:
    """Every option once more without prefix caching, which the model expects to gain a little."""
    off = tuple(
        replace(o, id=f"{o.id}/off", knobs={**o.knobs, "prefix_caching": "off"}, predicted_log=o.predicted_log + gain)
        for o in P.options
    )
    on = tuple(replace(o, knobs={**o.knobs, "prefix_caching": "on"}) for o in P.options)
    return replace(P, options=on + off)


@pytest.mark.parametrize(("gain", "wins"), [(-0.004, PLAIN), (0.003, PLAIN), (0.008, PLAIN), (0.02, FULL)])
def test_a_change_whose_gain_is_below_the_margin_is_left_out(gain: float, wins: str) -> None:
    outcomes = [BASE, Outcome(PLAIN, 2.0, 1e-3), Outcome(FULL, 2.0 + gain, 1e-3)]
    assert taken(EXACT, outcomes) == wins


def test_what_was_left_out_is_said_with_its_gain_and_the_margin() -> None:
    outcomes = [BASE, Outcome(PLAIN, 2.0, 1e-3), Outcome(FULL, 2.004, 1e-3)]
    found = simpler(outlook(EXACT, outcomes))
    assert found is not None
    assert (found.option, found.instead_of, found.left) == (PLAIN, FULL, ("max_num_batched_tokens",))
    assert found.words == (
        "the winner leaves max_num_batched_tokens as in the baseline, because its expected gain of +0.4 % is below 1 %"
    )
    two = replace(found, left=("max_num_seqs", "prefix_caching"))
    assert "max_num_seqs and prefix_caching as in the baseline, because their expected gain of +0.4 %" in two.words
    assert simpler(outlook(P, [BASE])) is None


def test_unchanged_answers_come_first_then_few_changes_then_little_risk() -> None:
    def of(*names: str) -> list[str]:
        return sorted(names, key=lambda name: burden(P, P.option(name)))

    same, one, two = (
        name_of("none", "auto", 64, 512),
        name_of("none", "fp8", 256, 2048),
        name_of("none", "fp8", 64, 2048),
    )
    assert of(two, one, same, BASELINE) == [BASELINE, same, one, two]
    free = name_of("none", "auto", 64, 2048)
    memory = replace(P.option(free), knobs={**P.option(BASELINE).knobs, "gpu_memory_utilization": 0.95})
    risky = replace(P, risky=P.risky | {"gpu_memory_utilization"})
    assert burden(risky, P.option(free)) < burden(risky, memory)
    assert burden(P, P.option(free)) == burden(P, memory)


def test_where_all_equal_the_baseline_nothing_is_changed() -> None:
    outcomes = [Outcome(BASELINE, 2.0, 1e-3), Outcome(PLAIN, 2.004, 1e-3), Outcome(FULL, 2.006, 1e-3)]
    assert taken(EXACT, outcomes) == BASELINE


def test_other_changes_do_not_take_the_place_of_those_of_the_best_option() -> None:
    other = name_of("fp8", "fp8", 64, 2048)
    outcomes = [BASE, Outcome(other, 2.0, 1e-3), Outcome(FULL, 2.004, 1e-3)]
    far = Outcome(PLAIN, 1.9, 1e-3)
    assert taken(EXACT, [*outcomes, far]) == FULL


def test_better_behaviour_beyond_the_capacity_is_not_given_up_for_simplicity() -> None:
    outcomes = [BASE, Outcome(PLAIN, 2.0, 1e-3), Outcome(FULL, 2.0, 1e-3)]
    tied = with_beyond(EXACT, {FULL: Beyond(100.0, 8.0), PLAIN: Beyond(205.0, 4.0)})
    assert taken(EXACT, outcomes) == PLAIN
    assert taken(tied, outcomes) == FULL


def test_doubt_keeps_the_option_that_is_known_to_be_good() -> None:
    """The simpler option is expected to be as good, but nobody knows how good it is."""
    sure = replace(P, sizes=SURE)
    unsure = replace(P, sizes=replace(P.sizes, level=0.05, slope=0.05, residual=0.05))
    outcomes = [BASE, Outcome(FULL, 2.0, 1e-3)]
    assert taken(sure, outcomes) == PLAIN
    assert taken(unsure, outcomes) == FULL


def test_an_option_without_a_trial_wins_only_if_its_parts_have_started_and_a_confirmation_follows() -> None:
    sure = replace(P, sizes=SURE)
    outcomes = [BASE, Outcome(FULL, 2.0, 1e-3)]
    failed = Outcome(PLAIN, None, 1e-3, failure="out of memory")
    assert taken(sure, [*outcomes, failed]) == FULL
    assert taken(sure, [Outcome(BASELINE, None, failure="it breaks the SLO"), *outcomes[1:]]) == FULL
    new = tuple(replace(o, families=(*o.families, "kernel=new")) if o.id == PLAIN else o for o in sure.options)
    assert taken(replace(sure, options=new), outcomes) == FULL


def test_an_untried_winner_that_does_not_start_gives_its_place_to_the_best_option() -> None:
    sure = replace(P, sizes=SURE, rules=replace(P.rules, budget_s=0))
    outcomes = [BASE, Outcome(FULL, 2.0, 1e-3)]
    step = next_step(sure, outcomes)
    assert step.found is not None
    assert step.found.winner == PLAIN
    confirming = [
        Outcome(BASELINE, 1.0, 1e-3, purpose="confirm", seed=1001),
        Outcome(PLAIN, None, 1e-3, failure="out of memory", purpose="confirm", seed=1001),
    ]
    after = next_step(replace(sure, rules=replace(sure.rules, budget_s=None)), [*outcomes, *confirming])
    assert after.found is not None
    assert after.found.winner == FULL
    assert after.found.simpler is None
    assert after.next is not None
    assert (after.next.option, after.next.purpose, after.next.seed) == (FULL, "confirm", 1001)


@given(st.integers(0, 10_000), st.sampled_from([0.005, 0.02, 0.05]))
@settings(max_examples=12, deadline=None)
def test_nothing_simpler_is_as_good_and_what_wins_loses_next_to_nothing(seed: int, noise: float) -> None:
    step, _ = run(P, World(drawn_truth(P, seed), noise=noise, seed=seed))
    look, rules = step.outlook, P.rules
    best, own = best_option(look), chosen(look)
    assert burden(P, P.options[own]) <= burden(P, P.options[best])
    assert is_part(own, best)
    assert lost(look, own) < math.log1p(rules.negligible)
    rivals = [
        i for i in np.flatnonzero(look.measured)
        if lost(look, i) < math.log1p(rules.negligible) and doubt(look, i) <= rules.doubt and is_part(i, best)
    ]  # fmt: skip
    assert all(burden(P, P.options[own]) <= burden(P, P.options[i]) for i in rivals)


def is_part(one: int, of: int) -> bool:
    """Whether an option makes no other changes than another one."""
    base, whole = P.option(BASELINE).knobs, P.options[of].knobs
    return all(value in (base[name], whole[name]) for name, value in P.options[one].knobs.items())


def lost(look: Outlook, option: int) -> float:
    """Expected loss compared with the best option, in ln(objective)."""
    return float(look.posterior.mean[best_option(look)] - look.posterior.mean[option])


def doubt(look: Outlook, option: int) -> float:
    """Chance that the option is worse than the best one by the smallest effect that matters."""
    spread = float(look.posterior.difference_sd(best_option(look))[option])
    if spread == 0:
        return 0.0
    beyond = (math.log1p(look.problem.rules.smallest_effect) - lost(look, option)) / spread
    return 0.5 * math.erfc(beyond / math.sqrt(2))


def test_knobs_that_are_worth_nothing_are_rarely_deployed() -> None:
    """A trial's luck can make such a knob look worth more than the margin, so it is not never."""
    of = with_a_useless_knob(0.003)
    never = replace(of, rules=replace(of.rules, negligible=0.0))
    deployed, without = 0, 0
    for seed in range(16):
        truth = drawn_truth(P, seed)
        whole = {o.id: truth[o.id.removesuffix("/off")] + 0.003 * o.id.endswith("/off") for o in of.options}
        for one in (of, never):
            step, _ = run(one, World(whole, noise=0.005, seed=seed))
            assert step.found is not None
            off = step.found.winner.endswith("/off")
            deployed, without = deployed + (off and one is of), without + (off and one is never)
    assert without >= 8
    assert deployed <= without / 3


@given(st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_a_knob_that_is_worth_something_is_deployed(seed: int) -> None:
    of = with_a_useless_knob(0.06)
    truth = drawn_truth(P, seed)
    whole = {o.id: truth[o.id.removesuffix("/off")] + (0.06 if o.id.endswith("/off") else 0.0) for o in of.options}
    step, _ = run(of, World(whole, noise=0.01, seed=seed))
    assert step.found is not None
    assert step.found.winner.endswith("/off")


@given(st.integers(0, 10_000), st.sampled_from([0.005, 0.02, 0.05]))
@settings(max_examples=12, deadline=None)
def test_simplicity_costs_no_trial_and_no_server(seed: int, noise: float) -> None:
    world = World(drawn_truth(P, seed), noise=noise, seed=seed)
    never = replace(P, rules=replace(P.rules, negligible=0.0))
    (step, ours), (other, without) = run(P, world), run(never, world)
    assert step.confirmation is not None
    assert other.confirmation is not None
    assert len(step.confirmation.arms) <= len(other.confirmation.arms)
    assert [t.option for t in ours if t.purpose == "search"] == [t.option for t in without if t.purpose == "search"]


def test_a_run_keeps_what_it_confirmed_although_the_rules_would_choose_another_option_today() -> None:
    searched = [BASE, Outcome(PLAIN, 2.0, 1e-3), Outcome(FULL, 2.004, 1e-3)]
    confirmed = [
        Outcome(name, value, 1e-3, purpose="confirm", seed=1000)
        for name, value in ((BASELINE, 1.0), (FULL, 2.0), (FULL, 2.0), (BASELINE, 1.0))
    ]
    step = next_step(EXACT, [*searched, *confirmed])
    assert step.found is not None
    assert step.found.winner == FULL
    assert step.found.simpler is None
    new = next_step(EXACT, [*searched, confirmed[0]])
    assert new.found is not None
    assert new.found.winner == PLAIN
