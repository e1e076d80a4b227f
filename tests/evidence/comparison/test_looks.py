"""The numbers behind a comparison: levels of its looks, weights of its evidence, and the trials that it asks for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rooftune.evidence.comparison.compare import (
    EQUIVALENCE,
    LEAST_TRUST,
    MOST_TRIALS,
    OTHERS_FREEDOM,
    SHOWN,
    SHOWN_LATER,
    SIMULATED,
    SMALLEST_EFFECT,
    compare_arms,
    decision_level,
    moderated,
)
from rooftune.evidence.comparison.least_squares import Arm, LeastSquaresFit, fit
from rooftune.evidence.comparison.t_distribution import look_levels, t_quantile

METRIC = "output_throughput"


def side(logs: list[float], positions: list[int], *, seed: int = 0) -> Arm:
    seeds = tuple(range(seed, seed + len(logs)))
    return Arm(np.array(logs), seeds, np.array(positions, dtype=float), simulated=True)


def around(level: float, spread: float, trials: int) -> list[float]:
    """An even number of values with this mean and this standard deviation."""
    step = spread * math.sqrt((trials - 1) / trials)
    return [level + step, level - step] * (trials // 2)


@pytest.mark.parametrize(("most", "looks"), [(6, (2, 4, 6)), (5, (2, 4, 5)), (2, (2,)), (1, (1,))])
def test_looks_are_after_every_second_trial_and_at_the_end(most: int, looks: tuple[int, ...]) -> None:
    levels = look_levels(looks, 0.05)
    for trials in range(1, most + 3):
        look = next((i for i, n in enumerate(looks) if trials <= n), len(looks) - 1)
        assert decision_level(trials, 0.05, most) == levels[look]


@pytest.mark.parametrize(("trials", "shown"), [(2, SHOWN), (4, SHOWN_LATER)])
def test_the_interval_shown_has_its_own_level_at_the_first_look(trials: int, shown: float) -> None:
    a = side(around(0.1, 0.01, trials), list(range(trials)), seed=100)
    b = side(around(0.0, 0.01, trials), list(range(trials)))
    found = compare_arms(a, b, METRIC)
    assert found.decision_high is not None
    freedom = round(fit(a, b).freedom + SIMULATED.freedom, 1)
    decides = decision_level(trials, 0.05)
    ratio = math.log(found.high / found.estimate) / math.log(found.decision_high / found.estimate)
    assert ratio == pytest.approx(t_quantile(shown / 2, freedom) / t_quantile(decides / 2, freedom))


def test_a_drift_over_the_order_is_removed_from_eight_trials_on() -> None:
    """Trials of one side before those of the other: only the fitted drift separates it from the difference."""

    def difference(first: int, last: int) -> float:
        places = list(range(50, 50 + first + last))
        logs = [0.01 * p for p in places]
        a = side([x + 0.05 for x in logs[first:]], places[first:], seed=100)
        return fit(a, side(logs[:first], places[:first])).difference

    assert difference(4, 4) == pytest.approx(0.05)
    assert difference(4, 3) == pytest.approx(0.05 + 0.01 * 3.5)


def test_other_configurations_replace_the_expectation_from_elsewhere() -> None:
    own = LeastSquaresFit(difference=0.0, scale=1.0, squares=0.0, freedom=2, paired=False)
    together = LeastSquaresFit(difference=0.0, scale=1.0, squares=20 * 0.5, freedom=22, paired=False)
    alone = moderated(own, 1.0, 3.0)
    assert (alone.variance, alone.freedom) == (pytest.approx(3 / 5), 5)
    found = moderated(own, 1.0, 3.0, together)
    assert found.freedom == pytest.approx(2 + OTHERS_FREEDOM + LEAST_TRUST)
    assert found.variance == pytest.approx((OTHERS_FREEDOM * 0.5 + LEAST_TRUST) / found.freedom)
    assert moderated(own, 1.0, 3.0, own) == alone


@pytest.mark.parametrize("difference", [0.03, -0.025])
def test_the_trials_asked_for_are_those_after_which_the_difference_would_decide(difference: float) -> None:
    found = compare_arms(
        side(around(difference, 0.03, 2), [0, 3], seed=100), side(around(0.0, 0.03, 2), [1, 2]), METRIC
    )
    assert found.answer == "more trials needed"
    assert found.spread is not None
    final = t_quantile(decision_level(MOST_TRIALS, 0.05) / 2, 10.0)

    def half_width(trials: int) -> float:
        return final * found.spread * math.sqrt(2 / trials) if found.spread else 0.0

    trials = 2 + found.more_trials
    assert half_width(trials) <= abs(difference) < half_width(trials - 1)


def test_a_difference_that_does_not_matter_asks_for_trials_that_show_it_to_be_small() -> None:
    found = compare_arms(side(around(0.005, 0.03, 2), [0, 3], seed=100), side(around(0.0, 0.03, 2), [1, 2]), METRIC)
    assert found.answer == "more trials needed"
    assert found.spread is not None
    room = math.log1p(SMALLEST_EFFECT) - 0.005
    needed = 2 * (found.spread * t_quantile(EQUIVALENCE, 10.0) / room) ** 2
    assert found.more_trials == math.ceil(needed) - 2


def test_a_comparison_that_continues_asks_for_at_least_one_trial() -> None:
    found = compare_arms(side(around(0.5, 0.02, 2), [0, 1], seed=100), side([0.0], [2]), METRIC)
    assert (found.answer, found.more_trials) == ("more trials needed", 1)
