"""The search: balanced order, resumable, within its budget, right about synthetic servers."""

from __future__ import annotations

import pytest
import synthetic_run as made
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.entries import Extension, extend
from rooftune.tuning.playbook import default_playbook, with_candidates
from rooftune.tuning.search import decide, next_trial

EQUALS = {"batch-8", "batch-16", "batch-32", "awq-marlin", "fp8-kv"}
LOAD = made.workload()
PLAN = made.plan_of(LOAD)


def verdicts(results: list[TrialResult]) -> dict[str, str]:
    return {v.candidate: v.verdict for v in decide(PLAN, results).verdicts}


def test_baseline_first_and_balanced_after() -> None:
    results = made.World(PLAN).search()
    order = [r.candidate for r in results]
    first = order[: order.index("baseline", 1) + 1]
    assert first[0] == first[-1] == "baseline"
    assert first == first[::-1], "a block is a palindrome, so a linear drift cancels"
    assert [r.position for r in results] == list(range(len(results)))


def test_each_side_of_a_pair_draws_the_same_requests() -> None:
    results = made.World(PLAN).search()
    decision = decide(PLAN, results)
    seeds = {(r.candidate, r.n): r.seed for r in results}
    for v in decision.verdicts:
        if v.ratios:
            ours = sorted(seeds[v.candidate, n] for n in v.trials)
            theirs = sorted(seeds[v.against, n] for n in v.against_trials)
            assert ours == theirs, v.candidate
            assert len(v.trials) >= 2
            assert set(ours[:2]) == {LOAD.seed, LOAD.seed + 1}, "the first pair draws two different samples"


def test_the_truth_of_the_published_case_is_found() -> None:
    results = made.World(PLAN).search()
    found = verdicts(results)
    assert found["batch-8"] == "no gain"
    assert found["awq-marlin-graphs"] == "applied"
    assert found["chunked-prefill"] == found["prefix-caching"] == "already on"
    assert found["attention-flash"] == "not supported"
    decision = decide(PLAN, results)
    assert decision.incumbent == "awq-marlin-graphs"
    assert "--quantization awq_marlin" in decision.command
    assert "--enforce-eager" not in decision.command
    ratio = next(v for v in decision.verdicts if v.candidate == "batch-8").ratios["output_throughput"]
    assert ratio.low < 200 / 365 < ratio.high
    assert decision.complete


def test_overload_comes_first() -> None:
    sentence = decide(PLAN, made.World(PLAN).search()).first_sentence
    assert sentence.startswith(
        "chat-medium asks for 20 requests/s, and the best configuration found (awq-marlin-graphs)"
    )
    assert "serves about 5.1 requests/s (26 %) on a T4 (simulated)." in sentence


def test_a_drift_does_not_make_a_winner() -> None:
    world = made.World(PLAN, rates=dict.fromkeys(made.RATES, 365.0), noise=0.002)
    world.drift_per_trial = 0.005
    decision = decide(PLAN, world.search())
    assert decision.incumbent == "baseline"


def test_failures_are_verdicts_and_not_measured_again() -> None:
    world = made.World(PLAN)
    world.failing["awq-marlin-graphs"] = "T4 (sm_75) lacks bfloat16; use --dtype half."
    results = world.search()
    failed = next(v for v in decide(PLAN, results).verdicts if v.candidate == "awq-marlin-graphs")
    assert failed.verdict == "failed"
    assert failed.reason == "T4 (sm_75) lacks bfloat16; use --dtype half."
    assert sum(r.candidate == "awq-marlin-graphs" for r in results) == 1
    assert "awq-marlin" in decide(PLAN, results).incumbents


def test_a_doubted_trial_is_run_again_and_then_not_trusted() -> None:
    world = made.World(PLAN)
    world.doubted = {"batch-16"}
    results = world.search()
    found = next(v for v in decide(PLAN, results).verdicts if v.candidate == "batch-16")
    assert found.verdict == "not trusted"
    assert "disturbed" in found.reason
    assert sum(r.candidate == "batch-16" for r in results) == 2


def test_a_client_kept_from_sending_may_try_twice_more() -> None:
    """Other work on the machine is not the configuration's fault, so it does not end a search at once."""
    world = made.World(PLAN)
    world.late_sends = {"baseline": {1, 2, 4, 5}, "batch-16": {1, 2}}
    results = world.search()
    found = {v.candidate: v for v in decide(PLAN, results).verdicts}
    assert found["baseline"].verdict == "applied"
    assert found["baseline"].trials == [3]
    assert found["batch-16"].verdict == "no gain"
    assert not {1, 2} & set(found["batch-16"].trials)
    assert not {1, 2, 4, 5} & set(found["batch-16"].against_trials)


def test_a_client_that_never_sends_on_time_ends_the_search() -> None:
    world = made.World(PLAN)
    world.late_sends = {"baseline": {1, 2, 3}}
    results = world.search()
    assert len(results) == 3
    assert "The client sent late" in decide(PLAN, results).first_sentence


def test_a_baseline_that_fails_ends_the_search() -> None:
    world = made.World(PLAN)
    world.failing["baseline"] = "The port is taken."
    results = world.search()
    decision = decide(PLAN, results)
    assert {r.candidate for r in results} == {"baseline"}
    assert "The port is taken" in decision.first_sentence
    assert not decision.complete
    found = {v.candidate: v for v in decision.verdicts}
    assert found["batch-8"].verdict == "not run"
    assert found["batch-8"].reason == "the baseline failed: The port is taken."
    assert found["attention-flash"].verdict == "not supported", "a gate closes whether or not the search could start"


def test_a_baseline_that_is_not_trusted_ends_the_search() -> None:
    world = made.World(PLAN)
    world.doubted.add("baseline")
    found = {v.candidate: v for v in decide(PLAN, world.search()).verdicts}
    assert found["batch-8"].verdict == "not run"
    assert found["batch-8"].reason == "the baseline is not trusted: The window was disturbed."


def test_nothing_measured_still_gives_a_decision() -> None:
    decision = decide(PLAN, [])
    assert decision.incumbent == "baseline"
    assert not decision.complete
    assert all(v.verdict != "applied" for v in decision.verdicts)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 5))
@pytest.mark.slow
def test_the_budget_is_kept_and_skipped_candidates_are_reported(trials: int, seed: int) -> None:
    results = made.World(PLAN, seed=seed).search(budget=trials * 10.0)
    assert len(results) <= trials
    decision = decide(PLAN, results)
    assert all(len(v.trials) != 1 for v in decision.verdicts[1:]), "no trial is spent that no verdict can use"
    for v in decision.verdicts:
        if v.ratios:
            assert len(v.trials) >= 2
            assert len(v.against_trials) >= 2
    if any(v.verdict == "not run" for v in decision.verdicts):
        assert not decision.complete
        assert all("budget" in v.reason for v in decision.verdicts if v.verdict == "not run")


@pytest.mark.parametrize(("budget", "count"), [(1, 1), (2, 1), (3, 1), (4, 4), (5, 4)])
def test_a_candidate_starts_only_if_the_way_back_to_the_incumbent_fits(budget: int, count: int) -> None:
    """Two trials of the candidate and the incumbent after them."""
    results = made.World(PLAN).search(budget=budget * 10.0)
    assert len(results) == count
    assert [r.candidate for r in results] == ["baseline", "batch-8", "batch-8", "baseline"][:count]


def test_more_trials_begin_as_soon_as_the_budget_also_covers_every_untried_candidate() -> None:
    """Two rounds of the undecided one, and for each later group two trials per member and two of the incumbent."""
    world = made.World(PLAN, rates={"batch-8": 200.0, "batch-16": 250.0, "batch-32": 355.0}, noise=0.02, seed=1)
    block = world.search(most=8)
    assert [v.candidate for v in decide(PLAN, block).verdicts if v.verdict == "more trials needed"] == ["batch-32"]
    later: dict[tuple[str, str, str], int] = {}
    for c in PLAN.candidates[1:]:
        if c.runnable and c.group != "batch limit":
            later[c.phase, c.group or c.id, c.on] = later.get((c.phase, c.group or c.id, c.on), 0) + 1
    needed = 2 * (1 + 1) + sum(2 * members + 2 for members in later.values())

    def follows(trials: int) -> str:
        order = next_trial(PLAN, block, trials * 10.0, 10.0)
        return order.candidate if order is not None else ""

    assert follows(needed) in ("batch-32", "baseline")
    assert follows(needed - 1) not in ("batch-32", "baseline")


@pytest.mark.parametrize("noise", [0.02, 0.04])
def test_more_trials_come_in_pairs(noise: float) -> None:
    decision = decide(PLAN, made.World(PLAN, noise=noise, seed=3).search())
    counts = [len(v.trials) for v in decision.verdicts if v.ratios]
    assert max(counts) > 2
    assert all(count % 2 == 0 for count in counts), "a round out and a round back"


def test_a_candidate_with_the_flags_of_the_incumbent_is_already_on() -> None:
    book = with_candidates(default_playbook(), ["same=max_model_len=2048"], "0.15.1")
    world = made.World(made.plan_of(LOAD, playbook=book))
    found = {v.candidate: v for v in decide(world.plan, world.search()).verdicts}
    assert found["same"].verdict == "already on"
    assert found["same"].reason == "awq-marlin-graphs already has these flags"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 40), st.integers(0, 3), st.floats(0.002, 0.03))
@pytest.mark.slow
def test_a_killed_run_resumes_where_it_stopped(cut: int, seed: int, noise: float) -> None:
    whole = made.World(PLAN, seed=seed, noise=noise).search()
    order = next_trial(PLAN, list(reversed(whole[:cut])), None, 10.0)
    expected = whole[cut] if cut < len(whole) else None
    if expected is None:
        assert order is None
    else:
        assert order is not None
        assert (order.candidate, order.n, order.seed) == (expected.candidate, expected.n, expected.seed)
        assert order.config.flags() == expected.flags


def test_candidates_build_on_the_incumbent() -> None:
    results = made.World(PLAN).search()
    fp8 = next(r for r in results if r.candidate == "fp8-kv")
    assert fp8.flags["quantization"] == "awq_marlin"
    assert "enforce_eager" not in fp8.flags


def test_own_candidate_that_fails_at_start() -> None:
    book = with_candidates(default_playbook(), ["bad=max_num_seqs=12"], "0.15.1")
    plan = made.plan_of(LOAD, playbook=book)
    world = made.World(plan)
    world.failing["bad"] = "it died"
    found = {v.candidate: v for v in decide(plan, world.search()).verdicts}
    assert found["bad"].verdict == "failed"


def test_the_slo_comes_before_throughput() -> None:
    load = made.workload(rate=1.0)
    plan = made.plan_of(load)
    world = made.World(plan, rates={"batch-8": 500.0, "baseline": 365.0})
    results = []
    for trial in world.search(budget=80):
        trial.overloaded = False
        good = 0.5 if trial.candidate == "batch-8" else 1.0
        trial.metrics["slo_attainment"] = good
        results.append(trial)
    found = {v.candidate: v for v in decide(plan, results).verdicts}
    assert found["batch-8"].verdict == "no gain"
    assert "SLO" in found["batch-8"].reason


@pytest.mark.slow
def test_equal_configurations_yield_a_finding_in_at_most_five_per_cent_of_searches() -> None:
    """The procedure promises this error rate over all candidates and all looks (``compare``, ``error_rate``).

    40 searches decide it: at most 2 may err. Without its corrections the procedure errs in half of the searches; one
    that errs in 25 % would pass with a probability of 0.1 %. The naive rule shows that the trials do invite findings.
    """
    searches, noise = 40, 0.02
    playbook = extend(
        default_playbook(), Extension(drop=[e.id for e in default_playbook().candidates if e.id not in EQUALS])
    )
    plan = made.plan_of(LOAD, playbook=playbook)
    findings = naive = 0
    for seed in range(searches):
        results = made.World(plan, dict.fromkeys(made.RATES, 365.0), noise, seed).search()
        decision = decide(plan, results)
        measured = [v for v in decision.verdicts if v.ratios]
        assert {v.candidate for v in measured} == EQUALS
        findings += any(v.verdict in ("applied", "outdone", "no gain") for v in measured)
        first = {r.candidate: r.metrics["output_throughput"] for r in reversed(results)}
        naive += any(first[c] > 1.02 * first["baseline"] for c in EQUALS)
    assert findings <= 0.05 * searches
    assert naive >= 0.25 * searches


@pytest.mark.parametrize("trials", [24, 26, 28, 30, 34])
def test_untried_candidates_come_before_more_trials_of_equal_ones(trials: int) -> None:
    """A candidate without effect gets more trials only if no untried candidate needs them."""
    world = made.World(PLAN, rates={"cuda-graphs-decode": 362.0})
    results = world.search(budget=trials * 10.0)
    found = verdicts(results)
    assert [c for c, v in found.items() if v == "not run"] == []
    assert len(results) <= trials
