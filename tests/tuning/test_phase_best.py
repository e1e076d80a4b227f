"""The configuration that stands for a phase."""

from __future__ import annotations

import math

import guided_world as made
import numpy as np
import pytest

from rooftune.tuning.guided.deciding import phase_bests
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.search import decide

PLAN = made.plan()


@pytest.mark.parametrize("seed", range(6))
def test_a_prediction_stands_for_a_phase_only_where_no_measured_configuration_is_as_good(seed: int) -> None:
    results = made.GuidedWorld(PLAN, family=0.03, seed=seed).search(budget=200, cost=14)
    decision, progress = decide(PLAN, results), Progress.of(PLAN, results)
    assert decision.search is not None
    look, phase_of = progress.look, {option.id: option.phase for option in progress.search.options}
    allowed = set()
    for found in decision.search.phases:
        allowed.add(found.phase)
        among = np.array([phase_of[option.id] in allowed for option in look.problem.options]) & (look.starts > 0.5)
        best, measured = look.posterior.mean[among].max(), look.posterior.mean[among & look.measured].max()
        as_good = measured > best - math.log1p(look.problem.rules.negligible)
        assert found.measured or not as_good


def test_a_recommended_configuration_without_a_trial_of_the_search_stands_for_its_phase() -> None:
    """As the simplest of equals, which the confirmation alone measures."""
    results = made.GuidedWorld(PLAN, family=0.03).search(budget=340, cost=14)
    progress = Progress.of(PLAN, results)
    look, options = progress.look, {option.id: option for option in progress.search.options}
    last = PLAN.phases[-1]
    own = next(
        o.id
        for i, o in enumerate(look.problem.options)
        if not look.measured[i] and look.starts[i] > 0.5 and options[o.id].phase == last
    )
    shown = {found.phase: found.option for found in phase_bests(progress, own)}
    assert shown[last] == own
    assert own not in {option for phase, option in shown.items() if phase != last}
