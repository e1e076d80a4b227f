"""The answer of a run: one sentence, and what a reader must know before acting on it."""

from __future__ import annotations

import math

from rooftune.capacity.sentences import NAMES
from rooftune.engines.price import GIVEN
from rooftune.formatting import change, multiple, number, percent, quantity, rate
from rooftune.report.markup import joined, sentence
from rooftune.report.page.model import Fact, Facts, Paragraph
from rooftune.report.run.answer_quality import known_answers, rejected
from rooftune.report.run.evidence import doubts
from rooftune.report.run.merit import deciding_metric, interval_from_baseline, trials_compared
from rooftune.report.run.naming import Names
from rooftune.report.run.unsettled import unsettled
from rooftune.report.run_data import RunData
from rooftune.tuning.goal import constraint_broken, slo_broken
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of
from rooftune.tuning.plan import CapacityFigures
from rooftune.workloads.spec import COST, ENERGY

OPEN = ("more trials needed", "not run")
"""Verdicts of configurations that more trials could still show to be better."""


def answer(run: RunData, names: Names) -> Paragraph:
    """The one sentence that a reader takes away."""
    own = run.decision.incumbent
    if not run.of(own):
        return Paragraph(sentence(names.explain(run.decision.first_sentence).rstrip(".")), "answer")
    words = _capacity_answer(run, own) if run.by_capacity else _answer_at_the_load(run, names, own)
    return Paragraph(words, "answer")


def server_words(run: RunData) -> str:
    """The server that was measured: 'One T4'."""
    target = run.plan.target
    if target.engine == "endpoint":
        return "The endpoint"
    gpu = target.gpu or next((t.gpu for t in run.trials if t.gpu), "")
    return "This machine's CPU" if gpu.lower() == "cpu" else f"One {gpu}" if gpu else "This machine"


def _capacity_answer(run: RunData, own: str) -> str:
    found, where = run.capacity(own), server_words(run)
    if found is None:
        return sentence(run.decision.first_sentence)
    if found.estimate <= 0:
        return f"{where} cannot keep the SLO with any configuration that was measured: {found.sentence}."
    words = f"{where} carries {rate(found.estimate, 'request', 3)} within the SLO"
    words += f" (95 % interval {number(found.low)} to {number(found.high)}){_times_the_baseline(run, own)}."
    replicas, asked = run.decision.replicas, run.decision.asked_rate_per_s
    if replicas is not None and asked:
        words += f" {rate(asked, 'request', 3)} {'need' if asked != 1 else 'needs'} "
        words += quantity(replicas.at_estimate, "server")
        words += f", or {replicas.at_low} to be safe" if replicas.at_low != replicas.at_estimate else ""
        price = run.decision.usd_per_hour
        words += f", at {_prices(price, replicas.at_estimate, replicas.at_low)} per hour." if price is not None else "."
    return words


def _prices(each: float, *counts: int) -> str:
    return " or ".join(dict.fromkeys(f"${n * each:,.2f}" for n in counts))


def _times_the_baseline(run: RunData, own: str) -> str:
    ours, base = run.capacity(own), run.capacity_if_measured("baseline")
    if own == "baseline" or ours is None or base is None:
        return " with the baseline configuration" if own == "baseline" else ""
    if base.estimate <= 0:
        return "; the baseline cannot keep it at all"
    return f", {multiple(ours.estimate / base.estimate)} the baseline"


def _answer_at_the_load(run: RunData, names: Names, own: str) -> str:
    """The answer of a run that compared configurations at the asked load."""
    asked, served = run.decision.asked_rate_per_s, run.decision.served_rate_per_s
    where, metric = server_words(run), deciding_metric(run)
    value = run.value(own, metric)
    level = f"{metric_name(metric)} {number(value)} {unit_of(metric)}" if value is not None else ""
    compared = _compared(run, own, metric)
    if run.decision.overloaded and asked and served:
        return (
            f"{where} serves about {number(served, 2)} of the {rate(asked, 'request', 3)} "
            f"({percent(served / asked)}) with {names.explained(own)}: {level}{compared}. It takes about "
            f"{math.ceil(asked / served)} such servers."
        )
    load = f" at {rate(asked, 'request', 3)}" if asked else ""
    broken = slo_broken(run.plan.objective, run.of(own))
    slo = f", but breaks the SLO ({broken})" if broken else " within the SLO" if run.plan.objective.slo else ""
    return f"{where} serves {run.plan.workload}{load}{slo} with {names.explained(own)}: {level}{compared}."


def _compared(run: RunData, own: str, metric: str) -> str:
    """How many times the baseline's value; for latencies and costs, the change."""
    ours, base = run.value(own, metric), run.value("baseline", metric)
    if own == "baseline" or not ours or not base:
        return ""
    if lower_is_better(metric):
        return f", {change(ours / base)} compared with the baseline"
    return f", {multiple(ours / base)} the baseline"


def facts(run: RunData, names: Names) -> Facts:
    """What limits the answer, what it costs, and how sure it is."""
    rows = [
        Fact("Load limit", _load_limit(run)),
        Fact("Cost", _cost(run)),
        Fact("How sure", _sure(run, names)),
        Fact("Answers", known_answers(run, run.decision.incumbent)),
        Fact("Rejected", rejected(run, names)),
        Fact("Not settled", unsettled(run, names)),
    ]
    return Facts(tuple(row for row in rows if row.text))


def _load_limit(run: RunData) -> str:
    own = run.decision.incumbent
    found = run.capacity(own) if run.by_capacity and run.of(own) else None
    broken = constraint_broken(run.plan.objective, run.of(own)) if run.of(own) else ""
    words = [f"It breaks a constraint: {broken}."] if broken else []
    if found is not None and found.estimate > 0:
        low = rate(found.low, "request", 3)
        words.append(f"Keep each server at or below {low}, the lower end of the interval. {_what_breaks(found)}")
    elif run.decision.overloaded and run.decision.served_rate_per_s:
        words.append(
            f"Keep each server at or below {rate(run.decision.served_rate_per_s, 'request')}. Above it the queue grows "
            "as long as the load lasts, so no latency limit can be kept there."
        )
        if run.plan.objective.slo:
            words.append(
                "Whether the SLO is kept below it was not measured; to find out, tune at the rate of one server."
            )
    return " ".join(words)


def _what_breaks(found: CapacityFigures) -> str:
    if found.limited_by in NAMES:
        return f"Above the capacity, {NAMES[found.limited_by]} is the first limit to break."
    return "Above the capacity, requests fail." if found.limited_by == "errors" else "Above it the queue grows."


def _cost(run: RunData) -> str:
    tokens, each = run.decision.usd_per_million_output_tokens, run.decision.usd_per_hour
    words = []
    for metric, per in ((COST, "million output tokens"), (ENERGY, "output token")):
        value = run.value(run.decision.incumbent, metric)
        if value is not None and metric == run.plan.objective.metric:
            words.append(f"{number(value)} {unit_of(metric)} per {per}, measured.")
    if tokens is not None and each is not None:
        source = run.decision.price_source
        origin = "the price given with --price" if source == GIVEN else f"list price of {source}"
        words.append(
            f"${tokens:,.2f} per million output tokens at the capacity. A server costs ${each:,.2f}/h ({origin})."
        )
    return " ".join(words)


def _sure(run: RunData, names: Names) -> str:
    """Whether the gain is confirmed, how many trials and requests are behind the figure, and their audit."""
    own = run.decision.incumbent
    trials = run.of(own)
    if not trials:
        return ""
    judged = sum(s.requests for s in run.rate_steps(own))
    fresh = "each with its own start of the server" if len(trials) > 1 else "so it does not show how much starts differ"
    requests = f" with {quantity(judged, 'judged request')}" if judged else ""
    words = [_confirmed(run, own), f"The figure comes from {quantity(len(trials), 'trial')}{requests}, {fresh}."]
    words.append(doubts(run, names))
    return " ".join(word for word in words if word)


def _confirmed(run: RunData, own: str) -> str:
    """What the comparison of the recommendation shows."""
    if own == "baseline":
        compared = [v for v in run.decision.verdicts[1:] if v.ratios or v.trials]
        if not compared:
            return "No alternative was measured."
        if any(v.verdict in OPEN for v in compared):
            return "No alternative is confirmed to be better."
        if len(compared) == 1:
            return "The only alternative measured is not better."
        return f"None of the {len(compared)} alternatives measured is better."
    verdict = run.verdict(own)
    if verdict.verdict == "applied" and verdict.ratios and verdict.against != "baseline":
        return "Each step of the gain is confirmed by a separate comparison."
    interval = interval_from_baseline(run, own)
    if interval is None or verdict.verdict != "applied":
        return "The gain over the baseline is not confirmed."
    metric = metric_name(verdict.metric or deciding_metric(run))
    words = f"The gain is confirmed: {metric} {interval.as_change} compared with the baseline"
    return f"{words}, over {trials_compared(verdict)}."


def what_changes(changed: list[str]) -> str:
    """The warning that answers may differ; empty where nothing changes them."""
    return f"{joined(changed)} may change the generated text, so check its quality before use." if changed else ""
