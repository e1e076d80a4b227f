"""The recommendation, and the configuration for each scenario, with the evidence."""

from __future__ import annotations

import math

from rooftune.engines.command_line import shown
from rooftune.evidence.comparison.compare import SMALLEST_EFFECT
from rooftune.formatting import change, number, rate
from rooftune.report.found import unchanged_answers
from rooftune.report.markup import code, joined, sentence, table
from rooftune.report.run_data import RunData
from rooftune.tuning.goal import slo_broken
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of

OTHER_LOADS = {
    "rag-medium": "Long prompts (retrieval)",
    "code-medium": "Long prompts and answers (code)",
    "chat-low": "Few requests at a time",
    "burst": "Bursts",
}
"""Workloads that come with rooftune and differ from a chat at medium load."""


def recommendation(run: RunData) -> list[str]:
    """The command to use, and how much load it can serve."""
    name = run.decision.incumbent
    lines = ["## Recommendation", ""]
    if run.plan.target.engine == "endpoint":
        lines += [
            "rooftune cannot change the flags of an endpoint. Run the model under `--engine vllm` to tune it.",
            "",
        ]
    else:
        lines += [f"Use {code(name)} (`start_vllm.sh`):", "", "```bash", shown(run.config(name)), "```", ""]
    lines += unchanged_answers(run)
    lines += _capacity(run)
    if run.simulated:
        lines += ["Treat this as the simulator's prediction until a run on the real GPU confirms it.", ""]
    return lines


def _capacity(run: RunData) -> list[str]:
    served, asked = run.decision.served_rate_per_s, run.decision.asked_rate_per_s
    if run.decision.overloaded and served and asked:
        words = (
            f"It serves about {rate(served, 'request')} of this workload. Keep the load at or below this, because "
            f"the queue grows without end above it. To serve the {rate(asked, 'request', 3)} that the workload asks "
            f"for, put about {math.ceil(asked / served)} such servers behind a load balancer, or choose other "
            "hardware (see the upgrade path)."
        )
        if run.plan.objective.slo:
            words += (
                " This run did not measure whether they would keep the SLO; tune at the rate of one server to know."
            )
        return [words, ""]
    broken = slo_broken(run.plan.objective, run.of(run.decision.incumbent))
    return [f"It serves the whole load but breaks the SLO: {broken}.", ""] if broken else []


def scenarios(run: RunData) -> list[str]:
    """Which configuration suits which scenario, each row with its evidence or "not measured"."""
    here = run.decision.incumbent
    rows = [
        ["This workload", code(here), _evidence(run, here, "output_throughput", "median_tpot_ms")],
        _best(run, "Highest throughput", "output_throughput"),
        _best(run, "Shortest time per output token", "median_tpot_ms"),
        _best(run, "Shortest time to first token", "median_ttft_ms"),
        _best(run, "Shortest time to last token", "median_e2el_ms"),
    ]
    head = ["Scenario", "Configuration", "Evidence"]
    return ["## When to use which configuration", "", *table(head, [*rows, *other_workloads(run)]), ""]


def other_workloads(run: RunData) -> list[list[str]]:
    """Rows for the workloads that this run says nothing about."""
    return [
        [words, "not measured", f"Run {code(f'rooftune optimize {name}')} with the same options."]
        for name, words in OTHER_LOADS.items()
        if name != run.plan.workload
    ]


def _best(run: RunData, scenario: str, metric: str) -> list[str]:
    """The configuration with the best value; the recommended one if none is clearly better."""
    values = {p.id: v for p in run.measured if (v := run.value(p.id, metric)) is not None}
    own = run.decision.incumbent
    lower = lower_is_better(metric)
    if len(values) < 2:
        reason = run.withheld(own, metric) or "fewer than two configurations have this metric"
        return [scenario, "not measured", sentence(reason)]
    if not lower and not any(t.overloaded for t in run.of(own)):
        return [scenario, "not measured", "The load did not saturate the server, so throughput equals the load."]
    better = {k: v for k, v in values.items() if k == own or _clearly_better(run, k, own, metric)}
    name = min(better, key=lambda k: better[k] if lower else -better[k])
    saturated = any(t.overloaded for t in run.of(name))
    also = ["output_throughput"] if saturated and metric != "output_throughput" else []
    cost = ""
    throughput, top = run.value(name, "output_throughput"), run.value(own, "output_throughput")
    if name != own and throughput and top and saturated:
        cost = f" ({change(throughput / top)} compared with {code(own)})"
    return [scenario, code(name), _evidence(run, name, metric, *also) + cost]


def _clearly_better(run: RunData, name: str, other: str, metric: str) -> bool:
    """Whether a configuration is better than another by enough to matter, with an interval that excludes no change."""
    found = run.ratios(name, other).get(metric)
    if found is None:
        return False
    lower = lower_is_better(metric)
    gain = 1 / found.estimate if lower else found.estimate
    return gain >= 1 + SMALLEST_EFFECT and (found.high < 1 if lower else found.low > 1)


def _evidence(run: RunData, name: str, *metrics: str) -> str:
    values = {m: v for m in metrics if (v := run.value(name, m)) is not None}
    return joined([f"{metric_name(m)} {number(v)} {unit_of(m)}" for m, v in values.items()]) or "not measured"
