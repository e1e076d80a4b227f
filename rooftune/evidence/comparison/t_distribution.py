"""Student's t distribution and group-sequential boundaries, without scipy."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()
SPENDING_POWER = 1.0
"""1 spends the error rate evenly over the trials; more keeps it for the last look."""
_MANY = 400.0
"""Degrees of freedom above which t is treated as normal."""


def t_tail(t: float, freedom: float) -> float:
    """P(T > t) for t >= 0."""
    if freedom > _MANY:
        return 1 - _NORMAL.cdf(t)
    return 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


@lru_cache(maxsize=4096)
def t_quantile(p: float, freedom: float) -> float:
    """The t with P(T > t) = p, for 0 < p < 0.5. ``freedom`` need not be whole."""
    if freedom > _MANY:
        return _NORMAL.inv_cdf(1 - p)
    low, high = 0.0, 2.0
    while t_tail(high, freedom) > p:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > p else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function by its continued fraction (Abramowitz, Stegun 26.5.8; Lentz's method)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 300):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + even * d)
        c = 1 + even / c
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + odd * d)
        c = 1 + odd / c
        value *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * value / a


def spent_error(share: float, error_rate: float) -> float:
    """Error rate that may be spent at this share of the planned trials (power family of Kim & DeMets 1987)."""
    return float(error_rate * min(share, 1.0) ** SPENDING_POWER)


@lru_cache(maxsize=256)
def look_levels(looks: tuple[int, ...], error_rate: float) -> tuple[float, ...]:
    """Two-sided significance level of each look so that all looks together err at ``error_rate``.

    Looks are numbers of trials per side. The boundaries are those of a Brownian motion with Lan-DeMets spending, by the
    recursive integration of Armitage, McPherson & Rowe (1969); each is then used as a significance level of the t
    statistic of that look (Jennison & Turnbull 2000, section 4.4).
    """
    most = looks[-1]
    levels: list[float] = []
    grid = np.linspace(-10, 10, 2001)
    step = grid[1] - grid[0]
    density: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None
    before, used = 0.0, 0.0
    for look in looks:
        share = look / most
        allowance = spent_error(share, error_rate) - used
        if density is None:
            density = np.exp(-(grid**2) / (2 * share)) / math.sqrt(2 * math.pi * share)
        else:
            spread = share - before
            kernel = np.exp(-(grid**2) / (2 * spread)) / math.sqrt(2 * math.pi * spread)
            density = np.convolve(density, kernel, mode="same") * step
        boundary = _boundary(grid, density, allowance, step)
        levels.append(2 * (1 - _NORMAL.cdf(boundary / math.sqrt(share))))
        density = np.where(np.abs(grid) < boundary, density, 0.0)
        before, used = share, spent_error(share, error_rate)
    return tuple(levels)


def _boundary(
    grid: np.ndarray[tuple[int], np.dtype[np.float64]],
    density: np.ndarray[tuple[int], np.dtype[np.float64]],
    allowance: float,
    step: float,
) -> float:
    """The value beyond which, on both sides, the density holds ``allowance``."""
    beyond = np.cumsum(density[::-1])[::-1] * step
    positive = grid > 0
    values = 2 * beyond[positive] - density[positive] * step
    return float(np.interp(-allowance, -values, grid[positive]))
