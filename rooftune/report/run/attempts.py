"""Everything that was tried, and every candidate that was not: one row each, with its verdict and its reason."""

from __future__ import annotations

import re

from rooftune.capacity.sentences import NAMES
from rooftune.engines.price import price_of, usd_per_hour
from rooftune.formatting import NONE, change, number, percent, quantity
from rooftune.report.markup import change_words, code, sentence, status
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run.changes import changes
from rooftune.report.run.merit import besides, deciding_metric, from_baseline, heading, level, merit, verdict_words
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.capacity_figures import per_million
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import Candidate, Verdict
from rooftune.workloads.spec import COST

LIMITED_BY = {**NAMES, "queue": "queue", "errors": "errors"}
BY_SEARCH = re.compile(r" \(\d+ trials?, by the search;[^)]*\)")
EXPLAINED = ("no measurable difference", "more trials needed", "no gain")
"""Verdicts whose comparison is worth a word on why it stopped."""


def measured_section(run: RunData, names: Names) -> Section | None:
    """All measured configurations, with all that they change."""
    ids = _best_first(run)
    shown = besides(run, ids)
    head = ["Configuration", "Changes from the baseline", heading(deciding_metric(run)), *map(heading, shown.metrics)]
    head += ["Compared with the baseline", "Verdict", "Finding", "Trials", "Limited by", "Per 1M output tokens"]
    limits = {_limit(run, id) for id in ids}
    rows = []
    for id in ids:
        name = f"**{names.plain(id)}**" if id == run.decision.incumbent else names.plain(id)
        values = [number(run.value(id, m)) for m in shown.metrics]
        rows.append([
            name, changes(run, id), level(run, id), *values, from_baseline(run, id), verdict_words(run, id),
            finding(run, names, id), str(len(run.of(id))),
            _limit(run, id) if len(limits) > 1 or len(ids) == 1 else NONE, _per_million(run, id),
        ])  # fmt: skip
    heading_words = f"{quantity(len(ids), 'configuration')} that {'was' if len(ids) == 1 else 'were'} measured"
    found = table("Every configuration that was measured", head, rows)
    return section(
        heading_words,
        found,
        text(_legend(run, names), _same_limit(limits) if len(ids) > 1 else "", shown.note),
        folded=True,
    )


def _best_first(run: RunData) -> list[str]:
    """All measured configurations by phase, the best of each phase first."""
    places = {phase: place for place, phase in enumerate(run.phases)}
    return [p.id for p in sorted(run.measured, key=lambda p: (places[p.phase], -merit(run, p.id)))]


def _limit(run: RunData, id: str) -> str:
    found = run.capacity_if_measured(id)
    return LIMITED_BY.get(found.limited_by, NONE) if found is not None else NONE


def _same_limit(limits: set[str]) -> str:
    """The limit that all configurations meet first."""
    if len(limits) != 1 or limits == {NONE}:
        return ""
    return f"In all of them, {next(iter(limits))} is the first limit to break."


def _per_million(run: RunData, id: str) -> str:
    found = run.capacity_if_measured(id)
    if found is None or run.plan.objective.metric == COST:
        return NONE
    cost = per_million(found, usd_per_hour(price_of(run.plan.target), run.config(id).flags()))
    return NONE if cost is None else f"${cost:,.2f}"


def _legend(run: RunData, names: Names) -> str:
    words = ["Values are medians over the trials of a configuration."] if not run.by_capacity else []
    if any(BY_SEARCH.search(v.reason) for v in run.decision.verdicts):
        words.append(
            "A finding without a number of trials comes from the search; only comparisons of the confirmation have "
            "error rates."
        )
    if any(names.plain(p.id) != p.id for p in run.measured):
        words.append("`decision.json` and the folders of the trials have the full ids.")
    return " ".join(words)


def finding(run: RunData, names: Names, id: str) -> str:
    """What the trials of a configuration show beyond its level and its change from the baseline."""
    verdict = run.verdict(id)
    if id == "baseline":
        return NONE
    parts = [_compared(verdict), sentence(_rest(run, verdict)), _stopped(verdict), *_zero(run, id)]
    return names.shorten(" ".join(part for part in parts if part)) or NONE


def _compared(v: Verdict) -> str:
    """What it was compared with, over how many trials, and with which result where that is not the baseline."""
    ours, theirs = len(v.trials), len(v.against_trials)
    if not ours or not theirs:
        return ""
    trials = f"{ours} trials each" if ours == theirs else f"{ours} trials against {theirs}"
    found = v.ratios.get(v.metric)
    if found is None or v.against == "baseline":
        return ""
    return f"{found.as_change} compared with {code(v.against or '')} over {trials}."


def _rest(run: RunData, v: Verdict) -> str:
    """The reason without the comparisons that are in other cells."""
    metric = metric_name(v.metric or deciding_metric(run))
    words = BY_SEARCH.sub("", v.reason)
    found = v.ratios.get(v.metric)
    if found is not None:
        words = words.replace(f"{metric} {found.as_change} compared with {v.against}", "")
    words = re.sub(
        rf"^{re.escape(metric)} \S+ %(?: \([^)]*\))? compared with baseline(?: \([^)]*\))?(?: and )?", "", words
    )
    return words.strip("; ").replace("; ;", ";")


def _stopped(v: Verdict) -> str:
    return sentence(v.stopped_because) if v.stopped_because and v.verdict in EXPLAINED else ""


def _zero(run: RunData, id: str) -> list[str]:
    found = run.capacity_if_measured(id)
    said = found is None or found.estimate > 0 or found.sentence in run.verdict(id).reason
    return [] if said or found is None else [sentence(found.sentence)]


def untried_section(run: RunData, names: Names) -> Section | None:
    """Candidates of the playbook without a result, each with the rule or the prediction that explains it."""
    rows = []
    for p in run.plan.candidates:
        if run.of(p.id):
            continue
        v = run.verdict(p.id)
        words = "predicted only" if v.predicted is not None else status(v)
        why = names.explain(_why(p, v, names, complete=run.decision.complete))
        cells = [names.plain(p.id), p.name, change_words(p.change) or NONE, words, _expected(p, v)]
        rows.append([*map(names.shorten, cells), why])
    head = ["Candidate", "What it is", "Would change", "Status", "Expected gain", "Reason"]
    found = table("Candidates without a result", head, rows)
    return section(f"{quantity(len(rows), 'candidate')} without a result", found, folded=True)


def _expected(p: Candidate, v: Verdict) -> str:
    """The effect that the plan or the search expects."""
    if v.predicted is not None:
        return "keeps the SLO at no rate" if v.predicted.estimate <= 0 else v.predicted.as_change
    if p.expected is None or v.verdict in ("already on", "not supported"):
        return NONE
    if p.expected.ratio is not None:
        return change(p.expected.ratio)
    return p.expected.sentence


def _why(p: Candidate, v: Verdict, names: Names, *, complete: bool) -> str:
    """The rule, the failure, or what took its place."""
    words = re.sub(r"^[a-z0-9 ]+ predicted [^;]*, not measured(; )?", "", v.reason)
    words = re.sub(r"^it is predicted to keep the SLO at no rate, so it was not measured(; )?", "", words)
    traps = [f"Known trap: {sentence(g.reason)}" for g in p.gates if g.verdict == "trap"]
    words = re.sub(r"^expected: [^;]*; not measured(; )?", "", words)
    words = re.sub(r"(?<=measured as a part of )[^\s;]+", lambda m: names.explained(m[0]), words)
    if not words:
        words = "others had more to gain" if complete else "the run ended before a trial of it"
    return " ".join([sentence(words), *traps])


def loads_section(run: RunData, names: Names) -> Section | None:
    """Every load of every trial whose rate the search chose."""
    rows = []
    for p in run.measured:
        found = [
            [number(s.rate_per_s), f"{s.requests:,}", percent(s.attainment, 3), _pair(s.latencies, "ttft_ms"),
             _pair(s.latencies, "tpot_ms"), "grew" if s.queue_grew else "steady"]
            for s in run.rate_steps(p.id)
        ]  # fmt: skip
        lone = next((t.capacity.lone for t in reversed(run.of(p.id)) if t.capacity and t.capacity.lone), None)
        if lone is not None:
            found.append(["one at a time", f"{lone.requests:,}", percent(lone.attainment, 3), NONE, NONE, NONE])
        rows += [[names.plain(p.id), "" if i else changes(run, p.id), *cells] for i, cells in enumerate(found)]
    head = [
        "Configuration",
        "Changes from the baseline",
        "Load (req/s)",
        "Requests judged",
        "Within the SLO",
        "TTFT p50 / p99 (ms)",
    ]
    head += ["TPOT p50 / p99 (ms)", "Queue"]
    if not rows:
        return None
    return section("Every load of every trial", table("Loads of the trials", head, rows), folded=True)


def _pair(latencies: dict[str, float], name: str) -> str:
    return " / ".join(number(latencies.get(f"{word}_{name}")) for word in ("median", "p99"))
