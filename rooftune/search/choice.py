"""Which option the search proposes: the best by value and behaviour, without the changes that gain next to nothing.

A change that is worth nothing still has to be deployed, explained and kept working. So of the best option and those
that leave some of its changes out, the simplest wins that is expected to lose a negligible part of the value and is
unlikely to lose a difference that matters. That needs no trials: an option without one may win too, because the
confirmation measures it. Options that change other knobs are no candidates: they share less of the model's error with
the best one, so they lose more than is expected too often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rooftune.formatting import change, percent
from rooftune.knobs.configuration import KnobValue
from rooftune.search.factors import Floats
from rooftune.search.gain import Bools, Outlook, normal_cdf
from rooftune.search.options import Option, Problem

LIKELY = 0.95
"""Chance to start from which an option without a trial may be confirmed."""


@dataclass(frozen=True, order=True)
class Burden:
    """What deploying an option brings with it. Options compare by these in turn; less is simpler."""

    changes_outputs: bool
    knobs: int
    """That differ from the baseline."""
    risky: int
    """Of them, those that change answers or take memory."""


@dataclass(frozen=True)
class Simpler:
    """A simpler option that the search proposes instead of the best one."""

    option: str
    instead_of: str
    left: tuple[str, ...]
    """Knobs that the best one changes and this one leaves as in the baseline."""
    gain: float
    """Expected value of the best one over that of this one, as a ratio; above 1 is better."""
    margin: float
    """Relative gain below which a change is not worth carrying."""

    @property
    def words(self) -> str:
        """One sentence without a full stop."""
        gain = f"expected gain of {change(self.gain)} is below {percent(self.margin)}"
        whose = "its" if len(self.left) == 1 else "their"
        return f"the winner leaves {' and '.join(self.left)} as in the baseline, because {whose} {gain}"


def score(option: Option) -> float:
    """How the option behaves beyond its capacity; higher is better, −inf = not known."""
    return option.beyond.score if option.beyond else -np.inf


def best_option(look: Outlook) -> int:
    """The best measured option: by value, or a little below it with better behaviour beyond its capacity.

    An option whose behaviour is not known is treated like the worst known one.
    """
    mean = np.where(look.measured, look.posterior.mean, -np.inf)
    near = np.flatnonzero(mean >= mean.max() - look.problem.rules.traded)
    worth = _worth(look)
    return int(max(near, key=lambda i: (worth[i], mean[i], -i)))


def chosen(look: Outlook) -> int:
    """The option to confirm: the best one without the changes that gain next to nothing."""
    mean = look.posterior.mean
    near = mean >= mean[look.measured].max() - look.problem.rules.traded
    return simplest(look, best_option(look), near & _can_be_confirmed(look))


def simplest(look: Outlook, top: int, among: Bools) -> int:
    """The simplest of some options that is as good as one of them, ``top``, and has no other changes than that one."""
    problem, rules = look.problem, look.problem.rules
    mean, worth = look.posterior.mean, _worth(look)
    behind = np.maximum(mean[top] - mean, worth[top] - worth)
    spread = np.maximum(look.posterior.difference_sd(top), 1e-9)
    loses = normal_cdf((mean[top] - mean - math.log1p(rules.smallest_effect)) / spread)
    equal = among & (behind < math.log1p(rules.negligible)) & (loses <= rules.doubt)
    own = _changed(problem, problem.options[top])
    near = (int(i) for i in np.flatnonzero(equal))
    parts = [i for i in near if _changed(problem, problem.options[i]).items() <= own.items()]
    return min([*parts, top], key=lambda i: (burden(problem, problem.options[i]), -worth[i], i))


def simpler(look: Outlook) -> Simpler | None:
    """What the option to confirm leaves out of the best one; None where they are the same."""
    problem = look.problem
    taken, top = problem.options[chosen(look)], problem.options[best_option(look)]
    if taken is top:
        return None
    left = _changed(problem, top).keys() - _changed(problem, taken).keys()
    gain = float(look.posterior.mean[problem.at(top.id)] - look.posterior.mean[problem.at(taken.id)])
    return Simpler(
        option=taken.id,
        instead_of=top.id,
        left=tuple(sorted(left)),
        gain=math.exp(gain),
        margin=problem.rules.negligible,
    )


def burden(problem: Problem, option: Option) -> Burden:
    """What the option brings with it beside its value."""
    changed = _changed(problem, option)
    return Burden(option.changes_outputs, len(changed), len(changed.keys() & problem.risky))


def _changed(problem: Problem, option: Option) -> dict[str, KnobValue | None]:
    """Knobs that differ from the baseline, with the option's values."""
    base = problem.option(problem.baseline).knobs
    names = (name for name in {*option.knobs, *base} if option.knobs.get(name) != base.get(name))
    return {name: option.knobs.get(name) for name in names}


def _worth(look: Outlook) -> Floats:
    """The value of each option with that of its behaviour beyond the capacity, in ln(objective)."""
    scores = np.array([score(option) for option in look.problem.options])
    known = np.isfinite(scores)
    if not known.any():
        return look.posterior.mean
    behaviour = look.problem.rules.behaviour * np.where(known, scores, scores[known].min())
    return np.asarray(look.posterior.mean + behaviour)


def _can_be_confirmed(look: Outlook) -> Bools:
    """Which options have a trial, or can get their first one in the confirmation.

    Those are likely to start: they consist of parts that have started. Without a value of the baseline there is no
    confirmation.
    """
    problem, able = look.problem, look.measured.copy()
    if not look.measured[problem.at(problem.baseline)]:
        return able
    started = {part for i in np.flatnonzero(look.measured) for part in problem.options[i].parts}
    likely = np.flatnonzero(look.open & (look.starts >= LIKELY))
    able[[i for i in likely if problem.options[i].parts <= started]] = True
    return able
