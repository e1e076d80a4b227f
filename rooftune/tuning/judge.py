"""The verdict on one candidate, from its trials and the incumbent's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.evidence.comparison.compare import MOST_TRIALS, Comparison, compare
from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.objective import metric_between, slo_broken
from rooftune.tuning.plan import Interval, Objective, VerdictName

SHOWN = (
    "output_throughput",
    "request_throughput",
    "request_goodput",
    "median_tpot_ms",
    "p99_tpot_ms",
    "median_itl_ms",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_e2el_ms",
    "p99_e2el_ms",
)
"""Metrics whose ratio stands in every verdict, where both sides have them."""

WORDS = {
    "output_throughput": "output throughput",
    "request_throughput": "request throughput",
    "request_goodput": "goodput",
    "median_tpot_ms": "median TPOT",
    "p99_tpot_ms": "p99 TPOT",
    "median_itl_ms": "median ITL",
    "p99_itl_ms": "p99 ITL",
    "median_ttft_ms": "median TTFT",
    "p99_ttft_ms": "p99 TTFT",
    "median_e2el_ms": "median E2EL",
    "p99_e2el_ms": "p99 E2EL",
}


@dataclass(frozen=True)
class Judgement:
    """What the trials say. ``undecided`` = more trials could still decide it."""

    verdict: VerdictName
    reason: str
    metric: str
    ratios: dict[str, Interval]
    stopped_because: str
    undecided: bool = False


def percent(ratio: float) -> str:
    """A ratio as a signed change: 0.55 -> '−45 %'."""
    change = (ratio - 1) * 100
    text = f"{change:+.1f} %" if abs(change) < 10 else f"{change:+.0f} %"
    return text.replace("-", "−")


def span(interval: Interval) -> str:
    """A ratio with its interval: '−45 % (−47 to −43 %)'."""
    return f"{percent(interval.estimate)} ({percent(interval.low).removesuffix(' %')} to {percent(interval.high)})"


def judge(
    candidate: list[TrialResult],
    incumbent: list[TrialResult],
    objective: Objective,
    against: str,
    candidates: int,
    *,
    others: Sequence[list[TrialResult]] = (),
    full: bool = True,
) -> Judgement:
    """Compare a candidate with the incumbent it was measured beside.

    Being able to serve the asked rate comes first, then keeping the SLO, then the objective's metric.

    Args:
        against: the incumbent's name.
        candidates: how many are compared in this run, for the correction for looking many times.
        others: trials of other configurations of the run, which tell how much a trial varies here.
        full: work out the ratios of all metrics, and not only of the one that decides.
    """
    metric = metric_between(objective, candidate, incumbent)
    found = _compare(candidate, incumbent, metric, candidates, others)
    ratios = _ratios(candidate, incumbent, candidates, others) if full else {}
    if found is None:
        return Judgement("not trusted", f"no figure of {metric} on both sides", metric, ratios, "no figure to compare")
    interval = _interval(found)
    ratios[metric] = interval
    words = f"{WORDS.get(metric, metric)} {span(interval)} against {against}"
    ruled = _by_service(candidate, incumbent, objective, words, against)
    if ruled is not None:
        return Judgement(
            ruled[0], ruled[1], metric, ratios, "the asked rate or the SLO decides, and no more trials change that"
        )
    name, reason = _by_metric(found, words)
    return Judgement(name, reason, metric, ratios, found.reason, undecided=found.answer == "more trials needed")


def _by_metric(found: Comparison, words: str) -> tuple[VerdictName, str]:
    if found.answer == "better":
        return "applied", words
    if found.answer == "worse":
        return "no gain", words
    if found.answer == "more trials needed":
        about = f": about {found.more_trials} more on each side" if found.more_trials else ""
        return "more trials needed", f"{words}{_decides(found)}; more trials are needed{about}"
    return "no measurable difference", words


def _decides(found: Comparison) -> str:
    """The interval that decides, where it is wider than the one shown."""
    if found.decision_low is None or found.decision_high is None or found.decision_level is None:
        return ""
    low, high = percent(found.decision_low).removesuffix(" %"), percent(found.decision_high)
    return f"; corrected for many candidates and several looks the interval is {low} to {high}"


def _by_service(
    candidate: list[TrialResult], incumbent: list[TrialResult], objective: Objective, words: str, against: str
) -> tuple[VerdictName, str] | None:
    """The verdict where overload or the SLO alone decides, else None."""
    over, over_before = any(t.overloaded for t in candidate), any(t.overloaded for t in incumbent)
    if over and not over_before:
        return "no gain", f"cannot serve the asked rate, which {against} can; {words}"
    if over_before and all(not t.overloaded for t in candidate):
        return "applied", f"serves the asked rate, which {against} cannot; {words}"
    if over:
        return None
    broken, before = slo_broken(objective, candidate), slo_broken(objective, incumbent)
    if broken and not before:
        return "no gain", f"breaks the SLO ({broken}); {words}"
    if before and not broken and objective.slo:
        return "applied", f"keeps the SLO, which {against} breaks ({before}); {words}"
    return None


def _ratios(
    a: list[TrialResult], b: list[TrialResult], candidates: int, others: Sequence[list[TrialResult]]
) -> dict[str, Interval]:
    found = {}
    for metric in SHOWN:
        compared = _compare(a, b, metric, candidates, others)
        if compared is not None:
            found[metric] = _interval(compared)
    return found


def _compare(
    a: list[TrialResult], b: list[TrialResult], metric: str, candidates: int, others: Sequence[list[TrialResult]]
) -> Comparison | None:
    """The comparison a / b of one metric; None when a side has no such figure."""
    if not all(t.metrics.get(metric, 0) > 0 for t in [*a, *b]):
        return None
    return compare(a, b, metric, candidates=candidates, most_trials=MOST_TRIALS, others=others)


def _interval(found: Comparison) -> Interval:
    return Interval(estimate=found.estimate, low=found.low, high=found.high, level=found.level)
