"""Which configuration suits which scenario, each row with its evidence: measured, or predicted by the simulator."""

from __future__ import annotations

from rooftune.evidence.comparison.compare import SMALLEST_EFFECT
from rooftune.formatting import change, number
from rooftune.report.markup import code, joined, sentence
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run.deployment import same_answers
from rooftune.report.run.merit import capacity_cell
from rooftune.report.run.naming import FirstMentions, Names
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of
from rooftune.tuning.other_workloads import DESCRIPTIONS, OtherWorkload

HEADING = "When to use which configuration"
SAME = 1.05
"""Predicted capacities that differ by less are no reason to deploy another configuration."""


def scenarios(run: RunData, names: Names) -> Section | None:
    """Scenarios that this run decides, and other workloads as the simulator predicts them."""
    known = FirstMentions(names)
    decided = _by_capacity(run, known) if run.by_capacity else _by_metric(run, known)
    others = _other_workloads(run, known)
    head = ["Scenario", "Configuration", "Evidence", "How known"]
    note = ""
    if run.other_workloads is not None and any(w.rows for w in run.other_workloads.workloads):
        note = (
            "Predictions compare the configurations of this report on the workloads that come with rooftune. Run "
            "`rooftune optimize WORKLOAD` with the same options before you rely on one."
        )
    return section(HEADING, table("Which configuration suits which scenario", head, [*decided, *others]), text(note))


def _by_capacity(run: RunData, names: FirstMentions) -> list[list[str]]:
    own = run.decision.incumbent
    found = run.capacity_if_measured(own)
    rows = []
    if found is not None and found.estimate > 0:
        rows.append(["This workload within its SLO", names.of(own), f"{number(found.estimate)} requests/s", "measured"])
    kept = same_answers(run)
    if kept is not None and kept != own:
        rows.append(["The same with unchanged answers", names.of(kept), *_unchanged(run, kept)])
    search = run.decision.search
    if search is not None and search.front:
        fast = search.front[0]
        if fast.option != own:
            evidence = f"TPOT p50 {number(fast.tpot_ms)} ms at {number(fast.capacity)} requests/s"
            rows.append(["Shortest time per output token", names.of(fast.option), evidence, "predicted"])
    return rows


def _unchanged(run: RunData, name: str) -> list[str]:
    own, search = run.decision.incumbent, run.decision.search
    ours, best = run.capacity_if_measured(name), run.capacity_if_measured(own)
    if ours is not None and best is not None and best.estimate > 0:
        lost = change(ours.estimate / best.estimate)
        return [f"{capacity_cell(ours)} requests/s, {lost} compared with the recommended", "measured"]
    if search is not None and search.same_answers_ratio is not None:
        return [f"{search.same_answers_ratio.as_change} compared with the baseline", "predicted"]
    return ["", "not measured"]


def _by_metric(run: RunData, names: FirstMentions) -> list[list[str]]:
    """The best configuration by each metric that the asked load decides."""
    here = run.decision.incumbent
    rows = [["This workload", names.of(here), _values(run, here, "output_throughput", "median_tpot_ms"), "measured"]]
    scenarios_by_metric = {
        "output_throughput": "Highest throughput",
        "median_tpot_ms": "Shortest time per output token",
        "median_ttft_ms": "Shortest time to first token",
        "median_e2el_ms": "Shortest time to last token",
    }
    unknown: dict[str, list[str]] = {}
    for metric, words in scenarios_by_metric.items():
        reason = _undecided(run, metric)
        if reason:
            unknown.setdefault(reason, []).append(words[0].lower() + words[1:])
        else:
            rows.append([words, *_best(run, names, metric)])
    for reason, found in unknown.items():
        listed = joined(found)
        rows.append([listed[0].upper() + listed[1:], "–", sentence(reason), "not known"])
    return rows


def _undecided(run: RunData, metric: str) -> str:
    """Why this run does not decide a metric; empty where it does."""
    own = run.decision.incumbent
    known = [p.id for p in run.measured if run.value(p.id, metric) is not None]
    if len(known) < 2:
        return run.withheld(own, metric) or "fewer than two configurations have this metric"
    if not lower_is_better(metric) and not any(t.overloaded for t in run.of(own)):
        return "the load did not saturate the server, so throughput equals the load"
    return ""


def _best(run: RunData, names: FirstMentions, metric: str) -> list[str]:
    """The configuration with the best value; the recommended one if none is clearly better."""
    values = {p.id: v for p in run.measured if (v := run.value(p.id, metric)) is not None}
    own, lower = run.decision.incumbent, lower_is_better(metric)
    better = {k: v for k, v in values.items() if k == own or _clearly_better(run, k, own, metric)}
    name = min(better, key=lambda k: better[k] if lower else -better[k])
    saturated = any(t.overloaded for t in run.of(name))
    also = ["output_throughput"] if saturated and metric != "output_throughput" else []
    cost = ""
    throughput, top = run.value(name, "output_throughput"), run.value(own, "output_throughput")
    if name != own and throughput and top and saturated:
        cost = f" ({change(throughput / top)} compared with {names.of(own)})"
    return [names.of(name), _values(run, name, metric, *also) + cost, "measured"]


def _clearly_better(run: RunData, name: str, other: str, metric: str) -> bool:
    """Whether a configuration is better than another by enough to matter, with an interval that excludes no change."""
    found = run.ratios(name, other).get(metric)
    if found is None:
        return False
    lower = lower_is_better(metric)
    gain = 1 / found.estimate if lower else found.estimate
    return gain >= 1 + SMALLEST_EFFECT and (found.high < 1 if lower else found.low > 1)


def _values(run: RunData, name: str, *metrics: str) -> str:
    values = {m: v for m in metrics if (v := run.value(name, m)) is not None}
    return joined([f"{metric_name(m)} {number(v)} {unit_of(m)}" for m, v in values.items()])


def _other_workloads(run: RunData, names: FirstMentions) -> list[list[str]]:
    """One row per workload that this run did not send."""
    others = {n: f"{words} ({code(n)})" for n, words in DESCRIPTIONS.items() if n != run.plan.workload}
    if run.other_workloads is None:
        listed = joined([words[0].lower() + words[1:] for words in others.values()])
        return [[listed[0].upper() + listed[1:], "–", "Run `rooftune optimize` with the workload.", "not measured"]]
    predicted = {w.workload: w for w in run.other_workloads.workloads}
    return [[words, *_other(run, names, predicted.get(name))] for name, words in others.items()]


def _other(run: RunData, names: FirstMentions, found: OtherWorkload | None) -> list[str]:
    if found is None or not found.rows:
        return ["–", sentence(found.refused) if found is not None and found.refused else "", "not measured"]
    best = max(found.rows, key=lambda row: row.capacity_per_s * (SAME if row.option == run.decision.incumbent else 1))
    if best.capacity_per_s <= 0:
        return ["–", "No configuration of this report keeps its SLO.", "predicted"]
    base = next((row for row in found.rows if row.option == "baseline"), None)
    compared = f" (baseline {number(base.capacity_per_s)})" if base is not None and best.option != "baseline" else ""
    return [names.of(best.option), f"{number(best.capacity_per_s)} requests/s within its SLO{compared}", "predicted"]
