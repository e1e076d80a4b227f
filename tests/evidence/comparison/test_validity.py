"""The simulated error rates of the comparison, on a small scale: ``python -m benchmarks.validity`` is the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.validity.__main__ import LOOKS, ErrorRates, batch, broken, sides
from benchmarks.validity.scenes import SIMULATED_TRIALS, block_noise, scenes, trial_noise, trials

SIMULATED, QUIET, T4, APART = scenes()[:4]


def test_the_noise_is_that_of_the_t4s_own_lines() -> None:
    assert block_noise() == pytest.approx(0.017, abs=0.001)
    assert T4.block == block_noise()


def test_trials_vary_as_the_noise_says() -> None:
    random = np.random.default_rng(0)
    still = replace(T4, block=0.0, outliers=0.0, stalls=0.0, within_drift=0.0)
    logs, blocks = trials(still, np.zeros((4000, 2)), random)
    assert logs.std() == pytest.approx(still.between, rel=0.05)
    assert blocks.std(axis=-1).max() < 1e-12
    loud, _ = trials(replace(still, between=0.0, block=0.02, correlation=0.0), np.zeros((4000, 2)), random)
    assert loud.std() == pytest.approx(0.02 / np.sqrt(10), rel=0.05)


def test_both_sides_draw_the_same_requests_where_the_scene_says_so() -> None:
    quiet = replace(T4, between=0.0, block=0.0, outliers=0.0, stalls=0.0, within_drift=0.0, order_drift=0.0)
    a, b, others = sides(quiet, 0.0, 50, np.random.default_rng(0))
    assert a.logs == pytest.approx(b.logs)
    assert a.seeds == b.seeds
    assert len(others) == 4
    a, b, _ = sides(replace(quiet, shared=False), 0.0, 50, np.random.default_rng(0))
    assert not set(a.seeds) & set(b.seeds)


@pytest.mark.parametrize("noise", [SIMULATED, T4, APART])
def test_a_hundred_experiments_keep_the_error_rates(noise: object) -> None:
    random = np.random.default_rng(7)
    count = 100
    rows = [batch(noise, e, count, random) for e in (0.0, 0.05, -0.45)]  # type: ignore[arg-type]
    assert broken(rows, {}, count, count) == []
    assert rows[2].trials == 2


def test_a_large_effect_needs_two_trials_on_a_simulated_engine() -> None:
    found = batch(SIMULATED, 0.10, 100, np.random.default_rng(1), looks=LOOKS[:1])
    assert found.better >= 0.95


def test_the_noise_of_trials_is_that_of_the_files() -> None:
    """Half between trials and half within: together what was measured."""
    total = trial_noise(SIMULATED_TRIALS)
    assert 0.005 < total < 0.02
    still = replace(SIMULATED, within_drift=0.0)
    logs, _ = trials(still, np.zeros((20_000, 1)), np.random.default_rng(0))
    assert logs.std() == pytest.approx(total, rel=0.03)


def test_broken_error_rates_are_reported() -> None:
    good = ErrorRates("x", 0.0, 0.01, 0.01, 0.9, 0.08, 0.95, 4.0)
    assert broken([good], {"x": 0.03}, 1000, 100) == []
    assert "false findings" in broken([replace(good, better=0.08)], {}, 1000, 100)[0]
    assert "cover" in broken([replace(good, covered=0.85)], {}, 1000, 100)[0]
    assert "found" in broken([replace(good, effect=0.05, better=0.8)], {}, 1000, 100)[0]
    assert "candidates" in broken([], {"x": 0.2}, 1000, 100)[0]
