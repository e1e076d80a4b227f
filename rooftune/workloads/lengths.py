"""Draws lengths in tokens from a distribution of the workload."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rooftune.workloads import spec

Ints = npt.NDArray[np.int32]


def lengths(what: spec.Lengths, n: int, rng: np.random.Generator) -> Ints:
    """``n`` lengths in tokens of a distribution of the spec."""
    if isinstance(what, spec.Fixed):
        return np.full(n, what.value, dtype=np.int32)
    if isinstance(what, spec.Uniform):
        return rng.integers(what.low, what.high + 1, n).astype(np.int32)
    if isinstance(what, spec.Empirical):
        return rng.choice(np.asarray(what.values), n).astype(np.int32)
    if isinstance(what, spec.Normal):
        drawn = rng.normal(what.mean, what.stddev, n)
    else:
        mu = math.log(what.mean) - what.sigma**2 / 2
        drawn = rng.lognormal(mu, what.sigma, n)
    return np.clip(np.rint(drawn), what.low, what.high).astype(np.int32)
