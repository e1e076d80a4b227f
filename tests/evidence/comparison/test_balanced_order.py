"""The order of trials: every arm has the same mean place, so a steady drift cancels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.evidence.comparison.balanced_order import balanced_order, imbalance
from rooftune.evidence.comparison.least_squares import Arm, fit

ROUNDS = st.integers(1, 5).map(lambda n: 2 * n)


def places(arms: str, rounds: int) -> dict[str, list[float]]:
    order = balanced_order(arms, rounds)
    return {a: [float(i) for i, x in enumerate(order) if x == a] for a in arms}


@given(count=st.integers(2, 6), rounds=ROUNDS, drift=st.floats(-5, 5))
def test_a_linear_drift_cancels_exactly(count: int, rounds: int, drift: float) -> None:
    at = places("ABCDEF"[:count], rounds)
    means = [np.mean([drift * p for p in places]) for places in at.values()]
    assert means == pytest.approx([means[0]] * count, abs=1e-9)
    assert imbalance(at["A"], at["B"]) == pytest.approx(0)


@given(rounds=st.integers(1, 4).map(lambda n: 4 * n))
def test_with_four_rounds_a_quadratic_drift_cancels_too(rounds: int) -> None:
    at = places("AB", rounds)
    assert sum(p**2 for p in at["A"]) == sum(p**2 for p in at["B"])


def test_every_arm_runs_as_often_as_asked() -> None:
    assert balanced_order("AB", 4) == list("ABBABAAB")
    assert sorted(balanced_order("ABC", 3)) == sorted("ABC" * 3)
    assert imbalance([0, 1], [2, 3]) == imbalance([10, 11], [12, 13]) == pytest.approx(2 / 3)
    assert imbalance([5], [5]) == 0


@given(rounds=ROUNDS, gain=st.floats(-0.5, 0.5), drift=st.floats(-0.05, 0.05))
def test_the_comparison_recovers_a_ratio_under_drift(rounds: int, gain: float, drift: float) -> None:
    at = places("BA", rounds)
    a, b = (
        Arm(np.array([level + drift * p for p in at[who]]), tuple(range(rounds)), np.array(at[who]))
        for who, level in (("A", gain), ("B", 0.0))
    )
    assert math.isclose(fit(a, b).difference, gain, abs_tol=1e-9)
