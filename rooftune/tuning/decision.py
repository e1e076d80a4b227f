"""From a search to its decision, and to the sentence that answers the user first."""

from __future__ import annotations

from statistics import median

from rooftune.engines.price import price_of, usd_per_hour
from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import multiple, number, percent, rate
from rooftune.tuning.capacity_figures import (
    capacity_of,
    interval_words,
    per_million,
    server_words,
    servers,
)
from rooftune.tuning.configuration import command_text
from rooftune.tuning.goal import constraint_broken, slo_broken
from rooftune.tuning.metrics import metric_name, unit_of
from rooftune.tuning.plan import Decision, Plan, Verdict
from rooftune.tuning.state import Search
from rooftune.workloads.spec import CAPACITY, COST, ENERGY

UNSETTLED = ("more trials needed", "not run")
"""Verdicts of configurations that more trials could still show to be better."""


def conclude(search: Search, budget_spent_s: float) -> Decision:
    """The decision of a search, finished or not."""
    plan, incumbent = search.plan, search.incumbent
    trials = believed(search.results, incumbent)
    verdicts = [_with_capacity(v, search) for v in _all_verdicts(search)]
    found = capacity_of(trials) if plan.objective.by_capacity else None
    asked = asked_rate(plan, trials)
    price = price_of(plan.target) if found is not None else None
    each = usd_per_hour(price, search.config.flags())
    return Decision(
        objective=plan.objective.metric,
        incumbent=incumbent,
        incumbent_flags=search.config.flags(),
        command=command_text(search.config),
        verdicts=verdicts,
        incumbents=search.incumbents,
        first_sentence=first_sentence(plan, trials, incumbent, verdicts, search.stopped),
        budget_spent_s=budget_spent_s,
        overloaded=_overloaded(plan, trials),
        served_rate_per_s=served_rate(trials),
        asked_rate_per_s=asked,
        capacity=found,
        replicas=servers(found, asked) if found is not None else None,
        usd_per_hour=each,
        price_source=price.words if price else "",
        usd_per_million_output_tokens=per_million(found, each) if found is not None else None,
        complete=not any(v.verdict == "not run" for v in verdicts) and not search.stopped,
    )


def _with_capacity(verdict: Verdict, search: Search) -> Verdict:
    """The verdict with the capacity that all trials of its configuration show, those of later blocks too."""
    if not search.plan.objective.by_capacity:
        return verdict
    return verdict.model_copy(update={"capacity": capacity_of(believed(search.results, verdict.candidate))})


def _overloaded(plan: Plan, trials: list[TrialResult]) -> bool:
    """Whether the load that was asked for is more than the configuration serves.

    Trials that measure a capacity choose their load themselves, so their queues say nothing about the asked one.
    """
    return not plan.objective.by_capacity and any(t.overloaded for t in trials)


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
    if plan.objective.by_capacity:
        return _capacity_sentence(plan, trials, incumbent, verdicts)
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
    served_words = (
        f"{where[0].upper()}{where[1:]} serves {plan.workload}{load} with {incumbent}{slo}{_at_cost(plan, trials)}."
    )
    return f"{served_words} {_gain(incumbent, verdicts)}"


def _at_cost(plan: Plan, trials: list[TrialResult]) -> str:
    """The cost or the energy of a token, median of the trials, where it decides."""
    metric = plan.objective.metric
    values = [t.metrics[metric] for t in trials if metric in t.metrics]
    if not values or metric not in (COST, ENERGY):
        return ""
    words = "per million output tokens" if metric == COST else "per output token"
    return f", at {number(median(values))} {unit_of(metric)} {words}"


def _capacity_sentence(plan: Plan, trials: list[TrialResult], incumbent: str, verdicts: list[Verdict]) -> str:
    """How much one server carries, how that compares with the baseline, and how many servers the asked rate takes."""
    where, found = _one_server(plan, trials), capacity_of(trials)
    if found is None:
        why = next((w for t in trials if (w := t.withheld.get(CAPACITY))), "its trials did not show it")
        return f"The capacity of {plan.workload} on {where} with {incumbent} is not known: {why}."
    if found.estimate <= 0:
        return f"{where} cannot keep the SLO of {plan.workload} with {incumbent}: {found.sentence}."
    words = f"{where} with {incumbent} carries {rate(found.estimate, 'request', 3)} of {plan.workload} within the SLO "
    words += f"(95 % interval {number(found.low)} to {number(found.high)})"
    base = next((v.capacity for v in verdicts if v.candidate == "baseline"), None)
    if incumbent != "baseline" and base is not None:
        words += _times(found.estimate, base.estimate)
    words += _at_cost(plan, trials)
    broken = constraint_broken(plan.objective, trials)
    words += f", but breaks a constraint: {broken}" if broken else ""
    asked = asked_rate(plan, trials)
    needed = servers(found, asked)
    if needed is not None and asked:
        each = usd_per_hour(price_of(plan.target), next((v.flags for v in verdicts if v.candidate == incumbent), {}))
        words += f"; {server_words(needed, rate(asked, 'request', 3), each)}"
    return f"{words}." + (f" {_gain(incumbent, verdicts)}" if incumbent == "baseline" else "")


def _times(ours: float, baseline: float) -> str:
    if baseline <= 0:
        return "; the baseline cannot keep the SLO at all"
    return f", {multiple(ours / baseline)} the baseline ({number(baseline)})"


def _one_server(plan: Plan, trials: list[TrialResult]) -> str:
    """The server that was measured: 'One T4 (simulated)'."""
    if plan.target.engine == "endpoint":
        where = place_of(plan, trials)
        return where[0].upper() + where[1:]
    gpu = plan.target.gpu or next((t.gpu for t in trials if t.gpu), "")
    simulated = plan.target.simulated or any(t.simulated for t in trials)
    name = "This machine's CPU" if gpu.lower() == "cpu" else f"One {gpu}" if gpu else "This machine"
    return name + (" (simulated)" if simulated else "")


def _gain(incumbent: str, verdicts: list[Verdict]) -> str:
    """The gain of the incumbent, step by step."""
    steps = [v for v in verdicts if v.verdict == "applied" and v.against]
    if incumbent == "baseline" or not steps:
        ahead = _ahead_without_verdict(verdicts)
        if ahead:
            return ahead
        measured = sum(1 for v in verdicts[1:] if v.ratios or v.trials)
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


def _ahead_without_verdict(verdicts: list[Verdict]) -> str:
    """The configuration that carried more than the baseline in its trials, but has no verdict; empty without one."""
    base = next((v.capacity for v in verdicts if v.candidate == "baseline"), None)
    open_ones = {v.candidate: v.capacity for v in verdicts if v.verdict in UNSETTLED and v.capacity is not None}
    ahead = {name: found for name, found in open_ones.items() if base is not None and found.low > base.high}
    if not ahead:
        return ""
    best = max(ahead, key=lambda name: ahead[name].estimate)
    return (
        f"{best} carried {interval_words(ahead[best])}, but the run ended before a comparison confirmed it; "
        "repeat it with a larger --budget."
    )


def _all_verdicts(search: Search) -> list[Verdict]:
    """Verdicts in the plan's order, then those of other configurations that were measured; a candidate that the search
    did not reach is 'not run'."""
    found = {v.candidate: v for v in search.verdicts}
    reason = search.stopped or "the search did not reach it"
    for candidate in search.plan.candidates:
        if candidate.id not in found:
            found[candidate.id] = Verdict(
                candidate=candidate.id, phase=candidate.phase, verdict="not run", reason=reason
            )
    ordered = [found.pop(c.id) for c in search.plan.candidates]
    return [*ordered, *found.values()]
