"""Which error of the model each option shares with which others: the low-rank part of the prior covariance.

An error of ln(prediction) is a sum: an error of the speed for all options, one for each family, a slope for each
numeric knob, one for each value of a knob, and one of the option alone. Those of numeric knobs exist once for all
options and once more by family, so the families may shift an optimum apart. Two options that differ in
``max_num_seqs`` share most of their error; two with different weights do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rooftune.search.options import ErrorSizes, Option, Problem

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SharedErrors:
    """The prior: covariance = loadings @ loadings.T + residual**2 on the diagonal."""

    loadings: Floats
    """One row per option, one column per shared error, in units of its standard deviation."""
    residual: Floats
    common: int = 1
    """The first columns, whose size is not rescaled by what the trials show."""

    def scaled(self, factor: float) -> SharedErrors:
        """The same structure with all errors but the common one this many times as large."""
        loadings = self.loadings.copy()
        loadings[:, self.common :] *= factor
        return SharedErrors(loadings, self.residual * factor, self.common)


@lru_cache(maxsize=8)
def shared_errors(problem: Problem) -> SharedErrors:
    """The prior of a problem."""
    options, sizes = problem.options, problem.sizes
    base = problem.option(problem.baseline)
    names = sorted({name for option in options for name in option.families})
    families = [name for name in names if not all(name in option.families for option in options)]
    members = {name: np.array([name in option.families for option in options], dtype=np.float64) for name in families}
    slopes = np.array([option.speed_slope for option in options])
    columns = [sizes.common * slopes]
    columns += [sizes.family * slopes * members[name] for name in families]
    number = sum(members.values(), np.zeros(len(options)))
    each = [members[name] / np.sqrt(np.maximum(number, 1)) for name in families]
    numeric = _numeric(options)
    for knob in sorted({name for option in options for name in option.knobs}):
        errors = [sizes.level * column for column in _levels(options, knob)]
        columns += errors
        if knob in numeric:
            slope = sizes.slope * _doublings(options, knob, base)
            columns.append(slope)
            columns += [error * member for error in (slope, *errors) for member in each]
    kept = list({column.tobytes(): column for column in columns[1:] if column.any()}.values())
    return SharedErrors(np.stack([columns[0], *kept], axis=1), _alone(options, sizes))


def _alone(options: Sequence[Option], sizes: ErrorSizes) -> Floats:
    return np.array([sizes.residual if option.predictable else sizes.unmodelled for option in options])


def _numeric(options: Sequence[Option]) -> list[str]:
    """Knobs whose values are positive numbers wherever they are set, and differ."""
    names = sorted({name for option in options for name in option.knobs})
    return [name for name in names if len(values := _values(options, name)) > 1 and all(map(_is_positive, values))]


def _values(options: Sequence[Option], knob: str) -> set[object]:
    return {option.knobs[knob] for option in options if knob in option.knobs}


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _doublings(options: Sequence[Option], knob: str, base: Option) -> Floats:
    """How often the knob's value is doubled from the baseline's; 0 where it is not set."""
    start = base.knobs.get(knob)
    known = [float(option.knobs[knob]) for option in options if knob in option.knobs]
    middle = float(start) if _is_positive(start) and start is not None else math.exp(float(np.mean(np.log(known))))
    return np.array([math.log2(float(o.knobs[knob]) / middle) if knob in o.knobs else 0.0 for o in options])


def _levels(options: Sequence[Option], knob: str) -> list[Floats]:
    """One column for each value of a knob that has several."""
    values = [option.knobs.get(knob) for option in options]
    different = sorted(set(values), key=repr)
    return [np.array([v == value for v in values], dtype=np.float64) for value in different if len(different) > 1]
