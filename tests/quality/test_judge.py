"""The verdict: error rates of intervals, thresholds, and what too few prompts mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rooftune.evidence.records.quality import Evaluation, Measure, MeasureName
from rooftune.quality.judge import THRESHOLDS, Ruling, judge, judge_evaluation, measured, spoils_probabilities, together
from rooftune.quality.per_prompt import AboveFloor, PerPrompt


def made(name: MeasureName, excess: float, half: float, floor: float = 0.01) -> Measure:
    return Measure(
        name=name, value=floor + excess, floor=floor, low=excess - half, high=excess + half, threshold=THRESHOLDS[name]
    )


KL: MeasureName = "KL divergence"


@pytest.mark.parametrize(
    ("excess", "half", "verdict"),
    [
        (0.0, 0.001, "equal"),
        (0.02, 0.025, "equal"),
        (0.003, 0.001, "equal"),
        (0.02, 0.001, "changed within the threshold"),
        (0.2, 0.05, "spoilt"),
        (0.06, 0.05, "spoilt"),
        (0.2, 0.25, "not judged"),
        (0.0, 0.08, "not judged"),
    ],
)
def test_verdicts_by_excess_and_interval(excess: float, half: float, verdict: str) -> None:
    assert judge([made(KL, excess, half)], prompts=40).verdict == verdict


def test_one_bad_measure_is_enough() -> None:
    found = judge([made("top-1 disagreement", 0.0, 0.001), made(KL, 0.3, 0.05)], 40)
    assert found.verdict == "spoilt"
    assert found.reason.startswith("KL divergence 0.3 nats above the floor (0.25 nats to 0.35 nats), more than 0.05")


def test_shorter_and_longer_answers_are_both_worse() -> None:
    for excess in (0.5, -0.5):
        assert judge([made("ln length ratio", excess, 0.1)], 40).verdict == "spoilt"
    assert judge([made("lost ends", -0.3, 0.05)], 40).verdict == "equal"


def test_free_answers_that_vary_much_prevent_no_verdict() -> None:
    assert judge([made(KL, 0.0, 0.001), made("lost ends", 0.0, 0.3)], 40).verdict == "equal"
    assert judge([made(KL, 0.0, 0.001), made("lost ends", 0.4, 0.3)], 40).verdict == "spoilt"


@pytest.mark.parametrize(("wrong", "verdict"), [(0.0, "equal"), (0.005, "spoilt")])
def test_greedy_answers_may_diverge_where_each_token_is_the_models_own(wrong: float, verdict: str) -> None:
    found = [made(KL, 0.0, 0.001), made("not greedy", wrong, 0.002), made("greedy difference", 0.4, 0.1)]
    assert judge(found, 40).verdict == verdict


def test_only_probabilities_show_that_the_model_itself_is_spoilt() -> None:
    assert spoils_probabilities([made(KL, 0.3, 0.05), made("not greedy", 0.0, 0.001)], 40)
    assert not spoils_probabilities([made(KL, 0.0, 0.001), made("not greedy", 0.2, 0.05)], 40)
    assert not spoils_probabilities([made("lost ends", 0.4, 0.3)], 40)


def test_a_few_prompts_judge_nothing() -> None:
    found = judge([made(KL, 0.3, 0.0)], prompts=5)
    assert found == Ruling("not judged", "5 prompts with an answer are fewer than 8")


def per_answer(values: np.ndarray) -> PerPrompt:
    return PerPrompt.of_answers(values.tolist())


def test_a_baseline_that_differs_from_itself_is_rarely_called_spoilt_even_without_thresholds() -> None:
    random, alarms, rounds = np.random.default_rng(5), 0, 600
    for _ in range(rounds):
        scale, lengths = random.lognormal(size=24), random.integers(1, 60, 24)

        def drawn(scale: np.ndarray = scale, lengths: np.ndarray = lengths) -> PerPrompt:
            return PerPrompt.of_tokens(s * random.exponential(size=n) for s, n in zip(scale, lengths, strict=True))

        alarms += any(m.low > 0 for m in measured({name: AboveFloor(drawn(), drawn()) for name in THRESHOLDS}))
    assert alarms / rounds <= 0.05


@pytest.mark.parametrize("longest", [1, 50])
def test_the_interval_of_a_mean_over_tokens_covers_it(longest: int) -> None:
    random, covered = np.random.default_rng(6), 0
    for _ in range(400):
        own = random.normal(0, 1, 30)

        def drawn(mean: float, own: np.ndarray = own) -> PerPrompt:
            sizes = random.integers(1, longest + 1, 30)
            return PerPrompt.of_tokens(mean + o + random.normal(0, 1, n) for o, n in zip(own, sizes, strict=True))

        (m,) = measured({KL: AboveFloor(drawn(0.3), drawn(0.0))})
        covered += m.low <= 0.3 <= m.high
    assert 0.91 <= covered / 400 <= 0.98


def test_no_difference_at_all_has_an_interval_of_no_width() -> None:
    (m,) = measured({KL: AboveFloor(per_answer(np.zeros(20)), per_answer(np.zeros(20)))})
    assert (m.low, m.high) == (0.0, 0.0)
    assert judge([m], 20).verdict == "equal"


def test_one_prompt_has_no_interval() -> None:
    (m,) = measured({KL: AboveFloor(per_answer(np.ones(1)), per_answer(np.zeros(1)))})
    assert math.isinf(m.high)


def evaluation(loss: float, half: float) -> Evaluation:
    return Evaluation(command="x", baseline=1.0, candidate=1 - loss, low=loss - half, high=loss + half, threshold=0.02)


@pytest.mark.parametrize(
    ("loss", "half", "verdict"),
    [
        (0.0, 0.01, "equal"),
        (-0.1, 0.01, "equal"),
        (0.01, 0.005, "changed within the threshold"),
        (0.1, 0.02, "spoilt"),
        (0.1, 0.2, "not judged"),
    ],
)
def test_verdicts_by_the_users_own_evaluation(loss: float, half: float, verdict: str) -> None:
    assert judge_evaluation(evaluation(loss, half)).verdict == verdict


def test_the_worst_of_what_judges_is_the_verdict() -> None:
    equal, spoilt, unknown = Ruling("equal", "a"), Ruling("spoilt", "b"), Ruling("not judged", "c")
    assert together([equal, spoilt]) == Ruling("spoilt", "b; equal: a")
    assert together([unknown, equal]) == Ruling("equal", "a; not judged: c")
    assert together([unknown]) == unknown
