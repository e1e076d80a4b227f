"""The verdict of the gate on trials: what is clear without a comparison, then the test of the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rooftune.evidence.comparison.compare import MOST_TRIALS, arm
from rooftune.evidence.records.trial import TrialResult
from rooftune.gate.loss import LEAST_TRIALS, Design, Finding, Sides, judge_arms
from rooftune.gate.reference import Reference
from rooftune.tuning.goal import constraint_broken, metric_between, slo_broken
from rooftune.tuning.plan import Goal
from rooftune.workloads.spec import lower_is_better

CLEAR_TRIALS = 4
"""New trials that must all break a limit, which no trial of the reference does, before this alone is a loss."""
CARRIES_NOTHING = "even one request at a time breaks the SLO"


def judge_loss(
    new: Sequence[TrialResult],
    reference: Reference,
    goal: Goal,
    max_loss: float,
    design: Design,
    *,
    most_trials: int = MOST_TRIALS,
) -> Finding:
    """Judge the new trials by the objective of the workload.

    A limit that every new trial breaks and no trial of the reference does decides first: overload, the SLO or a
    constraint. Where the capacity is the objective, it contains overload and SLO.
    """
    ours, theirs = [t for t in new if t.believed], reference.trials
    metric = metric_between(goal, ours, theirs)
    broken = _broken(ours, theirs, goal, metric, max_loss)
    if broken is not None:
        return broken
    sides = Sides(arm(ours, metric), tuple(arm(trials, metric) for trials in reference.by_run))
    found = judge_arms(sides, metric, max_loss, design, most_trials=most_trials)
    missing = len(ours) - len(sides.new)
    if missing and found.verdict == "no loss":
        reason = f"{missing} of the {len(ours)} new trials have no value of {metric}, so the others prove nothing"
        return found.model_copy(update={"verdict": "not enough evidence", "reason": reason})
    return found


def _broken(
    new: Sequence[TrialResult], reference: Sequence[TrialResult], goal: Goal, metric: str, max_loss: float
) -> Finding | None:
    """A loss that needs no comparison; None without one."""
    limits: list[Callable[[TrialResult], str | None]] = [lambda t: constraint_broken(goal, [t])]
    if goal.by_capacity:
        limits.append(lambda t: CARRIES_NOTHING if t.metrics.get("capacity") == 0 else None)
    else:
        limits.append(lambda t: "the queue grows, so the load cannot be served" if t.overloaded else None)
        limits.append(lambda t: slo_broken(goal, [t]))
    enough = len(new) >= CLEAR_TRIALS and len(reference) >= LEAST_TRIALS
    for limit in limits:
        ours = [limit(t) for t in new]
        if enough and all(ours) and not any(map(limit, reference)):
            reason = f"every new trial breaks a limit that the reference keeps: {ours[-1]}"
            return Finding(
                verdict="loss",
                reason=reason,
                metric=metric,
                direction="lower" if lower_is_better(metric) else "higher",
                max_loss=max_loss,
                trials=len(new),
                reference_trials=len(reference),
            )
    return None
