"""From a guided search to its decision: verdicts on what was measured, predicted rows for the ladder, why it won."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import change_range, quantity
from rooftune.search.choice import simplest
from rooftune.search.confirm import Claim
from rooftune.search.explain import KnobWorth, Ratio, compared, knobs_worth
from rooftune.search.gain import Bools, Outlook
from rooftune.search.next_step import HAD_BEGUN
from rooftune.tuning.capacity_figures import capacity_of, interval_words
from rooftune.tuning.decision import conclude
from rooftune.tuning.guided.log_facts import overridden
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.judge import Ruling, judge
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import (
    Candidate,
    Decision,
    Interval,
    KnobEffect,
    PhaseBest,
    SearchSummary,
    Verdict,
    VerdictName,
)
from rooftune.tuning.replay import gated
from rooftune.tuning.state import Search
from rooftune.tuning.verdicts import audit_reason, verdict_on

NO_ERROR_RATE = "by the search; only the confirmation's comparisons have error rates"


def decide_guided(progress: Progress, budget_spent_s: float) -> Decision:
    """The decision of a guided search, finished or not. It does not depend on what is left of the budget."""
    plan = progress.plan
    recommended = recommended_of(progress)
    shown = Search(plan, _figures_from(progress), -1.0, 1.0, full=True)
    shown.incumbent, shown.config = recommended, progress.config(recommended)
    shown.configs = {name: progress.config(name) for name in {"baseline", recommended, *_measured(progress)}}
    shown.seen = {name: [r for r in shown.results if r.candidate == name and r.believed] for name in shown.configs}
    shown.verdicts = [_baseline(progress, shown)]
    shown.verdicts += [_of_option(progress, shown, name, recommended) for name in _measured(progress)]
    for candidate in plan.candidates[1:]:
        if candidate.id not in {v.candidate for v in shown.verdicts}:
            _of_rung(progress, shown, candidate)
    shown.incumbents = ["baseline", recommended] if recommended != "baseline" else ["baseline"]
    if not any(r.believed for r in progress.results):
        shown.stopped = _baseline_reason(progress) or "nothing has been measured yet"
    return conclude(shown, budget_spent_s).model_copy(
        update={"complete": progress.step.next is None, "search": _summary(progress, recommended)}
    )


def recommended_of(progress: Progress) -> str:
    """The configuration to recommend: what the confirmation shows, else the baseline."""
    confirmation = progress.step.confirmation
    return confirmation.recommended if confirmation is not None else progress.problem.baseline


def _measured(progress: Progress) -> list[str]:
    """Options other than the baseline that have a trial, in the order of their first."""
    known = {option.id for option in progress.search.usable}
    names = dict.fromkeys(r.candidate for r in progress.results if r.candidate in known)
    return [name for name in names if name != progress.problem.baseline]


def _figures_from(progress: Progress) -> list[TrialResult]:
    """The trials behind the figures: the fresh ones alone where there are any, because the search chose its winner by
    the others."""
    fresh = {name for name in (*_measured(progress), "baseline") if progress.of_purpose(name, "confirm")}
    confirmed = {(r.candidate, r.n) for name in fresh for r in progress.of_purpose(name, "confirm")}
    return [r for r in progress.results if r.candidate not in fresh or (r.candidate, r.n) in confirmed]


def _claims(progress: Progress) -> dict[str, Claim]:
    confirmation = progress.step.confirmation
    return {claim.option: claim for claim in confirmation.claims} if confirmation is not None else {}


def _baseline(progress: Progress, shown: Search) -> Verdict:
    trials = shown.seen["baseline"]
    reason = _baseline_reason(progress)
    if trials or not reason:
        return verdict_on(shown, "baseline", "applied" if trials else "not run", "starting point", trials)
    failed = any(r.candidate == "baseline" and r.status == "failed" for r in progress.results)
    return verdict_on(shown, "baseline", "failed" if failed else "not trusted", reason, [])


def _baseline_reason(progress: Progress) -> str:
    """Why the baseline has no value; empty where it has one or no trial."""
    reasons = [o.failure for o in progress.outcomes if o.option == progress.problem.baseline and o.log_value is None]
    return reasons[-1] if reasons else ""


def _of_option(progress: Progress, shown: Search, name: str, recommended: str) -> Verdict:
    """The verdict on a measured option: by the confirmation where it took part, else by the search."""
    claim = _claims(progress).get(name)
    trials = shown.seen[name]
    if claim is not None:
        return _claimed(progress, shown, claim, recommended)
    failures = [o.failure for o in progress.outcomes if o.option == name and o.log_value is None]
    if failures and not trials:
        started = all(r.status == "measured" for r in progress.results if r.candidate == name)
        return verdict_on(shown, name, "not trusted" if started else "failed", failures[-1], [], None, "baseline")
    if not trials:
        rejected = [r for r in progress.results if r.candidate == name and r.status == "measured"]
        why = f": {audit_reason(rejected[-1])}" if rejected else ""
        return verdict_on(shown, name, "not trusted", f"its only trial is not trusted and was not repeated{why}", [])
    spoilt = progress.checks.why_not(progress.config(name))
    if spoilt:
        return verdict_on(shown, name, "spoilt", spoilt, trials, None, "baseline")
    if failures and not any(o.option == name and o.log_value is not None for o in progress.outcomes):
        return verdict_on(shown, name, "no gain", failures[-1], trials, None, "baseline")
    if name == recommended:
        return verdict_on(shown, name, "applied", _without_baseline(progress, name), trials, None, "baseline")
    ruling = _by_search(progress, name, recommended, len(trials))
    reason = "; ".join([ruling.reason, *overridden(trials[-1], progress.change_of(name))])
    return verdict_on(shown, name, ruling.verdict, reason, trials, None, "baseline")


def _claimed(progress: Progress, shown: Search, claim: Claim, recommended: str) -> Verdict:
    found, name, metric = claim.comparison, claim.option, progress.plan.objective.metric
    interval = Interval(estimate=found.estimate, low=found.low, high=found.high, level=found.level)
    words = f"{metric_name(metric)} {interval.as_change} compared with {claim.against}"
    names: dict[str, VerdictName] = {
        "better": "applied",
        "worse": "no gain",
        "more trials needed": "more trials needed",
    }
    verdict = names.get(found.answer, "no measurable difference")
    if verdict == "applied" and name != recommended:
        verdict, words = "outdone", f"{words}; {recommended} is better still"
    elif verdict == "no gain" and claim.against == recommended != "baseline":
        verdict = "outdone"
    trials, others = progress.of_purpose(name, "confirm"), progress.of_purpose(claim.against, "confirm")
    words = "; ".join([words, *(overridden(trials[-1], progress.change_of(name)) if trials else [])])
    made = verdict_on(shown, name, verdict, words, trials, others, claim.against)
    ratios = {}
    if not progress.plan.objective.by_capacity and min(len(trials), len(others)) >= 2:
        ratios = judge(trials, others, progress.plan.objective, claim.against, 1).ratios
    return made.model_copy(
        update={"ratios": {**ratios, metric: interval}, "metric": metric, "stopped_because": found.reason}
    )


def _without_baseline(progress: Progress, name: str) -> str:
    """Why an option is recommended although the baseline has no value."""
    figures = capacity_of([r for r in progress.results if r.candidate == name])
    carried = f"it carries {interval_words(figures)}" if figures is not None else "it was measured"
    return f"{carried}, and the baseline has no value: {_baseline_reason(progress)}"


def _by_search(progress: Progress, name: str, recommended: str, trials: int) -> Ruling:
    """What the search alone says about an option that it did not choose."""
    baseline = progress.problem.baseline
    if not progress.look.measured[progress.problem.at(baseline)]:
        return Ruling("outdone", f"{quantity(trials, 'trial')}, and the baseline has no value")
    ratio = compared(progress.look, name, baseline)
    metric = progress.plan.objective.metric
    words = f"{metric_name(metric)} {_words(ratio.of_metric(metric))} compared with {baseline}"
    if recommended not in (baseline, name):
        other = compared(progress.look, name, recommended).of_metric(metric)
        words += f" and {_words(other)} compared with {recommended}"
    reason = f"{words} ({quantity(trials, 'trial')}, {NO_ERROR_RATE})"
    if ratio.high < 1:
        return Ruling("no gain", reason)
    if recommended != baseline and ratio.low > 1:
        return Ruling("outdone", reason)
    return Ruling("more trials needed" if recommended == baseline and ratio.low > 1 else "no gain", reason)


def _of_rung(progress: Progress, shown: Search, candidate: Candidate) -> None:
    """A candidate of the playbook that was not measured: its gate, or what it is predicted to be worth."""
    if gated(shown, candidate, "baseline"):
        return
    interval = _foreseen(progress, candidate)
    name = metric_name(progress.plan.objective.metric)
    if interval is not None and interval.estimate > 0:
        reason = f"{name} predicted {interval.as_change} compared with baseline, not measured"
    elif interval is not None:
        reason = "it is predicted to keep the SLO at no rate, so it was not measured"
    elif candidate.expected is not None:
        reason = f"expected: {candidate.expected.sentence}; not measured"
    else:
        reason = "not measured: the search had nothing to gain from it"
    made = verdict_on(shown, candidate.id, "not run", "; ".join([reason, *_instead(progress, candidate)]), [])
    shown.verdicts.append(made.model_copy(update={"predicted": interval}))


def _foreseen(progress: Progress, candidate: Candidate) -> Interval | None:
    """A candidate's objective relative to the baseline's as predicted; 0 = it has no value."""
    change = progress.change_of(candidate.id)
    option = next((o for o in progress.search.options if o.change == change), None)
    if option is None:
        return _expected_ratio(candidate, progress.plan.objective.metric)
    if option.predicted == 0 and option.id != progress.problem.baseline:
        return Interval(estimate=0.0, low=0.0, high=0.0)
    if not option.predicted:
        return None
    return _compared(progress, option.id)


def _instead(progress: Progress, candidate: Candidate) -> list[str]:
    """What was measured that makes the candidate's change too, and why a candidate of the user was not measured."""
    ids = [o.id for o in progress.search.with_flags(progress.change_of(candidate.id)) if o.id != candidate.id]
    measured = [name for name in _measured(progress) if name in ids]
    if measured:
        best = max(measured, key=lambda name: progress.look.posterior.mean[progress.problem.at(name)])
        return [f"measured as a part of {best}"]
    if candidate.id in progress.search.own and ids:
        return ["the budget had no room for a trial of it"]
    return []


def _expected_ratio(candidate: Candidate, metric: str) -> Interval | None:
    found = candidate.expected
    if found is None or found.metric != metric or None in (found.ratio, found.low, found.high):
        return None
    return Interval(estimate=found.ratio or 0.0, low=found.low or 0.0, high=found.high or 0.0)


def _summary(progress: Progress, recommended: str) -> SearchSummary:
    step, search, metric = progress.step, progress.search, progress.plan.objective.metric
    baseline = progress.problem.baseline
    known = bool(progress.look.measured[progress.problem.at(baseline)])
    same = _same_answers(progress, recommended)
    reason = step.found.reason if step.found is not None else step.reason
    if step.found is None and step.next is not None:
        reason = f"it goes on with {step.next.option} ({step.reason})"
    if reason == HAD_BEGUN:
        reason = "the part of the budget for the search ended"
    return SearchSummary(
        method=search.method,
        space=search.space,
        predicted=len(search.options) if search.predicts else 0,
        measured=len({o.option for o in progress.outcomes if o.log_value is not None}),
        reason=reason,
        chance_of_better=progress.chance if search.predicts and known else None,
        winner=step.found.winner if step.found is not None else "",
        confirmation=step.confirmation.reason if step.confirmation is not None else "",
        same_answers=same,
        same_answers_ratio=_compared(progress, same) if known else None,
        same_answers_measured=_has_value(progress, same),
        left_out=_left_out(progress, recommended),
        knobs=[knob_effect(worth, metric) for worth in knobs_worth(progress.look, recommended)],
        phases=phase_bests(progress, recommended) if known else [],
    )


def _same_answers(progress: Progress, recommended: str) -> str:
    """The best option that leaves the answers unchanged: the recommended one where it does, else the simplest of those
    with a trial that are as good."""
    problem, look = progress.problem, progress.look
    if recommended != problem.baseline and not problem.option(recommended).changes_outputs:
        return recommended
    same = np.array([not option.changes_outputs for option in problem.options])
    return problem.options[simplest(look, problem.at(progress.same_answers), look.measured & same)].id


def _has_value(progress: Progress, name: str) -> bool:
    """Whether a trial of the option has a value."""
    return any(o.option == name and o.log_value is not None for o in progress.outcomes)


def _left_out(progress: Progress, recommended: str) -> str:
    """Which changes of the best option the recommended one leaves out and why, in one sentence; empty without any."""
    found = progress.step.found
    if found is None or found.simpler is None or found.winner != recommended:
        return ""
    return found.simpler.words


def phase_bests(progress: Progress, recommended: str) -> list[PhaseBest]:
    """The best option that each phase reaches, or one as good that has a trial or is simpler. The recommended option
    stands for its own phase."""
    look, problem, baseline = progress.look, progress.problem, progress.problem.baseline
    phase_of = {option.id: option.phase for option in progress.search.options}
    found, allowed = [], set[str]()
    for phase in progress.plan.phases:
        allowed.add(phase)
        among = np.array([phase_of[o.id] in allowed for o in problem.options]) & (look.starts > 0.5)
        if phase not in phase_of.values() or not among.any():
            continue
        confirmed = recommended != baseline or _winner(progress) == baseline
        if confirmed and among[problem.at(recommended)]:
            best = recommended
        else:
            among = _with_trials(look, among)
            top = int(np.argmax(np.where(among, look.posterior.mean, -np.inf)))
            best = problem.options[simplest(look, top, among)].id
        ratio = _compared(progress, best)
        found.append(PhaseBest(phase=phase, option=best, ratio=ratio, measured=_has_value(progress, best)))
    return found


def _with_trials(look: Outlook, among: Bools) -> Bools:
    """Those of the options that have a trial, where one of them is as good as the best."""
    mean = look.posterior.mean
    best = float(mean[among].max())
    measured = among & look.measured & (mean > best - math.log1p(look.problem.rules.negligible))
    return measured if measured.any() else among


def _winner(progress: Progress) -> str | None:
    """What the search alone would choose; None while it goes on."""
    return progress.step.found.winner if progress.step.found is not None else None


def knob_effect(worth: KnobWorth, metric: str) -> KnobEffect:
    """The worth of a knob, as decision.json has it: a ratio of the objective's metric."""
    worth = replace(worth, ratio=worth.ratio.of_metric(metric) if worth.ratio is not None else None)
    return KnobEffect(
        knob=worth.knob,
        value=str(worth.value),
        undone=str(worth.undone),
        option=worth.option,
        ratio=_interval(worth.ratio) if worth.ratio is not None else None,
        source=worth.ratio.source if worth.ratio is not None else "predicted",
        sentence=worth.words,
    )


def _compared(progress: Progress, option: str) -> Interval:
    """The objective's metric of an option over that of the baseline."""
    found = compared(progress.look, option, progress.problem.baseline)
    return _interval(found.of_metric(progress.plan.objective.metric))


def _interval(ratio: Ratio) -> Interval:
    return Interval(estimate=ratio.estimate, low=ratio.low, high=ratio.high)


def _words(ratio: Ratio) -> str:
    return change_range(ratio.estimate, ratio.low, ratio.high)
