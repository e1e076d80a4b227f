"""The confirmation: fresh trials of the winner beside the baseline, and beside the runner-up where the two are close.

The trials of the search chose the winner, so its value there is too high on average. They are not used here: every
claim comes from trials with fresh seeds in palindromes, by the project's one comparison. The rounds are paired: all
arms of a round send the same requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.comparison.compare import SMALLEST_EFFECT, Comparison, compare_arms
from rooftune.evidence.comparison.least_squares import Arm
from rooftune.search.gain import Outlook, normal_cdf
from rooftune.search.options import Outcome, Problem
from rooftune.workloads.spec import lower_is_better

FRESH = 1_000
"""Distance of the confirmation's seeds from the search's."""
FIRST_ROUNDS = 2
CLOSE, MOST_CLOSE = 0.05, 2
"""Chance of being better than the winner by the smallest effect that matters from which a runner-up takes part, and
the most of them."""
CLOSE_ROUNDS = 4
"""Rounds after which two options that are still not distinguished are treated as equal."""
TRIES = 2
"""Failed trials of an arm after which it is dropped."""


@dataclass(frozen=True)
class Claim:
    """One comparison of two options by fresh trials."""

    option: str
    against: str
    comparison: Comparison


@dataclass(frozen=True)
class Confirmation:
    """What the fresh trials say so far, and what they still need."""

    arms: tuple[str, ...]
    """Baseline, winner, and the runners-up that are close."""
    claims: tuple[Claim, ...]
    recommended: str
    next: str | None
    next_seed: int
    reason: str
    failed: tuple[str, ...] = ()
    """Arms that could no longer be measured."""


def confirmation(
    problem: Problem,
    look: Outlook,
    winner: str,
    outcomes: Sequence[Outcome],
    budget_s: float | None,
    instead_of: str | None = None,
) -> Confirmation:
    """The confirmation of the search's winner after these trials.

    Args:
        outcomes: trials of the confirmation, in the order in which they ran.
        budget_s: seconds for the whole confirmation; None = no limit.
        instead_of: the option in whose place a simpler one is the winner. It would have had no fewer arms beside it.
    """
    baseline = problem.baseline
    if winner == baseline:
        return Confirmation((baseline,), (), baseline, None, 0, "the baseline itself is the best option found")
    if not look.measured[problem.at(baseline)]:
        return Confirmation((winner,), (), winner, None, 0, "the baseline has no value that could be compared")
    most = MOST_CLOSE if instead_of is None else len(_close(look, instead_of))
    arms = (baseline, winner, *_close(look, winner)[:most])
    replay = _Replay(problem, arms, outcomes)
    active = list(arms)
    rounds = 0
    while rounds < problem.rules.most_trials:
        if rounds >= FIRST_ROUNDS and rounds % 2 == 0:
            active = _undecided(replay, active if rounds < CLOSE_ROUNDS else [baseline, winner])
            if not active:
                return replay.ended("every comparison has a clear answer")
        if rounds % 2 == 0 and not _affords(problem, active, replay, budget_s):
            begun = replay.waiting(active)
            active = [name for name in active if name in (baseline, winner, *begun)]
            if not begun and (len(active) < 2 or not _affords(problem, active, replay, budget_s)):
                return replay.ended("the budget has no room for more trials")
        for name in balanced_order(active, rounds + 1)[-len(active) :]:
            if name in replay.failed:
                continue
            if not replay.take(name):
                if replay.waiting(active):
                    continue  # later trials exist, so the budget had no room for this one
                why = f"round {rounds + 1} of the confirmation"
                return replay.confirmation(name, fresh_seed(problem.rules.seed, rounds), why)
        rounds += 1
        if baseline in replay.failed or len(replay.failed) >= len(arms) - 1:
            return replay.ended(f"{replay.failed[-1]} could no longer be measured")
    return replay.ended(f"after {problem.rules.most_trials} trials per side the comparison ends")


def fresh_seed(first: int, round_number: int) -> int:
    """Seed of a round's requests, the same for all arms; the search never used it. ``first`` is the workload's."""
    return first + FRESH + round_number


def is_fresh(seed: int, first: int) -> bool:
    """Whether this is the seed of a round of the confirmation; ``first`` is that of the workload."""
    return seed >= first + FRESH


class _Replay:
    """The trials of the confirmation, taken one after another into the slots of its rounds."""

    def __init__(self, problem: Problem, arms: tuple[str, ...], outcomes: Sequence[Outcome]) -> None:
        self.problem, self.arms = problem, arms
        self.failed: list[str] = []
        self.spent_s = 0.0
        """Seconds of the trials taken so far."""
        self._waiting = {name: [i for i, o in enumerate(outcomes) if o.option == name] for name in arms}
        self._taken: dict[str, list[int]] = {name: [] for name in arms}
        self._outcomes = outcomes

    def take(self, name: str) -> bool:
        """Take the arm's next trial with a value; False where it has none yet. Drops an arm that fails repeatedly."""
        failures = 0
        while self._waiting[name]:
            at = self._waiting[name].pop(0)
            self.spent_s += self._outcomes[at].seconds
            if self._outcomes[at].log_value is not None:
                self._taken[name].append(at)
                return True
            failures += 1
            if failures >= TRIES:
                self.failed.append(name)
                return True
        return False

    def waiting(self, active: Sequence[str]) -> list[str]:
        """Arms with trials that belong to this slot or to later ones, so what happens here was decided before."""
        return [name for name in active if self._waiting[name] and name not in self.failed]

    def claims(self) -> tuple[Claim, ...]:
        """The comparisons of all arms that have trials on both sides."""
        baseline, winner, *close = self.arms
        pairs = [(winner, baseline), *((name, winner) for name in close)]
        ready = [(a, b) for a, b in pairs if self._taken[a] and self._taken[b] and not {a, b} & set(self.failed)]
        return tuple(Claim(a, b, self._compare(a, b, max(len(close), 1) if a in close else 1)) for a, b in ready)

    def _compare(self, name: str, against: str, candidates: int) -> Comparison:
        rules = self.problem.rules
        return compare_arms(
            self._arm(name),
            self._arm(against),
            self.problem.metric,
            candidates=candidates,
            smallest_effect=SMALLEST_EFFECT if against == self.problem.baseline else rules.smallest_effect,
            most_trials=rules.most_trials,
        )

    def _arm(self, name: str) -> Arm:
        sign = -1.0 if lower_is_better(self.problem.metric) else 1.0
        taken = [self._outcomes[i] for i in self._taken[name]]
        return Arm(
            logs=sign * np.array([o.log_value for o in taken], dtype=np.float64),
            seeds=tuple(o.seed for o in taken),
            positions=np.array(self._taken[name], dtype=np.float64),
            simulated=self.problem.simulated,
        )

    def ended(self, reason: str) -> Confirmation:
        """The confirmation, over."""
        return self.confirmation(None, 0, reason)

    def confirmation(self, following: str | None, seed: int, reason: str) -> Confirmation:
        """The confirmation so far."""
        claims = self.claims()
        return Confirmation(
            self.arms, claims, _recommended(self.arms, claims), following, seed, reason, tuple(self.failed)
        )


def _close(look: Outlook, winner: str) -> tuple[str, ...]:
    """The runners-up that may be better than the winner by the smallest effect that matters."""
    problem = look.problem
    at = problem.at(winner)
    spread = np.maximum(look.posterior.difference_sd(at), 1e-9)
    ahead = look.posterior.mean - look.posterior.mean[at] - math.log1p(problem.rules.smallest_effect)
    chance = np.where(look.measured, normal_cdf(ahead / spread), 0.0)
    chance[[at, problem.at(problem.baseline)]] = 0.0
    best = np.argsort(-chance, kind="stable")[:MOST_CLOSE]
    return tuple(problem.options[i].id for i in best if chance[i] >= CLOSE)


def _undecided(replay: _Replay, active: Sequence[str]) -> list[str]:
    """Arms whose comparisons need more trials, in the order of the arms."""
    open_ones = [c for c in replay.claims() if c.comparison.answer == "more trials needed"]
    open_ones = [c for c in open_ones if c.option in active and c.against in active]
    needed = {name for claim in open_ones for name in (claim.option, claim.against)}
    return [name for name in replay.arms if name in needed]


def _affords(problem: Problem, active: Sequence[str], replay: _Replay, budget_s: float | None) -> bool:
    """Whether the budget allows the way out and back."""
    if budget_s is None:
        return True
    return budget_s - replay.spent_s >= 2 * sum(problem.option(name).seconds for name in active)


def _recommended(arms: Sequence[str], claims: Sequence[Claim]) -> str:
    """The winner where it is shown to be better than the baseline, and a runner-up that is shown to be better still.

    The second question is asked only where the first is answered, so the chance of a false claim stays that of one.
    """
    better = {claim.option: claim for claim in claims if claim.comparison.answer == "better"}
    baseline, winner, *close = arms
    if winner not in better:
        return baseline
    shown = [name for name in close if name in better]
    return max(shown, key=lambda name: abs(math.log(better[name].comparison.estimate)), default=winner)
