"""A measure of answers by prompt: its mean over all tokens, and how precise that is when prompts are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rooftune.evidence.comparison.t_distribution import t_quantile
from rooftune.quality.scores import Floats, Ints


@dataclass(frozen=True, eq=False)
class PerPrompt:
    """Sums over the tokens of each answer, and their number; 1 where a measure is one value for each answer."""

    sums: Floats
    counts: Floats

    @staticmethod
    def of_tokens(values: Iterable[Floats]) -> PerPrompt:
        """A measure with a value for each token of each answer."""
        each = list(values)
        return PerPrompt(
            np.array([float(v.sum()) for v in each]), np.array([float(len(v)) for v in each], dtype=np.float64)
        )

    @staticmethod
    def of_answers(values: Iterable[float]) -> PerPrompt:
        """A measure with one value for each answer."""
        sums = np.array(list(values), dtype=np.float64)
        return PerPrompt(sums, np.ones(len(sums)))

    def __len__(self) -> int:
        return len(self.sums)

    def at(self, places: Ints) -> PerPrompt:
        """The measure of some of the prompts."""
        return PerPrompt(self.sums[places], self.counts[places])

    @property
    def mean(self) -> float:
        """Mean over all tokens, or over all answers."""
        return float(self.sums.sum() / self.counts.sum()) if len(self) else 0.0

    @property
    def influence(self) -> Floats:
        """By how much each prompt moves the mean, times the number of prompts.

        Prompts are the sampling units: tokens of one answer depend on each other, and answers have different lengths.
        """
        return np.asarray((self.sums - self.mean * self.counts) / self.counts.mean())


@dataclass(frozen=True, eq=False)
class AboveFloor:
    """One measure: the candidate compared with the baseline, and the baseline compared with itself."""

    ours: PerPrompt
    floor: PerPrompt

    def __len__(self) -> int:
        return len(self.ours)

    def at(self, places: Ints) -> AboveFloor:
        """The measure of some of the prompts."""
        return AboveFloor(self.ours.at(places), self.floor.at(places))

    def half_width(self, level: float) -> float:
        """Half width of the interval of the difference of the means, paired by prompt."""
        return half_width(self.ours.influence - self.floor.influence, level)


def half_width(values: Floats, level: float) -> float:
    """Half width of the t interval of a mean; infinite for fewer than two values."""
    if len(values) < 2:
        return math.inf
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    return t_quantile((1 - level) / 2, len(values) - 1) * spread if spread > 0 else 0.0
