"""Fits constants of the step-time model to measurements: least squares on logarithms, held near where they start.

All constants are positive and matter by their ratio, so the fit works on logarithms. Each constant has a prior: a
starting value and how far from it is still plausible; what the measurements do not determine stays there. Outliers
count less (Huber).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NOISE = 0.04
"""Relative scatter of measurements around a well fitted model. It weighs the data against the priors."""
HUBER = 2.0
"""Multiple of the noise beyond which a residual pulls with constant force."""
STEP = 1e-3
ITERATIONS = 40
ENOUGH = 1e-5


@dataclass(frozen=True)
class Free:
    """One constant that may move."""

    start: float
    spread: float
    """Standard deviation of the prior on the logarithm: 0.1 = about 10 %."""
    most: float = float("inf")


@dataclass(frozen=True)
class Fit:
    """Fitted constants and the remaining errors."""

    values: dict[str, float]
    residuals: Floats
    """log(predicted / measured) of the fitted points."""


def fit(free: Mapping[str, Free], predicted: Callable[[dict[str, float]], Floats], measured: Floats) -> Fit:
    """Find the constants that bring ``predicted`` closest to ``measured``.

    Args:
        free: the constants that may move, by name.
        predicted: positive predictions for given constants, in the order of ``measured``.
    """
    names = list(free)
    start = np.log([free[n].start for n in names])
    most = np.log([free[n].most for n in names])
    spread = np.array([free[n].spread for n in names])

    def residuals(x: Floats) -> Floats:
        values = np.exp(np.minimum(x, most))
        found = predicted(dict(zip(names, values.tolist(), strict=True)))
        return np.asarray(np.log(found / measured), dtype=np.float64)

    x, damping = start.copy(), 1e-3
    left = residuals(x)
    cost = _cost(left, (x - start) / spread)
    for _ in range(ITERATIONS):
        jacobian = _jacobian(residuals, x, left)
        moved = False
        while damping < 1e6:
            trial = np.minimum(x + _move(jacobian, left, x - start, spread, damping), most)
            found = residuals(trial)
            value = _cost(found, (trial - start) / spread)
            if value < cost:
                moved = cost - value > ENOUGH * cost
                x, left, cost, damping = trial, found, value, damping / 3
                break
            damping *= 4
        if not moved:
            break
    return Fit(dict(zip(names, np.exp(x).tolist(), strict=True)), left)


def _cost(residuals: Floats, prior: Floats) -> float:
    scaled = np.abs(residuals) / NOISE
    robust = np.where(scaled <= HUBER, scaled**2, 2 * HUBER * scaled - HUBER**2)
    return float(robust.sum() + (prior**2).sum())


def _jacobian(residuals: Callable[[Floats], Floats], x: Floats, at: Floats) -> Floats:
    columns = []
    for i in range(len(x)):
        moved = x.copy()
        moved[i] -= STEP  # downwards: a constant at its bound still shows its slope
        columns.append((at - residuals(moved)) / STEP)
    return np.stack(columns, axis=1)


def _move(jacobian: Floats, left: Floats, away: Floats, spread: Floats, damping: float) -> Floats:
    scaled = np.abs(left) / NOISE
    weight = np.where(scaled <= HUBER, 1.0, HUBER / np.maximum(scaled, 1e-12)) / NOISE**2
    prior = 1 / spread**2
    normal = jacobian.T @ (weight[:, None] * jacobian) + np.diag(prior)
    gradient = jacobian.T @ (weight * left) + prior * away
    normal += damping * np.diag(np.diag(normal))
    return np.asarray(-np.linalg.solve(normal, gradient), dtype=np.float64)
