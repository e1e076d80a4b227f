"""Student's t without scipy, and boundaries for looking several times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.evidence.comparison.t_distribution import look_levels, spent_error, t_quantile, t_tail


@pytest.mark.parametrize(
    ("p", "freedom", "value"),
    [
        (0.025, 1, 12.7062), (0.025, 2, 4.3027), (0.025, 5, 2.5706), (0.025, 10, 2.2281), (0.025, 30, 2.0423),
        (0.05, 4, 2.1318), (0.005, 8, 3.3554), (0.0005, 3, 12.924), (0.025, 1e9, 1.95996), (0.1, 60, 1.2958),
    ],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(p: float, freedom: float, value: float) -> None:
    """Values from the usual printed tables of the t distribution."""
    assert t_quantile(p, freedom) == pytest.approx(value, rel=1e-4)


@given(p=st.floats(1e-5, 0.49), freedom=st.floats(0.5, 300) | st.floats(401, 1e6))
def test_tail_and_quantile_are_inverse(p: float, freedom: float) -> None:
    assert t_tail(t_quantile(p, freedom), freedom) == pytest.approx(p, rel=1e-6)


@given(freedom=st.floats(0.5, 100), p=st.floats(0.001, 0.4))
def test_fewer_degrees_of_freedom_mean_wider_intervals(freedom: float, p: float) -> None:
    assert t_quantile(p, freedom) > t_quantile(p, freedom * 1.5)


@given(most=st.integers(2, 8).map(lambda n: 2 * n), rate=st.floats(0.001, 0.2))
def test_each_look_may_spend_more_and_never_all(most: int, rate: float) -> None:
    looks = tuple(range(2, most + 1, 2))
    levels = look_levels(looks, rate)
    assert all(0 < level < rate for level in levels)
    assert all(early <= late * 1.001 for early, late in pairwise(levels))
    assert sum(levels) >= rate * 0.99
    assert spent_error(1.0, rate) == pytest.approx(rate)


def test_one_look_spends_everything() -> None:
    assert look_levels((6,), 0.05)[0] == pytest.approx(0.05, rel=1e-3)


def test_all_looks_together_err_at_the_stated_rate() -> None:
    """Sums of normal trials, looked at five times: the share that ever crosses is the error rate."""
    random = np.random.default_rng(3)
    looks, runs = (2, 4, 6, 8, 10), 200_000
    levels = look_levels(looks, 0.05)
    sums = np.cumsum(random.normal(size=(runs, 10)), axis=1)
    crossed = np.zeros(runs, dtype=bool)
    for look, level in zip(looks, levels, strict=True):
        crossed |= np.abs(sums[:, look - 1]) / np.sqrt(look) > t_quantile(level / 2, 1e9)
    assert crossed.mean() == pytest.approx(0.05, abs=0.002)
