"""The verdict on one candidate, from its trials and the incumbent's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.evidence.comparison.compare import MOST_TRIALS, Comparison, compare
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import change
from rooftune.tuning.capacity_figures import capacity_of, interval_words
from rooftune.tuning.goal import constraint_broken, metric_between, slo_broken
from rooftune.tuning.metrics import COMPARED, metric_name
from rooftune.tuning.plan import Goal, Interval, VerdictName

SETTLED = "the served load, the SLO or a constraint decides, so more trials would not change the verdict"


@dataclass(frozen=True)
class Ruling:
    """A verdict with its reason."""

    verdict: VerdictName
    reason: str


@dataclass(frozen=True)
class Judgement:
    """What the trials show. ``undecided`` means that more trials could still decide it."""

    verdict: VerdictName
    reason: str
    metric: str
    ratios: dict[str, Interval]
    stopped_because: str
    undecided: bool = False


def judge(
    candidate: list[TrialResult],
    incumbent: list[TrialResult],
    goal: Goal,
    against: str,
    candidates: int,
    *,
    others: Sequence[list[TrialResult]] = (),
    full: bool = True,
) -> Judgement:
    """Compare a candidate with the incumbent that was measured beside it.

    Constraints decide first. If the capacity is the objective, it decides everything else: it contains the SLO and the
    load that is served. Otherwise whether the whole load is served comes next, then the SLO, then the metric of the
    goal.

    Args:
        against: the incumbent's name.
        candidates: how many candidates the run compares, for the multiple-comparison correction.
        others: trials of other configurations of the run. They show how much a trial varies here.
        full: compute the ratios of all metrics, not only of the one that decides.
    """
    metric = metric_between(goal, candidate, incumbent)
    found = _compare(candidate, incumbent, metric, candidates, others)
    ratios = _ratios(candidate, incumbent, candidates, others) if full and not goal.by_capacity else {}
    if found is None:
        ruling = _without_comparison(candidate, incumbent, goal, against)
        if ruling is not None:
            return Judgement(ruling.verdict, ruling.reason, metric, ratios, SETTLED)
        missing = f"one side has no value of {metric}"
        return Judgement("not trusted", missing, metric, ratios, missing)
    interval = _interval(found)
    ratios[metric] = interval
    measured = f"{metric_name(metric)} {interval.as_change} compared with {against}"
    ruling = _by_constraints(candidate, incumbent, goal, measured, against)
    if ruling is None and not goal.by_capacity:
        ruling = _by_service(candidate, incumbent, goal, measured, against)
    if ruling is not None:
        return Judgement(ruling.verdict, ruling.reason, metric, ratios, SETTLED)
    ruling = _by_metric(found, measured)
    undecided = found.answer == "more trials needed"
    return Judgement(ruling.verdict, ruling.reason, metric, ratios, found.reason, undecided)


def _by_metric(found: Comparison, measured: str) -> Ruling:
    if found.answer == "better":
        return Ruling("applied", measured)
    if found.answer == "worse":
        return Ruling("no gain", measured)
    if found.answer == "more trials needed":
        about = f", about {found.more_trials} on each side" if found.more_trials else ""
        return Ruling("more trials needed", f"{measured}{_deciding_interval(found)}; more trials are needed{about}")
    return Ruling("no measurable difference", measured)


def _deciding_interval(found: Comparison) -> str:
    """The interval that decides; it is wider than the one shown."""
    if found.decision_low is None or found.decision_high is None or found.decision_level is None:
        return ""
    low, high = change(found.decision_low).removesuffix(" %"), change(found.decision_high)
    return f"; corrected for many candidates and repeated looks, the interval is {low} to {high}"


def _by_service(
    candidate: list[TrialResult], incumbent: list[TrialResult], goal: Goal, measured: str, against: str
) -> Ruling | None:
    """The ruling where overload or the SLO alone decides, else None."""
    over, over_before = any(t.overloaded for t in candidate), any(t.overloaded for t in incumbent)
    if over and not over_before:
        return Ruling("no gain", f"it cannot serve the whole load, but {against} can; {measured}")
    if over_before and not over:
        return Ruling("applied", f"it serves the whole load, but {against} cannot; {measured}")
    if over:
        return None
    broken, before = slo_broken(goal, candidate), slo_broken(goal, incumbent)
    if broken and not before:
        return Ruling("no gain", f"it breaks the SLO ({broken}); {measured}")
    if before and not broken and goal.slo:
        return Ruling("applied", f"it keeps the SLO, but {against} breaks it ({before}); {measured}")
    return None


def _by_constraints(
    candidate: list[TrialResult], incumbent: list[TrialResult], goal: Goal, measured: str, against: str
) -> Ruling | None:
    """The ruling where one side breaks a constraint, else None."""
    broken, before = constraint_broken(goal, candidate), constraint_broken(goal, incumbent)
    if broken:
        return Ruling("no gain", f"it breaks a constraint ({broken}); {measured}")
    if before:
        return Ruling("applied", f"it keeps the constraints, but {against} breaks one ({before}); {measured}")
    return None


def _without_comparison(
    candidate: list[TrialResult], incumbent: list[TrialResult], goal: Goal, against: str
) -> Ruling | None:
    """The ruling where a side carries nothing, because even one request at a time breaks the SLO there."""
    if not goal.by_capacity:
        return None
    ours, theirs = capacity_of(candidate), capacity_of(incumbent)
    if ours is None or theirs is None or (ours.estimate > 0 and theirs.estimate > 0):
        return None
    if ours.estimate <= 0:
        return Ruling("no gain", f"its capacity is 0: {ours.sentence}")
    broken = constraint_broken(goal, candidate)
    if broken:
        return Ruling("no gain", f"it breaks a constraint ({broken})")
    return Ruling("applied", f"it carries {interval_words(ours)}, and {against} cannot keep the SLO: {theirs.sentence}")


def _ratios(
    a: list[TrialResult], b: list[TrialResult], candidates: int, others: Sequence[list[TrialResult]]
) -> dict[str, Interval]:
    found = {metric: ratio_of(a, b, metric, candidates, others) for metric in COMPARED}
    return {metric: ratio for metric, ratio in found.items() if ratio is not None}


def ratio_of(
    a: list[TrialResult],
    b: list[TrialResult],
    metric: str,
    candidates: int = 1,
    others: Sequence[list[TrialResult]] = (),
) -> Interval | None:
    """The ratio a / b of one metric with its interval; None when a side has no value of it."""
    found = _compare(a, b, metric, candidates, others)
    return None if found is None else _interval(found)


def _compare(
    a: list[TrialResult], b: list[TrialResult], metric: str, candidates: int, others: Sequence[list[TrialResult]]
) -> Comparison | None:
    """The comparison a / b of one metric; None when a side has no value of it."""
    if not all(t.metrics.get(metric, 0) > 0 for t in [*a, *b]):
        return None
    return compare(a, b, metric, candidates=candidates, most_trials=MOST_TRIALS, others=others)


def _interval(found: Comparison) -> Interval:
    return Interval(estimate=found.estimate, low=found.low, high=found.high, level=found.level)
