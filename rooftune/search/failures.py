"""How likely an option is to start, given which started and which did not.

A failure has one cause: a family of the option, a value of one of its knobs, two such values together, or the option
itself. What an option that started has in common with it is innocent. The causes that are left share the blame by how
likely each was beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from rooftune.search.factors import Floats
from rooftune.search.options import Option, Outcome, Problem

SHARED_RISK = 0.02
"""Chance, before any trial, that a family or a value of a knob keeps everything that has it from starting."""
PAIR_RISK = 0.005
"""The same of two values together."""


def start_chances(problem: Problem, outcomes: Sequence[Outcome]) -> Floats:
    """Chance that each option starts and serves; 0 for those that failed and did not start since."""
    started = {outcome.option for outcome in outcomes if outcome.log_value is not None}
    failed = {outcome.option for outcome in outcomes if outcome.log_value is None} - started
    chances = np.array([1.0 if o.id in started else 1 - o.start_risk for o in problem.options])
    if not failed:
        return chances
    innocent = {cause for name in started for cause in _causes(problem.option(name))}
    blame = _blame([problem.option(name) for name in sorted(failed)], innocent)
    for i, option in enumerate(problem.options):
        if option.id in failed:
            chances[i] = 0.0
        elif option.id not in started:
            for cause in _causes(option):
                chances[i] *= 1 - blame.get(cause, 0.0)
    return chances


def _blame(failed: Sequence[Option], innocent: set[str]) -> dict[str, float]:
    """Chance that each cause keeps an option from starting."""
    found: dict[str, float] = {}
    for option in failed:
        suspects = {cause: risk for cause, risk in _causes(option).items() if cause not in innocent}
        weight = sum(suspects.values()) + option.start_risk
        for cause, risk in suspects.items():
            found[cause] = 1 - (1 - found.get(cause, 0.0)) * (1 - risk / weight)
    return found


def _causes(option: Option) -> dict[str, float]:
    """Everything about an option that others share, with how likely it is to prevent a start."""
    values = [f"{name}={value}" for name, value in sorted(option.knobs.items())]
    singles = dict.fromkeys([*option.families, *values], SHARED_RISK)
    return {" with ".join(pair): PAIR_RISK for pair in combinations(values, 2)} | singles
