"""The search as a pure state machine: the next trial, or why there is none, from the problem and the trials so far.

The baseline comes first. Then the option with the highest expected gain over the incumbent per GPU minute is measured,
until no option has a real chance of being better by the smallest effect that matters, or the budget ends. The
confirmation follows (``confirm.py``); its trials do not change which option won the search.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rooftune.formatting import change, percent, quantity
from rooftune.search.black_box import best_measured, proposal
from rooftune.search.choice import Simpler, best_option, chosen, score, simpler
from rooftune.search.confirm import Confirmation, confirmation
from rooftune.search.gain import Outlook, chance_left, outlook
from rooftune.search.options import BlackBox, Option, Outcome, Problem, Purpose

NEARLY_BEST = 0.95
"""Share of the highest gain per minute from which options are treated as worth the same."""
BASELINE_TRIES = 2
FAILURES = 4
"""Options besides the baseline that may fail before any has a value."""
TIE_TRIALS = 2
"""Options near the winner that were measured although they behave better beyond the capacity, from which on no more
are looked for."""
BETTER_BEYOND = 0.05
"""Difference of the score beyond the capacity that is worth such a trial."""
HAD_BEGUN = "the confirmation had begun"
"""Why a search is over that could go on: its confirmation has trials."""
LEAST_CONFIRMATION = 2
"""Trials per side that the budget keeps for the confirmation."""
CONFIRMATION_SHARE = 0.4
"""Share of the budget that it keeps at least: without a confirmation nothing is recommended."""


@dataclass(frozen=True)
class Measure:
    """The trial to run next."""

    option: str
    purpose: Purpose
    seed: int
    why: str
    gain: float = 0.0
    """Expected gain in ln(objective)."""
    chance: float = 0.0
    """Chance that it is better than the incumbent by the smallest effect that matters."""


@dataclass(frozen=True)
class Found:
    """What the search alone says: its winner and why it ended. Only the confirmation makes claims."""

    winner: str
    reason: str
    chance_of_better: float
    """Chance that an option without a trial is better than the best one by the smallest effect that matters."""
    simpler: Simpler | None = None
    """What the winner leaves out of the best option; None where it is the best one itself."""


@dataclass(frozen=True)
class Step:
    """Where a search is."""

    next: Measure | None
    """None when everything is done."""
    found: Found | None
    """None while the search goes on."""
    confirmation: Confirmation | None
    incumbent: str | None
    reason: str
    """Why this trial, or why there is none."""
    outlook: Outlook
    """The options as they look after the trials of the search."""


def next_step(problem: Problem, outcomes: Sequence[Outcome], look: Outlook | None = None) -> Step:
    """Where the search is after these trials, in the order in which they ran. The answer depends on nothing else.

    Args:
        look: the outlook after the trials ``of_search``, where it is known. It does not depend on the budget.
    """
    searched = of_search(outcomes)
    look = look or outlook(problem, searched)
    incumbent = None if look.incumbent is None else problem.options[look.incumbent].id
    confirming = [outcome for outcome in outcomes if outcome.purpose == "confirm"]
    if not confirming:
        going_on = _search(problem, searched, look)
        if isinstance(going_on, Measure):
            return Step(going_on, None, None, incumbent, going_on.why, look)
        reason = going_on
    else:
        stop = _search(problem, searched, look)
        reason = stop if isinstance(stop, str) else HAD_BEGUN
    if look.incumbent is None:
        return Step(None, None, None, None, reason, look)
    found = _confirmed(_found(problem, searched, look, reason), problem, confirming)
    instead_of = found.simpler.instead_of if found.simpler is not None else None
    plan = confirmation(problem, look, found.winner, confirming, _left(problem, searched), instead_of)
    if plan.next is None:
        return Step(None, found, plan, incumbent, plan.reason, look)
    asked = Measure(plan.next, "confirm", plan.next_seed, plan.reason)
    return Step(asked, found, plan, incumbent, plan.reason, look)


def of_search(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The trials of the search, and failed first trials of the confirmation, after which another option wins."""
    valued = {outcome.option for outcome in outcomes if outcome.log_value is not None}
    first = [outcome for outcome in outcomes if outcome.log_value is None and outcome.option not in valued]
    return [outcome for outcome in outcomes if outcome.purpose == "search" or outcome in first]


def _search(problem: Problem, searched: Sequence[Outcome], look: Outlook) -> Measure | str:
    """The next trial of the search, or why it ends."""
    baseline = problem.option(problem.baseline)
    tries = sum(outcome.option == baseline.id for outcome in searched)
    if not look.measured[problem.at(baseline.id)] and tries < BASELINE_TRIES:
        return Measure(baseline.id, "search", problem.rules.seed, "starting point")
    if not look.open.any():
        return "every option was measured"
    at_bound = _at_load_bound(searched)
    if at_bound is not None:
        return f"{at_bound} serves the whole load, and no configuration can exceed that"
    if problem.rules.method != "guided":
        return _black_box(problem, searched, problem.rules.method)
    if look.incumbent is None:
        return _first(problem, searched, look)
    best = _worth_most(look)
    if chance_left(look) >= problem.rules.real_chance or look.gain.max() >= problem.rules.least_gain:
        option = problem.options[best]
        if not _affords(problem, searched, option):
            return "the budget ended"
        seed = problem.rules.seed + sum(outcome.option == option.id for outcome in searched)
        return Measure(option.id, "search", seed, _why(look, best), look.gain[best], look.chance[best])
    tie = _better_beyond(problem, searched, look)
    if tie is not None:
        return tie
    largest = percent(float(look.chance.max()))
    effect = percent(problem.rules.smallest_effect)
    return f"no option without a trial is better by {effect} with a chance above {largest}"


def _first(problem: Problem, searched: Sequence[Outcome], look: Outlook) -> Measure | str:
    """The next trial while nothing has a value, the baseline included."""
    failed = {outcome.option for outcome in searched}
    last = searched[-1].failure
    if len(failed) > FAILURES:
        return f"neither the baseline nor {quantity(len(failed) - 1, 'other option')} could be measured: {last}"
    worth = np.where(look.open, look.posterior.mean + np.log(np.maximum(look.starts, 1e-9)), -np.inf)
    option = problem.options[int(np.argmax(worth))]
    if not _affords(problem, searched, option):
        return "the budget ended"
    return Measure(option.id, "search", problem.rules.seed, f"the best prediction; the baseline has no value: {last}")


def _black_box(problem: Problem, searched: Sequence[Outcome], method: BlackBox) -> Measure | str:
    """The next trial of a method without a model, or why it ends."""
    option = proposal(problem, searched, method)
    if option is None:
        return f"the {method} search has no further option"
    if not _affords(problem, searched, option):
        return "the budget ended"
    return Measure(option.id, "search", problem.rules.seed, f"next of the {method} search")


def _at_load_bound(searched: Sequence[Outcome]) -> str | None:
    """The first option of which the offered load limits the value."""
    return next((outcome.option for outcome in searched if outcome.load_bound), None)


def _found(problem: Problem, searched: Sequence[Outcome], look: Outlook, reason: str) -> Found:
    """What the search ends with: the option that its method would confirm."""
    at_bound = _at_load_bound(searched)
    if at_bound is not None:
        return Found(at_bound, reason, chance_left(look))
    if problem.rules.method != "guided":
        return Found(best_measured(problem, searched), reason, chance_left(look))
    return Found(problem.options[chosen(look)].id, reason, chance_left(look), simpler(look))


def _confirmed(found: Found, problem: Problem, confirming: Sequence[Outcome]) -> Found:
    """The option that the confirmation is about, where its trials do not know the search's winner.

    The trials of an older version of rooftune may have been chosen by other rules. They keep what they confirmed.
    """
    measured = Counter(o.option for o in confirming if o.log_value is not None and o.option != problem.baseline)
    if not measured or found.winner in measured or any(o.log_value is None for o in confirming):
        return found
    return replace(found, winner=measured.most_common(1)[0][0], simpler=None)


def _worth_most(look: Outlook) -> int:
    """The option with the highest gain per minute; among nearly equal ones without a trial, the one that behaves best
    beyond its capacity, then the first."""
    worth = look.gain_per_minute
    best = int(np.argmax(worth))
    if look.measured[best] and look.gain[best] >= look.problem.rules.least_gain:
        return best
    worth = np.where(look.open, worth, 0.0)
    close = np.flatnonzero(look.open & (worth >= NEARLY_BEST * worth.max()) & (look.gain > 0))
    if not len(close):
        return int(np.argmax(np.where(look.open, look.posterior.mean, -np.inf)))
    top = look.posterior.mean[close].max() - look.problem.rules.equal
    close = close[look.posterior.mean[close] >= top]
    return int(max(close, key=lambda i: (score(look.problem.options[i]), worth[i], -i)))


def _why(look: Outlook, best: int) -> str:
    assert look.incumbent is not None
    ahead = float(np.exp(look.posterior.mean[best] - look.posterior.mean[look.incumbent]))
    named = look.problem.options[look.incumbent].id
    if look.measured[best] and best == look.incumbent:
        return "another trial of the best option, because others are close"
    if look.measured[best]:
        return f"another trial, because the best options are close: {change(ahead)} compared with {named}"
    effect = percent(look.problem.rules.smallest_effect)
    chance = percent(float(look.chance[best]))
    return f"expected {change(ahead)} compared with {named}; better by more than {effect} with a chance of {chance}"


def _better_beyond(problem: Problem, searched: Sequence[Outcome], look: Outlook) -> Measure | None:
    """A trial of an option that equals the best one and behaves clearly better beyond its capacity."""
    top = best_option(look)
    have = problem.options[top]
    if have.beyond is None:
        return None
    level = look.posterior.mean[top]
    scores = np.array([score(option) for option in problem.options])
    better = scores > have.beyond.score + BETTER_BEYOND
    near = look.posterior.mean >= level - math.log1p(problem.rules.smallest_effect)
    if (look.measured & better & near).sum() >= TIE_TRIALS:
        return None
    equal = np.flatnonzero(look.open & better & (look.posterior.mean >= level - problem.rules.equal / 2))
    if not len(equal):
        return None
    chosen = problem.options[int(max(equal, key=lambda i: (scores[i], -i)))]
    if not _affords(problem, searched, chosen):
        return None
    why = f"equal to {have.id} by the model, and better beyond the capacity"
    return Measure(chosen.id, "search", problem.rules.seed, why)


def confirmation_s(problem: Problem) -> float:
    """Seconds of the shortest confirmation."""
    return LEAST_CONFIRMATION * 2 * problem.option(problem.baseline).seconds


def confirms(problem: Problem) -> bool:
    """Whether the budget has room for the baseline, one other option and the confirmation of it.

    Where it has none, all of it goes into the search: a trial of the best option is more useful than none.
    """
    budget = problem.rules.budget_s
    needed = 2 * problem.option(problem.baseline).seconds + confirmation_s(problem)
    return budget is None or budget >= needed


def _affords(problem: Problem, outcomes: Sequence[Outcome], option: Option) -> bool:
    """Whether the budget allows a trial and leaves enough for the confirmation.

    From the third trial on it also keeps one trial to spare, because a trial that is not trusted is run again.
    """
    left = _left(problem, outcomes)
    if left is None or problem.rules.budget_s is None:
        return True
    if not confirms(problem):
        return left >= option.seconds
    kept = LEAST_CONFIRMATION * (problem.option(problem.baseline).seconds + option.seconds)
    kept += option.seconds if len(outcomes) > 1 else 0.0
    if problem.rules.method == "guided":
        kept = max(kept, CONFIRMATION_SHARE * problem.rules.budget_s)
    return left >= option.seconds + kept


def _left(problem: Problem, outcomes: Sequence[Outcome]) -> float | None:
    """Seconds left of the budget; None without one."""
    if problem.rules.budget_s is None:
        return None
    return problem.rules.budget_s - sum(outcome.seconds for outcome in outcomes)
