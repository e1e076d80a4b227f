"""The test of a loss: which intervals pass, fail or stay open, on plain numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rooftune.errors import InputError
from rooftune.evidence.comparison.least_squares import Arm
from rooftune.gate.loss import RUNS_FOR_SPREAD, Bound, Design, Sides, between_runs, judge_arms, parse_loss, pooled

RATE, TIME = "output_throughput", "median_ttft_ms"


def arm(level: float, count: int, spread: float = 0.004, seed: int = 0, first_seed: int = 0) -> Arm:
    """Trials around a level; their mean is exactly that level."""
    noise = np.random.default_rng(seed).normal(0, spread, count)
    logs = math.log(level) + noise - noise.mean()
    return Arm(logs=logs, seeds=tuple(range(first_seed, first_seed + count)), positions=np.arange(count, dtype=float))


@pytest.mark.parametrize(("text", "value"), [("3%", 0.03), ("0.03", 0.03), ("3 %", 0.03), ("50%", 0.5)])
def test_a_bound_as_users_write_it(text: str, value: float) -> None:
    assert parse_loss(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["3", "0", "-3%", "60%", "much", "nan"])
def test_a_bound_that_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--max-loss"):
        parse_loss(text)


@pytest.mark.parametrize("design", ["beside", "apart", "given"])
@pytest.mark.parametrize(("metric", "worse"), [(RATE, 0.90), (TIME, 1.10)])
def test_no_change_passes_and_a_large_loss_fails(design: Design, metric: str, worse: float) -> None:
    reference = arm(100, 8)
    same = judge_arms(Sides(arm(100, 8, seed=1), (reference,)), metric, 0.03, design)
    lost = judge_arms(Sides(arm(100 * worse, 8, seed=1), (reference,)), metric, 0.03, design)
    gained = judge_arms(Sides(arm(100 / worse, 8, seed=1), (reference,)), metric, 0.03, design)
    assert [same.verdict, lost.verdict, gained.verdict] == ["no loss", "loss", "no loss"]
    assert lost.ratio is not None
    assert lost.ratio.estimate == pytest.approx(worse)


@pytest.mark.parametrize("metric", [RATE, TIME])
def test_a_loss_of_the_bound_stays_open(metric: str) -> None:
    level = 100 * Bound(0.03, lower_is_better=metric == TIME).ratio
    found = judge_arms(Sides(arm(level, 8, seed=1), (arm(100, 8),)), metric, 0.03, "beside")
    assert found.verdict == "not enough evidence"
    assert found.more_trials is None, "no number of trials decides it"


def test_the_same_numbers_with_more_noise_prove_less() -> None:
    quiet = judge_arms(Sides(arm(99.5, 4, 0.002, 1), (arm(100, 4, 0.002),)), RATE, 0.03, "beside")
    loud = judge_arms(Sides(arm(99.5, 4, 0.05, 1), (arm(100, 4, 0.05),)), RATE, 0.03, "beside")
    assert quiet.verdict == "no loss"
    assert loud.verdict == "not enough evidence"
    assert loud.more_trials
    assert quiet.more_trials is None


@pytest.mark.parametrize(("ours", "theirs"), [(1, 8), (8, 1), (0, 8), (8, 0)])
def test_one_trial_decides_nothing(ours: int, theirs: int) -> None:
    sides = Sides(arm(50, ours) if ours else pooled([]), (arm(100, theirs),) if theirs else ())
    found = judge_arms(sides, RATE, 0.03, "apart")
    assert found.verdict == "not enough evidence"
    assert "two are needed" in found.reason


def test_a_small_reference_cannot_be_made_up_for() -> None:
    """With two trials on the other side, no number of new ones narrows the interval enough."""
    found = judge_arms(Sides(arm(100, 12, 0.02, 1, first_seed=50), (arm(100, 2, 0.02),)), RATE, 0.02, "apart")
    assert found.verdict == "not enough evidence"
    assert found.more_trials is None


def test_the_median_of_the_runs_is_the_reference() -> None:
    runs = tuple(arm(level, 4, seed=i) for i, level in enumerate([100, 101, 60]))
    found = judge_arms(Sides(arm(100, 8, seed=9), runs), RATE, 0.03, "apart")
    assert found.ratio is not None
    assert found.ratio.estimate == pytest.approx(1.0, abs=0.005), "neither 101 nor 60 decides"
    assert found.reference_trials == 12


def test_moving_runs_to_their_median_keeps_the_variance_within_them() -> None:
    random = np.random.default_rng(3)
    runs = [Arm(random.normal(level, 0.02, 3), (0, 1, 2), np.zeros(3)) for level in random.normal(0, 1, 4000)]
    assert pooled(runs).logs.std() == pytest.approx(0.02, rel=0.03)


def test_runs_that_vary_widen_the_interval() -> None:
    steady = tuple(arm(100, 4, seed=i) for i in range(8))
    jumpy = tuple(arm(100 * (1 + 0.02 * (-1) ** i), 4, seed=i) for i in range(8))
    new = arm(100, 8, seed=20)
    calm, wild = (judge_arms(Sides(new, runs), RATE, 0.03, "apart") for runs in (steady, jumpy))
    assert calm.verdict == "no loss"
    assert wild.verdict == "not enough evidence"
    assert wild.between_runs == pytest.approx(0.021, rel=0.1)
    assert between_runs(jumpy[: RUNS_FOR_SPREAD - 1], 0.004) is None
