"""The search as a pure state machine: what to run next, and what the results decide."""

from __future__ import annotations

from rooftune.evidence.records.trial import TrialResult
from rooftune.trial_order import TrialOrder
from rooftune.tuning.decision import conclude
from rooftune.tuning.plan import Decision, Plan
from rooftune.tuning.replay import replay


def next_trial(
    plan: Plan, results: list[TrialResult], budget_left_s: float | None, trial_cost_s: float
) -> TrialOrder | None:
    """The trial to run after these results; None when the search is over or the budget does not hold another.

    Nothing is remembered between calls: the same results give the same order, so a killed run goes on where it was.
    ``budget_left_s`` and ``trial_cost_s`` are real seconds; no budget (None) means that everything is run.
    """
    return replay(plan, results, budget_left_s, trial_cost_s)[1]


def decide(plan: Plan, results: list[TrialResult], *, budget_spent_s: float = 0.0) -> Decision:
    """What the results say: verdict per candidate, the incumbent, its command, and the answer in one sentence.

    May be called at any time; what has not been run is a verdict of its own.
    """
    search, _ = replay(plan, results, budget_left_s=-1.0, trial_cost_s=1.0, full=True)
    return conclude(search, budget_spent_s)
