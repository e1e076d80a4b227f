"""A block whose rounds are over: which candidate becomes the incumbent, and what the others' verdicts say."""

from __future__ import annotations

import pytest
import synthetic_run as made

from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.tuning.judge import Ruling, judge
from rooftune.tuning.plan import Plan, Verdict
from rooftune.tuning.state import Block, Search
from rooftune.tuning.verdicts import audit_reason, judged, settle

PLAN = made.plan_of(made.workload())
ONE_FLAG, ANOTHER, TWO_FLAGS = "batch-8", "batch-16", "awq-marlin-graphs"


def trials(who: str, value: float, count: int = 2, *, overloaded: bool = False) -> list[TrialResult]:
    """Trials of one configuration that differ by 0.1 %; a TPOT that falls as the throughput rises."""
    return [
        TrialResult(
            candidate=who, n=n, status="measured", workload="w", workload_hash="0", seed=n, position=n,
            overloaded=overloaded, simulated=True,
            metrics={"output_throughput": value * (1 + n / 1000), "median_tpot_ms": 1e4 / value * (1 + n / 1000)},
        )
        for n in range(1, count + 1)
    ]  # fmt: skip


def search(metric: str = "output_throughput") -> Search:
    goal = PLAN.objective.model_copy(update={"metric": metric, "slo": {}})
    plan: Plan = PLAN.model_copy(update={"objective": goal})
    configs = {c.id: c.config for c in plan.candidates}
    return Search(plan, [], budget_left_s=None, trial_cost_s=1.0, config=configs["baseline"], configs=configs)


def settled(state: Search, block: Block, *members: str, against: str = "baseline") -> dict[str, Verdict]:
    settle(state, block, [state.plan.candidate(who) for who in members], against)
    return {v.candidate: v for v in state.verdicts}


def block(**values: float) -> Block:
    """Members by name, with ``_`` for ``-``, and the value of each; the incumbent has 100."""
    names = {name.replace("_", "-"): value for name, value in values.items()}
    return Block(trials("baseline", 100), {who: trials(who, value) for who, value in names.items()})


@pytest.mark.parametrize("metric", ["output_throughput", "median_tpot_ms"])
@pytest.mark.parametrize(("first", "second"), [(150, 200), (200, 150), (150, 170), (170, 150)])
def test_the_best_of_the_better_ones_becomes_the_incumbent(metric: str, first: float, second: float) -> None:
    state = search(metric)
    members = block(batch_8=first, batch_16=second, awq_marlin_graphs=60)
    found = settled(state, members, ONE_FLAG, ANOTHER, TWO_FLAGS)
    best, other = (ONE_FLAG, ANOTHER) if first > second else (ANOTHER, ONE_FLAG)
    assert state.incumbent == best
    assert state.config == state.configs[best]
    assert found[best].verdict == "applied"
    assert found[other].verdict == "outdone"
    assert best in found[other].reason
    assert found[TWO_FLAGS].verdict == "no gain", "what is worse is not called outdone"
    assert state.incumbents == [best]
    assert (state.closing, state.offset) == (None, 0)


@pytest.mark.parametrize("simple", [ONE_FLAG, "awq-marlin"])
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_that_do_not_differ_the_one_with_fewer_flags_is_applied(simple: str, turned: bool) -> None:
    state = search()
    members = {simple: trials(simple, 150), TWO_FLAGS: trials(TWO_FLAGS, 150.3)}
    found = settled(state, Block(trials("baseline", 100), members), *sorted(members, reverse=turned))
    assert state.incumbent == simple
    assert found[TWO_FLAGS].verdict == "outdone"


@pytest.mark.parametrize(("overloaded", "verdict"), [(ONE_FLAG, "no gain"), ("baseline", "applied")])
def test_who_cannot_serve_the_whole_load_loses_whatever_it_delivers(overloaded: str, verdict: str) -> None:
    """Under overload a server delivers more tokens, and it would keep its users waiting ever longer."""
    state = search()
    values = {ONE_FLAG: 100, "baseline": 100, overloaded: 150}
    made_by = {who: trials(who, value, overloaded=who == overloaded) for who, value in values.items()}
    found = settled(state, Block(made_by["baseline"], {ONE_FLAG: made_by[ONE_FLAG]}), ONE_FLAG)[ONE_FLAG]
    assert found.verdict == verdict
    assert "the whole load" in found.reason


def test_fewer_flags_do_not_outweigh_a_gain() -> None:
    state = search()
    settled(state, block(batch_8=150, awq_marlin_graphs=200), ONE_FLAG, TWO_FLAGS)
    assert state.incumbent == TWO_FLAGS


@pytest.mark.parametrize(("first", "second"), [(150, 150.3), (150.3, 150)])
def test_of_two_with_as_many_flags_that_do_not_differ_the_faster_is_applied(first: float, second: float) -> None:
    state = search()
    settled(state, block(batch_8=first, batch_16=second), ONE_FLAG, ANOTHER)
    assert state.incumbent == (ONE_FLAG if first > second else ANOTHER)


def test_to_serve_the_whole_load_comes_before_throughput() -> None:
    state = search()
    members = {ONE_FLAG: trials(ONE_FLAG, 300, overloaded=True), ANOTHER: trials(ANOTHER, 150)}
    settled(state, Block(trials("baseline", 100, overloaded=True), members), ONE_FLAG, ANOTHER)
    assert state.incumbent == ANOTHER


def test_what_was_measured_on_the_baseline_cannot_replace_another_incumbent() -> None:
    state = search()
    state.incumbent = "awq-marlin"
    found = settled(state, block(batch_8=200), ONE_FLAG)
    assert state.incumbent == "awq-marlin"
    assert found[ONE_FLAG].verdict == "outdone"
    assert "measured on the baseline" in found[ONE_FLAG].reason
    assert state.closing is None


def test_without_a_winner_the_last_trial_of_the_incumbent_opens_the_next_block() -> None:
    state = search()
    for offset in (1, 0, 1):
        members = block(batch_8=60)
        settled(state, members, ONE_FLAG)
        assert state.closing == members.incumbent[-1]
        assert state.offset == offset, "the next block begins with the other seed"
    assert state.incumbents == ["baseline"] * 3


@pytest.mark.parametrize("count", [1, 3, 4])
def test_an_extended_block_does_not_open_the_next_one(count: int) -> None:
    state = search()
    state.offset = 1
    settled(state, Block(trials("baseline", 100, count), {ONE_FLAG: trials(ONE_FLAG, 60, count)}), ONE_FLAG)
    assert (state.closing, state.offset) == (None, 0)


@pytest.mark.parametrize(
    ("stopped", "count", "reason"),
    [
        ("the budget ended", 1, "the budget ended; it was measured once, but a verdict needs two trials"),
        ("the budget ended", 0, "the budget ended; no trial of it fitted"),
        ("", 0, "the budget ended; no trial of it fitted"),
        ("a stop", 1, "a stop"),
        ("the incumbent could no longer be measured", 0, "the incumbent could no longer be measured"),
    ],
)
def test_a_member_without_two_trials_was_not_run_and_says_why(stopped: str, count: int, reason: str) -> None:
    state = search()
    state.stopped = stopped
    found = settled(state, Block(trials("baseline", 100), {ONE_FLAG: trials(ONE_FLAG, 200, count)}), ONE_FLAG)
    assert (found[ONE_FLAG].verdict, found[ONE_FLAG].reason) == ("not run", reason)
    assert found[ONE_FLAG].trials == list(range(1, count + 1))


def test_a_dropped_member_keeps_its_ruling() -> None:
    state = search()
    members = block(batch_8=200)
    members.dropped[ONE_FLAG] = Ruling("not trusted", "The client sent late.")
    found = settled(state, members, ONE_FLAG)
    assert (found[ONE_FLAG].verdict, found[ONE_FLAG].reason) == ("not trusted", "The client sent late.")
    assert state.incumbent == "baseline"


def test_a_verdict_names_the_trials_of_both_sides_and_the_command() -> None:
    state = search()
    members = Block(trials("baseline", 100, 4), {ONE_FLAG: trials(ONE_FLAG, 200)})
    found = settled(state, members, ONE_FLAG)[ONE_FLAG]
    assert (found.trials, found.against, found.against_trials) == ([1, 2], "baseline", [1, 2])
    assert "--max-num-seqs 8" in found.command
    assert found.flags["max_num_seqs"] == 8
    assert found.metric == "output_throughput"
    assert found.ratios["output_throughput"].estimate == pytest.approx(2.0)


def test_a_judgement_is_corrected_for_every_candidate_that_could_run() -> None:
    state = search()
    members = block(batch_8=103)
    runnable = [c for c in state.plan.candidates[1:] if c.runnable]
    goal = state.plan.objective
    found = judged(state, members, ONE_FLAG, "baseline").reason
    assert "corrected for many candidates" in found
    by_count = {n: judge(members.members[ONE_FLAG], members.incumbent, goal, "baseline", n).reason for n in (1, 2)}
    assert by_count[1] != by_count[2]
    assert found == judge(members.members[ONE_FLAG], members.incumbent, goal, "baseline", len(runnable)).reason


def test_the_first_check_that_failed_is_the_reason() -> None:
    def check(status: str, sentence: str) -> Check:
        return Check(id=sentence, status=status, sentence=sentence)  # type: ignore[arg-type]

    trial = trials(ONE_FLAG, 100, 1)[0]
    checks = [check("warn", "Slow."), check("fail", "Late."), check("fail", "Lost.")]
    assert audit_reason(trial.model_copy(update={"checks": checks})) == "Late."
    assert audit_reason(trial) == "the audit failed"
