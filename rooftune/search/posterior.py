"""What predictions and trials together say about every option: a Gaussian posterior, by exact linear algebra.

The work grows with the number of options times the square of the number of trials, because only the trials' covariance
is ever factorised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rooftune.search.factors import Floats, SharedErrors, shared_errors
from rooftune.search.options import Outcome, Problem

Indices = npt.NDArray[np.intp]
SCALES = (1.0, 1.4, 2.0, 2.8, 4.0)
"""Factors on the sizes of the errors, of which the one that explains the trials best is taken.

A few trials that agree with the model do not prove it right, so the errors never become smaller than stated.
"""
SCALE_SPREAD = 0.35
"""Standard deviation of the logarithm of that factor before any trial."""
SCALE_FROM = 3
"""Trials from which the factor is estimated."""


@dataclass(frozen=True)
class Posterior:
    """Mean and covariance of ln(objective) of all options, given the trials."""

    mean: Floats
    loadings: Floats
    residual: Floats
    explained: Floats
    """One row per trial: covariance(i, j) is the prior's less the product of columns i and j."""
    scale: float = 1.0
    """By how much the errors are larger than was stated beforehand, judged by the trials."""

    @cached_property
    def sd(self) -> Floats:
        """Standard deviation of each option."""
        prior = (self.loadings**2).sum(axis=1) + self.residual**2
        return np.asarray(np.sqrt(np.maximum(prior - (self.explained**2).sum(axis=0), 1e-12)))

    def covariance_with(self, one: int) -> Floats:
        """Covariance of every option with one."""
        found = self.loadings @ self.loadings[one] - self.explained.T @ self.explained[:, one]
        found[one] += self.residual[one] ** 2
        return np.asarray(found)

    def covariance_of(self, chosen: Indices) -> Floats:
        """Covariance of some options, one per row, with every option."""
        found = self.loadings[chosen] @ self.loadings.T - self.explained[:, chosen].T @ self.explained
        found[np.arange(len(chosen)), chosen] += self.residual[chosen] ** 2
        return np.asarray(found)

    def difference_sd(self, one: int) -> Floats:
        """Standard deviation of the difference between every option and one; 0 for itself."""
        variance = self.sd**2 + self.sd[one] ** 2 - 2 * self.covariance_with(one)
        found = np.sqrt(np.maximum(variance, 0.0))
        found[one] = 0.0
        return np.asarray(found)

    def covariance(self, chosen: Indices) -> Floats:
        """Covariance of some options."""
        part = self.loadings[chosen] @ self.loadings[chosen].T + np.diag(self.residual[chosen] ** 2)
        return np.asarray(part - self.explained[:, chosen].T @ self.explained[:, chosen])


def posterior(problem: Problem, outcomes: Sequence[Outcome]) -> Posterior:
    """The posterior after these trials. Those without a value say nothing about the objective."""
    seen = [(i, outcome) for i, outcome in enumerate(outcomes) if outcome.log_value is not None]
    prior = np.array([option.predicted_log for option in problem.options])
    errors = shared_errors(problem)
    if not seen:
        return Posterior(prior, errors.loadings, errors.residual, np.zeros((0, len(prior))))
    which = np.array([problem.at(outcome.option) for _, outcome in seen], dtype=np.intp)
    values = np.array([outcome.log_value for _, outcome in seen], dtype=np.float64)
    noise = _noise(problem, seen)
    scale = _scale(errors, which, values - prior[which], noise) if len(seen) >= SCALE_FROM else 1.0
    errors = errors.scaled(scale)
    factor = np.linalg.cholesky(_trials_covariance(errors, which) + noise)
    across = errors.loadings[which] @ errors.loadings.T
    across[np.arange(len(which)), which] += errors.residual[which] ** 2
    explained = np.linalg.solve(factor, across)
    shift = explained.T @ np.linalg.solve(factor, values - prior[which])
    return Posterior(prior + shift, errors.loadings, errors.residual, explained, scale)


def _trials_covariance(errors: SharedErrors, which: Indices) -> Floats:
    """Prior covariance of the options behind the trials."""
    same = which[:, None] == which[None, :]
    return np.asarray(errors.loadings[which] @ errors.loadings[which].T + same * errors.residual[which] ** 2)


def _noise(problem: Problem, seen: Sequence[tuple[int, Outcome]]) -> Floats:
    """Covariance of the trials' own errors: what each states, its start, and the machine's walk up to it."""
    at = np.array([i for i, _ in seen], dtype=np.float64)
    own = np.array([outcome.error**2 + problem.noise.start**2 for _, outcome in seen])
    return np.diag(own) + problem.noise.drift**2 * np.minimum(at[:, None], at[None, :])


def _scale(errors: SharedErrors, which: Indices, off: Floats, noise: Floats) -> float:
    """The factor on the errors that explains the trials best, weighed by how likely it is beforehand."""

    def likelihood(scale: float) -> float:
        factor = np.linalg.cholesky(_trials_covariance(errors.scaled(scale), which) + noise)
        white = np.linalg.solve(factor, off)
        expected = -0.5 * (math.log(scale) / SCALE_SPREAD) ** 2
        return float(-0.5 * white @ white - np.log(np.diag(factor)).sum() + expected)

    return max(SCALES, key=likelihood)
