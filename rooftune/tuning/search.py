"""The search as a pure state machine: what to run next, and what the results decide."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.evidence.records.trial import TrialResult
from rooftune.trial_order import TrialOrder
from rooftune.tuning.decision import conclude
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.guided.deciding import decide_guided
from rooftune.tuning.guided.progress import Progress, ending
from rooftune.tuning.guided.standing import Standing, standing_of, standing_of_ladder
from rooftune.tuning.plan import Decision, Plan
from rooftune.tuning.replay import replay
from rooftune.tuning.unseen import of_the_search, on_unseen_prompts, unseen_order


@dataclass(frozen=True)
class RunState:
    """Where a run is between two trials."""

    next: TrialOrder | None
    """None when the search is over or the budget has no room for another trial."""
    standing: Standing
    ending: str
    """Where a search of the whole space is or why it ended; empty for the ladder."""
    progress: Progress | None = None
    """What the search of the whole space knows; None for the ladder."""


def run_state(
    plan: Plan,
    results: list[TrialResult],
    budget_left_s: float | None,
    trial_cost_s: float,
    forecast: Forecast | None = None,
) -> RunState:
    """The next trial, and where the run is in words, from one evaluation of the results; see ``next_trial``."""
    if plan.search is not None:
        progress = Progress.of(plan, results, budget_left_s, trial_cost_s)
        return RunState(progress.order(forecast), standing_of(progress), ending(progress), progress)
    order = next_trial(plan, results, budget_left_s, trial_cost_s, forecast)
    return RunState(order, standing_of_ladder(plan, results, budget_left_s, trial_cost_s), "")


def next_trial(
    plan: Plan,
    results: list[TrialResult],
    budget_left_s: float | None,
    trial_cost_s: float,
    forecast: Forecast | None = None,
) -> TrialOrder | None:
    """The trial to run after these results; None when the search is over or the budget has no room for another.

    The answer depends on the arguments alone, so a killed run continues where it stopped. ``budget_left_s`` and
    ``trial_cost_s`` are real seconds; without a budget (None) every candidate runs. Where the capacity is the
    objective, ``forecast`` gives the rate of the trial.
    """
    if plan.search is not None:
        return Progress.of(plan, results, budget_left_s, trial_cost_s).order(forecast)
    own, aside = of_the_search(plan, results), on_unseen_prompts(plan, results)
    ladder = replay(plan, own, budget_left_s, trial_cost_s, forecast=forecast, aside=aside)
    return ladder.next_trial or unseen_order(plan, ladder.search)


def decide(
    plan: Plan, results: list[TrialResult], *, budget_spent_s: float = 0.0, progress: Progress | None = None
) -> Decision:
    """The verdict on each candidate, the incumbent, its command, and the answer in one sentence.

    Works at any time; candidates without results get the verdict 'not run'.

    Args:
        progress: the state of the search after these results, where it is known; its outlook is not computed again.
    """
    if plan.search is not None:
        found = progress if progress is not None else Progress.of(plan, results)
        return decide_guided(found.without_budget(), budget_spent_s)
    search = replay(plan, of_the_search(plan, results), budget_left_s=-1.0, trial_cost_s=1.0, full=True).search
    return conclude(search, budget_spent_s)
