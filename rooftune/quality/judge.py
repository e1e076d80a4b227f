"""From differences by prompt to a verdict: intervals of what exceeds the floor, and the thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rooftune.evidence.records.quality import Evaluation, Measure, MeasureName, QualityName
from rooftune.formatting import number, percent, quantity
from rooftune.quality.per_prompt import AboveFloor

THRESHOLDS: dict[MeasureName, float] = {
    "top-1 disagreement": 0.10,
    "KL divergence": 0.05,
    "ln perplexity ratio": math.log(1.05),
    "ln length ratio": math.log(1.25),
    "lost ends": 0.10,
    "not greedy": 0.01,
    "greedy difference": 0.25,
}
"""What may exceed the floor; docs/quality.md has the evidence. A length may be off in both directions."""
RULED_OUT: dict[MeasureName, float] = {
    "top-1 disagreement": THRESHOLDS["top-1 disagreement"],
    "KL divergence": THRESHOLDS["KL divergence"],
    "ln perplexity ratio": THRESHOLDS["ln perplexity ratio"],
    "not greedy": 0.03,
}
"""What intervals must exclude before answers are called equal. The other measures of a few dozen prompts vary too much
for that; they can only show that answers are spoilt."""
PROBABILITIES: frozenset[MeasureName] = frozenset({"top-1 disagreement", "KL divergence", "ln perplexity ratio"})
"""Measures of what the model finds probable, which speculative decoding leaves as it is."""
NEGLIGIBLE = 0.1
"""Part of a threshold below which a difference is treated as none, even where it exceeds the floor."""
ERROR_RATE = 0.05
"""Two-sided, of all measures of a check together."""
LEAST_PROMPTS = 8
"""Prompts with an answer below which nothing is judged."""


class Ruling(NamedTuple):
    """A verdict and why."""

    verdict: QualityName
    reason: str


def measured(differences: Mapping[MeasureName, AboveFloor]) -> list[Measure]:
    """The measures of a check, with intervals that hold together."""
    level = 1 - ERROR_RATE / max(len(differences), 1)
    return [_measure(name, found, level) for name, found in differences.items()]


def _measure(name: MeasureName, found: AboveFloor, level: float) -> Measure:
    value, floor, half = found.ours.mean, found.floor.mean, found.half_width(level)
    return Measure(
        name=name,
        value=value,
        floor=floor,
        low=value - floor - half,
        high=value - floor + half,
        threshold=THRESHOLDS[name],
    )


def judge(measures: Sequence[Measure], prompts: int) -> Ruling:
    """The verdict by the answers.

    Answers are spoilt where a measure exceeds the floor by more than its threshold and its interval excludes the floor.
    So the baseline itself is called spoilt with at most half the error rate, whatever the thresholds are.
    """
    measures = _telling(measures)
    worst = _worst(measures, _spoilt)
    if worst is not None and prompts >= LEAST_PROMPTS:
        return Ruling("spoilt", f"{words(worst)}, more than {value_words(worst.name, worst.threshold)}")
    if prompts < LEAST_PROMPTS:
        return Ruling("not judged", f"{quantity(prompts, 'prompt')} with an answer are fewer than {LEAST_PROMPTS}")
    unclear = _worst(measures, _unclear)
    if unclear is not None:
        return Ruling(
            "not judged",
            f"{quantity(prompts, 'prompt')} are too few: {words(unclear)}, and "
            f"{value_words(unclear.name, RULED_OUT[unclear.name])} are not ruled out",
        )
    changed = _worst(measures, _changed)
    if changed is not None:
        return Ruling("changed within the threshold", words(changed))
    return Ruling("equal", f"no measure exceeds the floor over {quantity(prompts, 'prompt')}")


def _telling(measures: Sequence[Measure]) -> list[Measure]:
    """The measures that a verdict follows from.

    Greedy answers differ after one rounding. Where each of their tokens is the one that the model itself finds most
    probable, that shows no fault.
    """
    faultless = any(m.name == "not greedy" and m.low <= 0 for m in measures)
    return [m for m in measures if not (faultless and m.name == "greedy difference")]


def spoils_probabilities(measures: Sequence[Measure], prompts: int) -> bool:
    """Whether the model itself spoils the answers, so that it does with any way of drafting."""
    return judge([m for m in measures if m.name in PROBABILITIES], prompts).verdict == "spoilt"


def judge_evaluation(found: Evaluation) -> Ruling:
    """The verdict by the user's own evaluation."""
    text = evaluation_words(found)
    if found.loss > found.threshold and found.low > 0:
        return Ruling("spoilt", f"{text}, more than {percent(found.threshold)}")
    if found.high > found.threshold and found.low <= 0:
        return Ruling("not judged", f"{text}, which is not precise enough; evaluate more items")
    if found.low > 0:
        return Ruling("changed within the threshold", text)
    return Ruling("equal", text)


def together(rulings: Sequence[Ruling]) -> Ruling:
    """One verdict of several: the worst of those that judge. Without any, why nothing is judged."""
    order: tuple[QualityName, ...] = ("spoilt", "changed within the threshold", "equal", "not judged")
    ordered = sorted(rulings, key=lambda ruling: order.index(ruling.verdict))
    first = ordered[0]
    same = [r.reason for r in ordered if r.verdict == first.verdict]
    others = [f"{r.verdict}: {r.reason}" for r in ordered if r.verdict != first.verdict]
    return Ruling(first.verdict, "; ".join([*same, *others]))


def _worst(measures: Sequence[Measure], is_so: Callable[[Measure], bool]) -> Measure | None:
    return max((m for m in measures if is_so(m)), key=_in_thresholds, default=None)


class _Sides(NamedTuple):
    excess: float
    low: float
    high: float


def _sides(m: Measure) -> _Sides:
    """Excess with its interval, where more is worse. Lengths are worse in both directions."""
    if m.name == "ln length ratio" and m.excess < 0:
        return _Sides(-m.excess, -m.high, -m.low)
    return _Sides(m.excess, m.low, m.high)


def _spoilt(m: Measure) -> bool:
    excess, low, _ = _sides(m)
    return excess > m.threshold and low > 0


def _unclear(m: Measure) -> bool:
    _, low, high = _sides(m)
    return low <= 0 and high > RULED_OUT.get(m.name, math.inf)


def _changed(m: Measure) -> bool:
    _, low, high = _sides(m)
    return low > 0 and high > NEGLIGIBLE * m.threshold


def _in_thresholds(m: Measure) -> float:
    return _sides(m)[0] / m.threshold


def words(m: Measure) -> str:
    """What a measure shows: 'top-1 disagreement 3.2 points above the floor (2.9 to 3.5)'."""
    low, high = value_words(m.name, m.low), value_words(m.name, m.high)
    return f"{_TITLES[m.name]} {value_words(m.name, m.excess)} above the floor ({low} to {high})"


_TITLES: dict[MeasureName, str] = {
    "top-1 disagreement": "top-1 disagreement",
    "KL divergence": "KL divergence",
    "ln perplexity ratio": "perplexity",
    "ln length ratio": "length of answers",
    "lost ends": "answers that no longer end by themselves",
    "not greedy": "tokens that are not the most probable ones",
    "greedy difference": "part of the greedy answers that differs",
}


def value_words(name: MeasureName, value: float) -> str:
    """A value of a measure with its unit."""
    if name == "KL divergence":
        return f"{number(round(value, 5))} nats"
    if name in ("ln perplexity ratio", "ln length ratio"):
        return percent(round(math.expm1(value), 6))
    return quantity(round(100 * value, 4), "point")


def evaluation_words(found: Evaluation) -> str:
    """What the user's own evaluation shows."""
    return (
        f"your evaluation gives {number(found.candidate)} and {number(found.baseline)} for the baseline, a loss of "
        f"{percent(found.loss)} ({percent(found.low)} to {percent(found.high)})"
    )
