"""Two servers by the user's own evaluation: the loss relative to the baseline's value, with its interval."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from rooftune.evidence.comparison.t_distribution import t_quantile
from rooftune.evidence.records.quality import Evaluation, EvaluationRun
from rooftune.formatting import quantity
from rooftune.quality.command import EvaluationFailed, UserCommand
from rooftune.quality.judge import ERROR_RATE
from rooftune.quality.per_prompt import half_width

LOSS = 0.02
"""Relative loss above which answers are spoilt."""


def compared(asked: UserCommand, ours: EvaluationRun, baseline: EvaluationRun) -> Evaluation:
    """The loss of a candidate: paired by item, else by standard errors, else by repeated runs.

    Raises:
        EvaluationFailed: the two runs have different items.
    """
    mean, base = float(np.mean(ours.values)), float(np.mean(baseline.values))
    loss = (base - mean) * (-1.0 if asked.lower_is_better else 1.0)
    half, scale = _half(ours, baseline), abs(base) or 1.0
    return Evaluation(
        command=asked.command,
        baseline=base,
        candidate=mean,
        low=(loss - half) / scale,
        high=(loss + half) / scale,
        threshold=LOSS,
        items=len(ours.values) if ours.paired else 0,
        lower_is_better=asked.lower_is_better,
    )


def _half(ours: EvaluationRun, baseline: EvaluationRun) -> float:
    if ours.paired != baseline.paired or (ours.paired and len(ours.values) != len(baseline.values)):
        raise EvaluationFailed(
            f"the quality command gives {_kind(ours)} for this configuration and {_kind(baseline)} for the baseline, "
            "so they cannot be compared; evaluate the same items each time."
        )
    if ours.paired:
        return half_width(np.array(ours.values) - np.array(baseline.values), 1 - ERROR_RATE)
    if ours.standard_error is not None and baseline.standard_error is not None:
        return NormalDist().inv_cdf(1 - ERROR_RATE / 2) * math.hypot(ours.standard_error, baseline.standard_error)
    return _of_repeats(ours.values, baseline.values)


def _of_repeats(ours: list[float], baseline: list[float]) -> float:
    """Half width of the interval of a difference of means, with one spread for both sides."""
    freedom = len(ours) + len(baseline) - 2
    if freedom < 1:
        return math.inf
    squares = sum(float(np.var(v)) * len(v) for v in (ours, baseline))
    spread = math.sqrt(squares / freedom * (1 / len(ours) + 1 / len(baseline)))
    return t_quantile(ERROR_RATE / 2, freedom) * spread if spread else 0.0


def _kind(run: EvaluationRun) -> str:
    return quantity(len(run.values), "item") if run.paired else "one number"
