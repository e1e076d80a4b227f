"""What measuring an option is worth: expected gain over the incumbent, and the chance of a difference that matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.search.factors import Floats
from rooftune.search.failures import start_chances
from rooftune.search.options import Outcome, Problem
from rooftune.search.posterior import Indices, Posterior, posterior

Bools = npt.NDArray[np.bool_]
NODES = np.linspace(-4.0, 4.0, 41)
WEIGHTS = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()
"""The standard normal distribution on a grid."""


@dataclass(frozen=True)
class Outlook:
    """The options as they look after some trials. Gains and chances refer to the incumbent."""

    problem: Problem
    posterior: Posterior
    starts: Floats
    """Chance that each option starts."""
    measured: Bools
    open: Bools
    """Neither measured nor failed."""
    incumbent: int | None
    """The measured option with the highest posterior mean; None before the first value."""
    gain: Floats
    """Expected gain in ln(objective) of the incumbent from one trial of each option: the knowledge gradient. A measured
    option gains by another trial where the best ones are close; 0 where it failed."""
    chance: Floats
    """Chance that each open option starts and is better by the smallest effect that matters."""

    @property
    def gain_per_minute(self) -> Floats:
        """Expected gain per GPU minute. An option that does not start costs its start alone."""
        start = np.array([option.start_s for option in self.problem.options])
        load = np.array([option.load_s for option in self.problem.options])
        return np.asarray(60 * self.gain / (start + self.starts * load))


def outlook(problem: Problem, outcomes: Sequence[Outcome]) -> Outlook:
    """Posterior, gains and chances after these trials of the search."""
    found = posterior(problem, outcomes)
    starts = start_chances(problem, outcomes)
    measured = np.zeros(len(problem.options), dtype=bool)
    failed = measured.copy()
    for outcome in outcomes:
        (failed if outcome.log_value is None else measured)[problem.at(outcome.option)] = True
    opened = ~measured & ~failed
    if not measured.any():
        none = np.zeros(len(starts))
        return Outlook(problem, found, starts, measured, opened, None, none, none)
    best = int(np.argmax(np.where(measured, found.mean, -np.inf)))
    ahead, spread = found.mean - found.mean[best], np.maximum(found.difference_sd(best), 1e-9)
    matters = math.log1p(problem.rules.smallest_effect)
    chance = np.where(opened, starts * normal_cdf((ahead - matters) / spread), 0.0)
    usual = float(np.median([outcome.error for outcome in outcomes if outcome.log_value is not None]))
    noise = math.hypot(usual, problem.noise.start)
    gain = np.where(opened | measured, starts * knowledge_gradient(found, np.flatnonzero(measured), noise), 0.0)
    return Outlook(problem, found, starts, measured, opened, best, gain, chance)


def knowledge_gradient(found: Posterior, measured: Indices, noise: float) -> Floats:
    """By how much one trial of each option raises the highest mean among it and the measured ones, on average.

    Args:
        noise: standard deviation of a trial.
    """
    spread = np.sqrt(found.sd**2 + noise**2)
    after = found.mean[:, None] + (found.sd**2 / spread)[:, None] * NODES
    for mean, covariance in zip(found.mean[measured], found.covariance_of(measured), strict=True):
        after = np.maximum(after, mean + (covariance / spread)[:, None] * NODES)
    return np.asarray(np.maximum(after @ WEIGHTS - found.mean[measured].max(), 0.0))


def chance_left(look: Outlook) -> float:
    """Chance that something better than the incumbent by the smallest effect that matters is left.

    It is the chance of the likeliest option, as if the others were right or wrong together with it. A joint draw of the
    posterior treats what distinguishes hundreds of nearly equal options as independent and gives 50 % where 9 % is true
    (docs/benchmarks.md).
    """
    return float(look.chance.max(initial=0.0))


def normal_cdf(x: Floats) -> Floats:
    """Distribution function of the standard normal distribution."""
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
