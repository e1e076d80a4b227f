"""Least squares of the logarithms of two sides: their difference, and the spread of a trial around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rooftune.evidence.records.columns import Floats

DRIFT_FROM = 8
"""Trials of both sides together from which a linear drift over the order is fitted."""
DESIGNS = 2048
"""Designs that are remembered: a search asks for the same ones after every trial."""


@dataclass(frozen=True)
class Arm:
    """What the comparison needs of one side: one entry for each trial."""

    logs: Floats
    seeds: tuple[int, ...]
    positions: Floats
    jackknife: tuple[Floats | None, ...] = ()
    """ln(metric) with one block of the window left out, for each block."""
    simulated: bool = False

    def __len__(self) -> int:
        return len(self.logs)


@dataclass(frozen=True)
class LeastSquaresFit:
    """Difference of the logarithms of two sides, with the residual spread of one trial."""

    difference: float
    scale: float
    """Variance of the difference = scale * variance of a trial."""
    squares: float
    freedom: int
    paired: bool


@dataclass(frozen=True)
class Design:
    """What least squares needs besides the values measured."""

    columns: Floats
    """One row per trial: levels of the sides, then effects of the seeds, then the drift."""
    inverse: Floats
    """Pseudoinverse of columns.T @ columns."""
    freedom: int
    """Degrees of freedom of the residuals."""
    paired: bool


def fit(a: Arm, b: Arm, others: Sequence[Arm] = ()) -> LeastSquaresFit:
    """Least squares of the logarithms: a level per side, an effect per shared seed, and the drift over the order."""
    arms = (b, a, *others)
    y = np.concatenate([x.logs for x in arms])
    found = _design(tuple(x.seeds for x in arms), tuple(tuple(x.positions.tolist()) for x in arms))
    weights = found.inverse @ (found.columns.T @ y)
    rest = y - found.columns @ weights
    return LeastSquaresFit(
        float(weights[1]), float(found.inverse[1, 1]), float(rest @ rest), found.freedom, found.paired
    )


@lru_cache(maxsize=DESIGNS)
def _design(seeds: tuple[tuple[int, ...], ...], positions: tuple[tuple[float, ...], ...]) -> Design:
    """The design of some sides: of what a is compared with, of a, and of the others."""
    side = np.repeat(np.arange(len(seeds)), [len(x) for x in seeds])
    columns = [(side == i).astype(float) for i in range(len(seeds))]
    columns[0] = np.ones(len(side))
    of_b, of_a = set(seeds[0]), set(seeds[1])
    shared = of_a & of_b
    paired = len(shared) > 1 and shared in (of_a, of_b)
    if paired:
        each = np.array([s for x in seeds for s in x])
        columns += [(each == s).astype(float) for s in sorted(set(each.tolist()))[1:]]
    at = np.array([p for x in positions for p in x])
    if len(side) >= DRIFT_FROM and at.std() > 0:
        columns.append((at - at.mean()) / at.std())
    x = np.stack(columns, axis=1)
    freedom = len(side) - int(np.linalg.matrix_rank(x))
    return Design(x, np.linalg.pinv(x.T @ x), freedom, paired)
