"""Quantiles with unknown values, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.evidence.audit.window import P99_NEEDS
from rooftune.metrics.quantiles import censored_quantile, order_interval, quantile

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(values=VALUES, q=st.floats(0, 1))
def test_a_quantile_is_numpys(values: list[float], q: float) -> None:
    assert quantile(np.array(values), q) == pytest.approx(float(np.percentile(values, 100 * q)), rel=1e-9, abs=1e-9)


@given(values=VALUES, more=st.lists(st.floats(0, 1e6), max_size=30), q=st.floats(0.01, 0.99), late=st.floats(0, 1e6))
def test_a_quoted_quantile_holds_whatever_the_unknown_values_are(
    values: list[float], more: list[float], q: float, late: float
) -> None:
    """Unknown values may be anywhere above their bounds; what is quoted may be off by 1 % at most."""
    found = censored_quantile(np.array(values), np.array(more), q)
    if found is not None:
        truth = quantile(np.concatenate([values, np.array(more) + late]), q)
        assert truth * 0.9999 <= found + 1e-9
        assert found <= truth * 1.0102 + 1e-9


def test_a_quantile_among_unknown_values_is_not_quoted() -> None:
    known, unknown = np.linspace(1, 2, 60), np.full(40, 1.0)
    assert censored_quantile(known, np.full(40, 10.0), 0.5) == pytest.approx(np.sort(known)[49], rel=0.02)
    assert censored_quantile(known, unknown, 0.5) is None
    assert censored_quantile(known, np.full(40, 10.0), 0.9) is None


@pytest.mark.parametrize(("q", "n"), [(0.5, 40), (0.9, 200), (0.99, 500)])
def test_order_intervals_cover(q: float, n: int) -> None:
    random = np.random.default_rng(5)
    truth = -np.log(1 - q)
    hits = 0
    for _ in range(600):
        found = order_interval(random.exponential(size=n), q)
        assert found is not None
        hits += found[0] <= truth <= found[1]
    assert 0.93 <= hits / 600 <= 0.99


def test_a_p99_needs_hundreds_of_requests() -> None:
    assert order_interval(np.arange(P99_NEEDS - 1.0), 0.99) is None
    assert order_interval(np.arange(float(P99_NEEDS)), 0.99) is not None
    assert order_interval(np.arange(5.0), 0.5) is None
