"""How likely an option is to start, given which started and which did not.

A failure has one cause: a family of the option, a value of one of its knobs, two such values together, or the option
itself. What an option that started has in common with it is innocent. The causes that are left share the blame by how
likely each was beforehand, and a cause that explains several failures takes most of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rooftune.search.factors import Floats
from rooftune.search.options import Option, Outcome, Problem

SHARED_RISK = 0.02
"""Chance, before any trial, that a family or a value of a knob keeps everything that has it from starting."""
PAIR_RISK = 0.005
"""The same of two values together."""
COINCIDENCE = 0.05
"""Chance that one more failure has a cause other than the one that explains those before."""


def start_chances(problem: Problem, outcomes: Sequence[Outcome]) -> Floats:
    """Chance that each option starts and serves; 0 for those that failed and did not start since."""
    started = {outcome.option for outcome in outcomes if outcome.log_value is not None}
    failed = {outcome.option for outcome in outcomes if outcome.log_value is None} - started
    chances = np.array([1.0 if o.id in started else 1 - o.start_risk for o in problem.options])
    if not failed:
        return chances
    innocent = {cause for name in started for cause in problem.option(name).shared}
    blames = _blames(problem, [problem.option(name) for name in sorted(failed)], innocent)
    for i, option in enumerate(problem.options):
        if option.id in failed:
            chances[i] = 0.0
        elif option.id not in started:
            hit = [sum(share for cause, share in blame.items() if cause in option.shared) for blame in blames]
            chances[i] *= 1 - max(hit)
    return chances


def _blames(problem: Problem, failed: Sequence[Option], innocent: set[str]) -> list[dict[str, float]]:
    """For each failed option the chance that each cause is the one of its failure."""
    suspects = _distinct(problem, {cause for option in failed for cause in option.shared} - innocent)
    explains = Counter(cause for option in failed for cause in suspects if cause in option.shared)
    weights = {cause: suspects[cause] / COINCIDENCE ** (explains[cause] - 1) for cause in suspects}
    found = []
    for option in failed:
        own = [cause for cause in suspects if cause in option.shared]
        whole = sum(weights[cause] for cause in own) + option.start_risk
        found.append({cause: weights[cause] / whole for cause in own})
    return found


def _distinct(problem: Problem, causes: set[str]) -> Mapping[str, float]:
    """The causes with how likely each is beforehand; of those that the same options have, the first alone."""
    members = {cause: bytes(cause in option.shared for option in problem.options) for cause in sorted(causes)}
    first = {membership: cause for cause, membership in reversed(members.items())}
    return {cause: PAIR_RISK if " with " in cause else SHARED_RISK for cause in sorted(first.values())}
