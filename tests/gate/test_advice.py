"""What a gate without a verdict says to do, with figures that lead to one."""

from __future__ import annotations

import re

import pytest

from rooftune.gate.advice import Effort, advice
from rooftune.gate.loss import Finding
from rooftune.tuning.plan import Interval

EFFORT = Effort(spent_s=240.0, made=8, sides=2, most_trials=12, duration_s=140.0)


def finding(low: float, high: float, *, trials: int = 4, more: int | None = None, **changed: object) -> Finding:
    values = {
        "verdict": "not enough evidence",
        "reason": "the interval includes the bound",
        "metric": "output_throughput",
        "direction": "higher",
        "max_loss": 0.03,
        "ratio": Interval(estimate=(low + high) / 2, low=low, high=high, level=0.95),
        "trials": trials,
        "reference_trials": trials,
        "more_trials": more,
    }
    return Finding.model_validate({**values, **changed})


def test_a_few_more_trials_are_named_with_the_budget_for_them() -> None:
    (words,) = advice(finding(0.96, 1.02, more=4), "beside", EFFORT)
    assert words == "about 4 more trials of each measured configuration would decide it: --budget 8m"
    (words,) = advice(finding(0.96, 1.02, more=4), "beside", Effort(240.0, 8, 2, most_trials=4))
    assert words.endswith("--budget 8m --trials 8")
    (words,) = advice(finding(0.96, 1.02, more=4), "apart", Effort())
    assert words.endswith(": --budget")


def test_more_trials_than_a_gate_makes_call_for_longer_ones_or_another_bound() -> None:
    found = advice(finding(0.955, 1.025, trials=12, more=24), "beside", EFFORT)
    assert found == [
        "about 36 trials of each measured configuration would decide it, and a gate makes at most 12",
        "longer trials vary less: --duration 420, with a reference of the same duration",
        "these trials rule out a loss of 5 % (--max-loss 5%)",
    ]
    of_a_capacity = advice(finding(0.955, 1.025, trials=12, more=24), "beside", Effort(240.0, 8, 2))
    assert len(of_a_capacity) == 2, "the length of a load that measures a capacity is not an option"


@pytest.mark.parametrize(
    ("low", "high", "direction", "wider"),
    [
        (0.955, 1.025, "higher", 5.0),
        (0.9501, 1.0, "higher", 5.0),
        (0.98, 1.041, "lower", 4.5),
        (0.9, 0.97, "higher", None),
    ],
)
def test_the_bound_that_is_named_would_have_passed(
    low: float, high: float, direction: str, wider: float | None
) -> None:
    found = finding(low, high, trials=12, direction=direction)
    named = [
        float(m[1]) for words in advice(found, "beside", EFFORT) if (m := re.search(r"--max-loss ([\d.]+)%", words))
    ]
    assert named == ([wider] if wider else [])
    assert found.ratio is not None
    for percents in named:
        bound = 1 - percents / 100 if direction == "higher" else 1 + percents / 100
        assert (found.ratio.low > bound) if direction == "higher" else (found.ratio.high < bound)


def test_too_few_trusted_trials_name_the_time_that_they_take() -> None:
    found = finding(1, 1, trials=1, ratio=None, reference_trials=1)
    (words,) = advice(found, "beside", Effort(104.0, 2, 2))
    assert words == "a trial took 52 s on average; --budget 11m has room for 6 of each measured configuration"
    assert advice(found, "beside", Effort()) == []


def test_a_clear_answer_and_a_read_run_need_no_figures() -> None:
    assert advice(finding(0.99, 1.01, verdict="no loss"), "beside", EFFORT) == []
    (words,) = advice(finding(0.96, 1.02, more=3), "given", EFFORT)
    assert "leave out --run" in words


def test_a_small_reference_limits_the_answer() -> None:
    first, *rest = advice(finding(0.96, 1.02, trials=12, reference_trials=3), "apart", EFFORT)
    assert first.startswith("the reference has only 3 trials")
    assert rest == ["these trials rule out a loss of 4.5 % (--max-loss 4.5%)"]
