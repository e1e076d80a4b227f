"""The least squares that constants are fitted with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.simulator.calibration.least_squares import Free, fit

X = np.linspace(1, 20, 12)


def _line(values: dict[str, float]) -> np.ndarray:
    return np.asarray(values["fixed"] + values["slope"] * X)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 5.0), st.floats(0.1, 2.0))
def test_finds_the_constants_that_made_the_data(fixed: float, slope: float) -> None:
    measured = _line({"fixed": fixed, "slope": slope})
    found = fit({"fixed": Free(1.5, 3.0), "slope": Free(0.5, 3.0)}, _line, measured)
    assert found.values["fixed"] == pytest.approx(fixed, rel=0.03)
    assert found.values["slope"] == pytest.approx(slope, rel=0.03)


def test_one_wild_point_hardly_moves_the_fit() -> None:
    measured = _line({"fixed": 2.0, "slope": 0.7})
    measured[3] *= 3
    found = fit({"fixed": Free(1.5, 3.0), "slope": Free(0.5, 3.0)}, _line, measured)
    assert found.values["slope"] == pytest.approx(0.7, rel=0.1)


def test_what_the_data_do_not_tell_stays_at_its_prior() -> None:
    found = fit({"fixed": Free(2.0, 0.5), "unseen": Free(7.0, 0.5)}, lambda v: v["fixed"] + 0 * X, 3.0 + 0 * X)
    assert found.values["unseen"] == pytest.approx(7.0)
    assert found.values["fixed"] == pytest.approx(3.0, rel=0.01)


def test_a_bound_holds() -> None:
    found = fit({"fixed": Free(0.8, 2.0, most=0.98)}, lambda v: v["fixed"] + 0 * X, 3.0 + 0 * X)
    assert found.values["fixed"] == pytest.approx(0.98, rel=1e-6)
