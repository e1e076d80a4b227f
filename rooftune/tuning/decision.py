"""From a search to its decision, and to the sentence that answers the user first."""

from __future__ import annotations

from statistics import median

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import percent, rate
from rooftune.tuning.configuration import command_text
from rooftune.tuning.goal import slo_broken
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import Decision, Plan, Verdict
from rooftune.tuning.state import Search


def conclude(search: Search, budget_spent_s: float) -> Decision:
    """The decision of a search, finished or not."""
    plan, incumbent = search.plan, search.incumbent
    trials = believed(search.results, incumbent)
    verdicts = _all_verdicts(search)
    return Decision(
        objective=plan.objective.metric,
        incumbent=incumbent,
        incumbent_flags=search.config.flags(),
        command=command_text(search.config),
        verdicts=verdicts,
        incumbents=search.incumbents,
        first_sentence=first_sentence(plan, trials, incumbent, verdicts, search.stopped),
        budget_spent_s=budget_spent_s,
        overloaded=any(t.overloaded for t in trials),
        served_rate_per_s=served_rate(trials),
        asked_rate_per_s=asked_rate(plan, trials),
        complete=not any(v.verdict == "not run" for v in verdicts) and not search.stopped,
    )


def believed(results: list[TrialResult], candidate: str) -> list[TrialResult]:
    """The believed trials of one candidate, in order."""
    return sorted((r for r in results if r.candidate == candidate and r.believed), key=lambda r: r.n)


def served_rate(trials: list[TrialResult]) -> float | None:
    """Requests/s that a configuration can serve, median of its trials; None if no trial measured it."""
    rates = [t.served_rate_per_s for t in trials if t.served_rate_per_s is not None]
    return median(rates) if rates else None


def asked_rate(plan: Plan, trials: list[TrialResult]) -> float | None:
    """Requests/s that the workload asks for, from its file, else from the schedules of the trials."""
    if plan.objective.asked_rate_per_s is not None:
        return plan.objective.asked_rate_per_s
    rates = [t.asked_rate_per_s for t in trials if t.asked_rate_per_s is not None]
    return median(rates) if rates else None


def place_of(plan: Plan, trials: list[TrialResult]) -> str:
    """Where the run took place, marked if simulated: 'a T4 (simulated)'."""
    gpu = plan.target.gpu or next((t.gpu for t in trials if t.gpu), "")
    simulated = plan.target.simulated or any(t.simulated for t in trials)
    if plan.target.engine == "endpoint":
        return f"the endpoint {plan.target.url}" + (f" ({gpu})" if gpu else "")
    article = "an" if gpu[:1] in set("AEFHILMNORSX") else "a"
    name = "this machine's CPU" if gpu.lower() == "cpu" else f"{article} {gpu}" if gpu else "this machine"
    return name + (" (simulated)" if simulated else "")


def first_sentence(plan: Plan, trials: list[TrialResult], incumbent: str, verdicts: list[Verdict], stopped: str) -> str:
    """The answer. If the server is overloaded, that comes first."""
    where = place_of(plan, trials)
    if not trials:
        return f"There is no result for {plan.workload} on {where}: {stopped or 'nothing has been measured yet'}."
    asked, served = asked_rate(plan, trials), served_rate(trials)
    if any(t.overloaded for t in trials) and asked and served:
        return (
            f"{plan.workload} asks for {rate(asked, 'request', 3)}, and the best configuration found ({incumbent}) "
            f"serves about {rate(served, 'request')} ({percent(served / asked)}) on {where}. The queue grows as long "
            "as the load lasts, so no latency limit can be kept at this load on this hardware. "
            f"{_gain(incumbent, verdicts)}"
        )
    load = f" at {rate(asked, 'request', 3)}" if asked else ""
    broken = slo_broken(plan.objective, trials)
    slo = f", but breaks the SLO ({broken})" if broken else " within the SLO" if plan.objective.slo else ""
    served_words = f"{where[0].upper()}{where[1:]} serves {plan.workload}{load} with {incumbent}{slo}."
    return f"{served_words} {_gain(incumbent, verdicts)}"


def _gain(incumbent: str, verdicts: list[Verdict]) -> str:
    """The gain of the incumbent, step by step."""
    steps = [v for v in verdicts if v.verdict == "applied" and v.against]
    if incumbent == "baseline" or not steps:
        measured = sum(1 for v in verdicts if v.ratios)
        if not measured:
            return "No alternative was measured."
        if measured == 1:
            return "The only alternative measured is not better than the baseline."
        return f"None of the {measured} alternatives measured is better than the baseline."
    words = []
    for v in steps:
        interval = v.ratios.get(v.metric)
        gain = f", {metric_name(v.metric)} {interval.as_change} compared with {v.against}" if interval else ""
        words.append(f"{v.candidate}{gain}")
    return f"Applied: {'; then '.join(words)}."


def _all_verdicts(search: Search) -> list[Verdict]:
    """Verdicts in the plan's order; a candidate that the search did not reach is 'not run'."""
    found = {v.candidate: v for v in search.verdicts}
    reason = search.stopped or "the search did not reach it"
    for candidate in search.plan.candidates:
        if candidate.id not in found:
            found[candidate.id] = Verdict(
                candidate=candidate.id, phase=candidate.phase, verdict="not run", reason=reason
            )
    return [found[c.id] for c in search.plan.candidates]
