"""The one comparison: answers, intervals, when it stops, and what it assumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.errors import RooftuneError
from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.comparison.compare import MOST_TRIALS, compare, compare_arms, decision_level, within_variance
from rooftune.evidence.comparison.least_squares import Arm, fit
from rooftune.evidence.records.trial import TrialResult


def arm(logs: list[float], first: int = 0, *, seed: int = 0, **more: object) -> Arm:
    places = [i for i, who in enumerate(balanced_order("AB", len(logs))) if who == "AB"[first]]
    seeds = tuple(range(seed, seed + len(logs)))
    return Arm(np.array(logs), seeds, np.array(places, dtype=float), **more)  # type: ignore[arg-type]


def trial(
    value: float, seed: int, position: int, candidate: str = "a", metric: str = "output_throughput"
) -> TrialResult:
    return TrialResult(
        candidate=candidate, n=seed + 1, status="measured", workload="w", workload_hash="0", seed=seed,
        position=position, metrics={metric: value},
    )  # fmt: skip


def test_a_large_loss_is_seen_after_two_trials() -> None:
    found = compare_arms(
        arm([math.log(199), math.log(201)]), arm([math.log(364), math.log(366)], 1), "output_throughput", candidates=12
    )
    assert found.answer == "worse"
    assert found.estimate == pytest.approx(200 / 365, rel=0.001)
    assert found.low < found.estimate < found.high
    assert found.more_trials == 0


def test_lower_is_better_for_times() -> None:
    found = compare_arms(arm([0.0, 0.001]), arm([0.7, 0.699], 1), "median_tpot_ms")
    assert found.answer == "better"
    assert found.direction == "lower"


def test_one_trial_per_side_never_decides() -> None:
    found = compare_arms(arm([1.0]), arm([0.0], 1), "output_throughput")
    assert found.answer == "more trials needed"
    assert "one trial" in found.reason


def test_equal_sides_become_no_measurable_difference() -> None:
    logs = [0.001, -0.001] * 3
    found = compare_arms(arm(logs), arm(logs[::-1], 1), "output_throughput")
    assert found.answer == "no measurable difference"
    assert "2 %" in found.reason


def test_a_real_but_tiny_difference_does_not_matter() -> None:
    """1 % is known for certain and still below the smallest effect that matters."""
    noise = 1e-5 * np.arange(10)
    a, b = arm(list(0.01 + noise), simulated=True), arm(list(noise), 1, simulated=True)
    assert compare_arms(a, b, "output_throughput").answer == "no measurable difference"
    assert compare_arms(b, a, "output_throughput").answer == "no measurable difference"
    assert compare_arms(a, b, "output_throughput", smallest_effect=0.005).answer == "better"
    assert compare_arms(b, a, "output_throughput", smallest_effect=0.005).answer == "worse"


def test_noise_asks_for_more_trials_and_says_how_many() -> None:
    found = compare_arms(arm([0.04, -0.01]), arm([0.0, 0.02], 1), "output_throughput", candidates=10)
    assert found.answer == "more trials needed"
    assert found.more_trials >= 1
    noisier = compare_arms(arm([0.12, -0.09]), arm([0.0, 0.02], 1), "output_throughput", candidates=10)
    assert noisier.more_trials > found.more_trials


@given(
    a=st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=6), shift=st.floats(-0.3, 0.3), candidates=st.integers(1, 20)
)
def test_swapping_the_sides_inverts_the_ratio(a: list[float], shift: float, candidates: int) -> None:
    one, other = arm(a), arm([x * 0.5 + shift for x in a], 1)
    there = compare_arms(one, other, "output_throughput", candidates=candidates)
    back = compare_arms(other, one, "output_throughput", candidates=candidates)
    assert there.estimate == pytest.approx(1 / back.estimate)
    assert there.low == pytest.approx(1 / back.high)
    swapped = {"better": "worse", "worse": "better"}
    assert swapped.get(there.answer, there.answer) == back.answer


@given(scale=st.floats(0.1, 10))
def test_units_do_not_matter(scale: float) -> None:
    logs, more = [0.0, 0.01, 0.02, 0.01], [0.05, 0.06, 0.04, 0.05]
    plain = compare_arms(arm(more), arm(logs, 1), "output_throughput")
    scaled = compare_arms(
        arm([x + math.log(scale) for x in more]), arm([x + math.log(scale) for x in logs], 1), "output_throughput"
    )
    assert scaled.estimate == pytest.approx(plain.estimate)
    assert scaled.answer == plain.answer


def test_many_candidates_ask_for_more() -> None:
    levels = [decision_level(2, 0.05 / n) for n in (1, 5, 20)]
    assert levels == sorted(levels, reverse=True)
    early, late = decision_level(2, 0.05), decision_level(MOST_TRIALS, 0.05)
    assert early < late < 0.05


def test_requests_that_both_sides_drew_are_paired() -> None:
    """What a draw of requests does to both sides is not noise of the comparison."""
    draws = np.array([0.05, -0.05, 0.02, -0.02])
    a, b = arm(list(draws + 0.03)), arm(list(draws), 1)
    assert fit(a, b).paired
    apart = Arm(b.logs, tuple(range(10, 14)), b.positions)
    assert not fit(a, apart).paired
    paired, unpaired = compare_arms(a, b, "output_throughput"), compare_arms(a, apart, "output_throughput")
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


def test_other_configurations_of_the_run_show_how_much_a_trial_varies() -> None:
    a, b = arm([0.03, 0.03]), arm([0.0, 0.0], 1)
    calm = [arm([1.0, 1.0]) for _ in range(4)]
    wild = [arm([1.0, 1.15]) for _ in range(4)]
    alone, steady, shaky = (compare_arms(a, b, "output_throughput", others=o) for o in ((), calm, wild))
    assert steady.high - steady.low < alone.high - alone.low < shaky.high - shaky.low


def test_noise_seen_within_a_trial_widens_the_interval() -> None:
    quiet, loud = np.full(10, 0.0), np.linspace(-0.02, 0.02, 10)
    plain = [arm([0.01, 0.0], i, seed=10 * i, jackknife=(quiet, quiet)) for i in (0, 1)]
    noisy = [arm([0.01, 0.0], i, seed=10 * i, jackknife=(loud, loud)) for i in (0, 1)]
    assert within_variance(*plain, False) == 0
    assert within_variance(*noisy, False) == pytest.approx(0.9 * float((loud**2).sum()))
    widths = [(c := compare_arms(*x, "output_throughput")).high - c.low for x in (plain, noisy)]
    assert widths[0] < widths[1]


def test_noise_that_both_sides_share_cancels() -> None:
    """With the same requests, what a block does to both sides cancels."""
    wave = np.linspace(-0.02, 0.02, 10)
    a, b = arm([0.0, 0.0], 0, jackknife=(wave, wave)), arm([0.0, 0.0], 1, jackknife=(wave, wave))
    assert within_variance(a, b, True) == pytest.approx(0)
    assert within_variance(a, b, False) > 0


def test_the_expectation_for_a_simulated_engine_has_more_weight() -> None:
    """Two simulated trials give a narrower interval; a simulated trial beside a real one is treated as real."""
    real = compare_arms(arm([0.03, 0.03]), arm([0.0, 0.0], 1), "output_throughput")
    simulated = compare_arms(arm([0.03, 0.03], simulated=True), arm([0.0, 0.0], 1, simulated=True), "output_throughput")
    mixed = compare_arms(arm([0.03, 0.03], simulated=True), arm([0.0, 0.0], 1), "output_throughput")
    widths = [found.high - found.low for found in (simulated, real, mixed)]
    assert widths[0] < widths[1]
    assert widths[2] == pytest.approx(widths[1])


def test_trials_without_the_metric_are_left_out() -> None:
    a, b = [trial(100, 0, 0), trial(101, 1, 3)], [trial(50, 0, 1, "b"), trial(50.5, 1, 2, "b")]
    assert compare(a, b, "output_throughput").answer == "better"
    with pytest.raises(RooftuneError, match="not measured on both sides"):
        compare(a, b, "median_ttft_ms")
    for sides in ((a, []), ([], b)):
        with pytest.raises(RooftuneError, match="not measured on both sides"):
            compare(*sides, "output_throughput")
