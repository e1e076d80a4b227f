"""A ladder ends with the winner beside the baseline on prompts that the search never sent."""

from __future__ import annotations

import pytest
import synthetic_run as made

from rooftune.evidence.records.trial import TrialResult
from rooftune.search.confirm import is_fresh
from rooftune.tuning.search import decide, next_trial


@pytest.fixture(scope="module")
def run() -> made.World:
    return made.World(made.plan_of(made.workload()).model_copy(update={"splits_prompts": True}))


@pytest.fixture(scope="module")
def trials(run: made.World) -> list[TrialResult]:
    return run.search()


def fresh(run: made.World, trials: list[TrialResult]) -> list[TrialResult]:
    return [t for t in trials if is_fresh(t.seed, run.plan.objective.seed)]


def test_two_pairs_follow_the_search_and_do_not_change_its_verdicts(run: made.World, trials: list[TrialResult]) -> None:
    found = fresh(run, trials)
    winner = decide(run.plan, trials).incumbent
    assert winner != "baseline"
    assert [t.candidate for t in found] == ["baseline", winner, winner, "baseline"]
    assert found == trials[-4:]
    first = run.plan.objective.seed
    assert [t.seed - first for t in found] == [1000, 1000, 1001, 1001]
    assert decide(run.plan, trials) == decide(run.plan, trials[:-4])
    assert len({(t.candidate, t.n) for t in trials}) == len({t.position for t in trials}) == len(trials)


def test_a_killed_run_goes_on_with_the_same_trials(run: made.World, trials: list[TrialResult]) -> None:
    for cut in range(len(trials) - 5, len(trials)):
        order = next_trial(run.plan, list(reversed(trials[:cut])), None, 10.0)
        assert order is not None
        assert (order.candidate, order.n, order.seed) == (trials[cut].candidate, trials[cut].n, trials[cut].seed)
    assert next_trial(run.plan, trials, None, 10.0) is None


def test_without_a_split_or_room_in_the_budget_there_are_none(run: made.World, trials: list[TrialResult]) -> None:
    whole = run.plan.model_copy(update={"splits_prompts": False})
    assert next_trial(whole, trials[:-4], None, 10.0) is None
    assert next_trial(run.plan, trials[:-4], 19.0, 10.0) is None
    assert next_trial(run.plan, trials[:-3], 10.0, 10.0) is not None, "the second half of a pair"
