"""Where a search is, for whoever watches it: best so far, chance that something better is left, time left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import percent, quantity
from rooftune.tuning.capacity_figures import capacity_of
from rooftune.tuning.guided.budget import time_words
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.plan import Goal, Plan
from rooftune.tuning.replay import replay
from rooftune.tuning.unseen import of_the_search


@dataclass(frozen=True)
class Standing:
    """A search after some trials."""

    best: str | None
    """None before the first value."""
    value: str
    """Its objective in words; empty where it is not known."""
    chance: float | None
    """That something without a trial is clearly better than the best; None where no model says."""
    confirming: bool
    left_s: float | None
    """Real seconds left of the budget; None without one."""
    trial_s: float

    @property
    def words(self) -> str:
        """One line without a full stop."""
        return self.words_after(0.0)

    def words_after(self, elapsed_s: float) -> str:
        """The same after some more seconds."""
        words = []
        if self.best is not None:
            words.append(f"best so far {self.best}" + (f" with {self.value}" if self.value else ""))
        if self.confirming:
            words.append("confirming it")
        elif self.chance is not None:
            words.append(f"chance of something clearly better {percent(self.chance)}")
        if self.left_s is not None:
            left = max(self.left_s - elapsed_s, 0.0)
            trials = int(left / self.trial_s)
            room = f"about {quantity(trials, 'trial')}" if trials else "less than a trial takes"
            words.append(f"{time_words(left)} left, {room}")
        return "; ".join(words)


def standing_of(progress: Progress) -> Standing:
    """Where a guided search is, or one of the methods without a model."""
    step, known = progress.step, progress.look.measured.any()
    best = step.found.winner if step.found is not None else step.incumbent
    return Standing(
        best=best,
        value=_value(progress.plan.objective, progress.results, best) if best is not None else "",
        chance=progress.chance if known and progress.search.predicts else None,
        confirming=step.found is not None and step.next is not None,
        left_s=progress.budget_left_s,
        trial_s=progress.trial_s or 1.0,
    )


def standing_of_ladder(plan: Plan, results: Sequence[TrialResult], left_s: float | None, trial_s: float) -> Standing:
    """Where a run is that climbs the ladder of its candidates."""
    own = of_the_search(plan, results)
    best = replay(plan, own, budget_left_s=-1.0, trial_cost_s=1.0).search.incumbent if own else None
    value = _value(plan.objective, results, best) if best is not None else ""
    return Standing(best, value, chance=None, confirming=False, left_s=left_s, trial_s=trial_s)


def _value(goal: Goal, results: Sequence[TrialResult], name: str) -> str:
    figures = capacity_of([r for r in results if r.candidate == name]) if goal.by_capacity else None
    return quantity(figures.estimate, "request") + "/s" if figures is not None else ""
