"""The posterior is exact, and learns what options share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import BASELINE, drawn_truth, name_of, problem

from rooftune.search.factors import shared_errors
from rooftune.search.gain import chance_left, outlook
from rooftune.search.options import ErrorSizes, Noise, Outcome
from rooftune.search.posterior import posterior

P = problem()
NAMES = [o.id for o in P.options]
TRIALS = st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0.5, 2.0), st.floats(0.005, 0.1)), min_size=1, max_size=8)


def outcomes(of: list[tuple[str, float, float]]) -> list[Outcome]:
    return [Outcome(name, value, error) for name, value, error in of]


@given(TRIALS)
@settings(max_examples=30, deadline=None)
def test_it_equals_the_textbook_formula_with_full_matrices(trials: list[tuple[str, float, float]]) -> None:
    found = posterior(P, outcomes(trials))
    errors = shared_errors(P).scaled(found.scale)
    prior = errors.loadings @ errors.loadings.T + np.diag(errors.residual**2)
    which = [P.at(name) for name, _, _ in trials]
    at = np.arange(len(trials))
    noise = np.diag([e**2 + P.noise.start**2 for _, _, e in trials]) + P.noise.drift**2 * np.minimum.outer(at, at)
    gain = prior[:, which] @ np.linalg.inv(prior[np.ix_(which, which)] + noise)
    means = np.array([o.predicted_log for o in P.options])
    full = prior - gain @ prior[which, :]
    assert found.mean == pytest.approx(means + gain @ ([v for _, v, _ in trials] - means[which]), abs=1e-8)
    assert found.sd == pytest.approx(np.sqrt(np.diag(full)), abs=1e-7)
    assert found.covariance_with(3) == pytest.approx(full[:, 3], abs=1e-8)
    assert found.covariance(np.arange(5)) == pytest.approx(full[:5, :5], abs=1e-8)


@given(TRIALS)
@settings(max_examples=30, deadline=None)
def test_without_drift_the_order_of_trials_does_not_matter(trials: list[tuple[str, float, float]]) -> None:
    still = replace(P, noise=Noise(drift=0.0))
    one, other = posterior(still, outcomes(trials)), posterior(still, outcomes(trials[::-1]))
    assert one.mean == pytest.approx(other.mean, abs=1e-9)
    assert one.scale == other.scale


@given(TRIALS)
@settings(max_examples=30, deadline=None)
def test_at_equal_scale_a_trial_never_makes_anything_less_certain(trials: list[tuple[str, float, float]]) -> None:
    few = trials[:2]
    before, after = posterior(P, outcomes(few[:1])), posterior(P, outcomes(few))
    assert (after.sd <= before.sd + 1e-9).all()


def test_options_that_differ_in_a_batch_limit_share_most_of_their_error_and_other_weights_do_not() -> None:
    value = P.option(BASELINE).predicted_log - 0.3
    found = posterior(P, [Outcome(BASELINE, value, 0.01)])
    change = found.mean - np.array([o.predicted_log for o in P.options])
    near = change[P.at(name_of("none", "auto", 128, 2048))]
    far = change[P.at(name_of("fp8", "fp8", 128, 2048))]
    assert near < -0.25
    assert near < far - 0.05 < -0.05


def test_surprising_trials_widen_the_errors_and_expected_ones_leave_them() -> None:
    chosen = [name_of(w, k, 128, 2048) for w in ("none", "fp8", "awq") for k in ("auto", "fp8")]
    offsets = (0.4, -0.4, 0.3, -0.3, 0.35, -0.35)
    wild = [Outcome(n, P.option(n).predicted_log + d, 0.01) for n, d in zip(chosen, offsets, strict=True)]
    tame = [Outcome(n, P.option(n).predicted_log, 0.01) for n in chosen]
    assert posterior(P, wild).scale > 1 == posterior(P, tame).scale


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Truth drawn from the prior itself: 90 % intervals of unmeasured options hold about 90 % of it."""
    errors = shared_errors(P)
    held, ratios = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = np.array([o.predicted_log for o in P.options])
        truth = truth + errors.loadings @ rng.standard_normal(errors.loadings.shape[1])
        truth = truth + errors.residual * rng.standard_normal(len(truth))
        trials = [
            Outcome(NAMES[i], float(truth[i] + 0.02 * rng.standard_normal()), 0.02)
            for i in rng.permutation(len(NAMES))[:6]
        ]
        found = posterior(replace(P, noise=Noise(0.0, 0.0)), trials)
        held.append((np.abs(truth - found.mean) <= 1.645 * found.sd).mean())
        ratios.append(((truth - found.mean) ** 2 / found.sd**2).mean())
    assert 0.85 <= np.mean(held) <= 0.95
    assert 0.8 <= np.mean(ratios) <= 1.25


def test_the_gain_is_the_mean_rise_of_the_best_mean_over_imagined_trials() -> None:
    """Gain and chance compared with brute force: a value is drawn, measured, and the posterior updated."""
    truth = drawn_truth(P, 3)
    noise = Noise(start=0.0, drift=0.0)
    still = replace(P, noise=noise)
    trials = [Outcome(n, truth[n], 0.03) for n in (BASELINE, name_of("awq", "auto", 64, 2048))]
    look = outlook(still, trials)
    assert look.incumbent is not None
    rng = np.random.default_rng(1)
    for name in (name_of("fp8", "fp8", 128, 512), name_of("awq", "auto", 64, 2048)):
        one = P.at(name)
        whole = sorted({*(P.at(t.option) for t in trials), one})
        before = look.posterior.mean[look.incumbent]
        rises = []
        for _ in range(400):
            value = look.posterior.mean[one] + math.hypot(look.posterior.sd[one], 0.03) * rng.standard_normal()
            after = posterior(replace(still, sizes=P.sizes), [*trials, Outcome(name, float(value), 0.03)])
            if after.scale == 1.0:
                rises.append(after.mean[whole].max() - before)
        assert look.gain[one] == pytest.approx(look.starts[one] * np.mean(rises), abs=0.25 * look.gain[one] + 0.002)
    one = P.at(name_of("fp8", "fp8", 128, 512))
    chosen = np.array([look.incumbent, one])
    drawn = rng.multivariate_normal(look.posterior.mean[chosen], look.posterior.covariance(chosen), 200_000)
    chance = look.starts[one] * (drawn[:, 1] - drawn[:, 0] > math.log(1.03)).mean()
    assert look.chance[one] == pytest.approx(chance, rel=0.02)


def test_another_trial_of_a_measured_option_gains_where_the_best_are_close_and_not_where_they_are_apart() -> None:
    one, other = name_of("fp8", "fp8", 128, 512), name_of("fp8", "auto", 128, 512)
    close = [Outcome(BASELINE, 1.0, 0.02), Outcome(one, 1.5, 0.05), Outcome(other, 1.5, 0.05)]
    apart = [Outcome(BASELINE, 1.0, 0.02), Outcome(one, 1.8, 0.05), Outcome(other, 1.2, 0.05)]
    gains = [outlook(P, trials).gain[P.at(other)] for trials in (close, apart)]
    assert gains[0] > 0.001
    assert gains[1] < 0.1 * gains[0]


@pytest.mark.parametrize("band", [0.05, 0.17, 0.4])
def test_errors_of_a_band_hold_at_least_90_percent_within_it(band: float) -> None:
    sizes = ErrorSizes.of_band(band)
    whole = math.sqrt(sizes.common**2 + 3 * sizes.family**2)
    assert 1.0 <= whole * 1.645 / math.log1p(band) < 1.5


def test_equal_options_do_not_add_up_to_a_chance_that_something_better_is_left() -> None:
    """A hundred copies of one option are one chance, because what is true of one is true of all."""
    trials = [Outcome(BASELINE, P.option(BASELINE).predicted_log, 0.02)]
    best = P.option(name_of("fp8", "fp8", 128, 2048))
    copies = tuple(replace(best, id=f"copy {i}") for i in range(100))
    one, many = (outlook(replace(P, options=(*P.options, *more)), trials) for more in ((), copies))
    assert 0.5 < chance_left(one) < 1
    assert chance_left(many) == pytest.approx(chance_left(one), abs=0.02)
    assert chance_left(one) == one.chance.max()


def test_a_model_without_errors_leaves_nothing_to_learn() -> None:
    sure = replace(P, sizes=ErrorSizes(0.0, 0.0, 0.0, 0.0, 0.0))
    found = posterior(sure, [Outcome(BASELINE, 0.0, 0.02)])
    assert found.mean == pytest.approx([o.predicted_log for o in P.options])
