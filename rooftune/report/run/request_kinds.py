"""Figures of the requests of each LoRA adapter, and of the answer after the reasoning."""

from __future__ import annotations

from rooftune.formatting import NONE, number, percent
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData

OF_ADAPTERS = {
    "completed": "Completed",
    "output_throughput": "Output tokens/s",
    "median_ttft_ms": "TTFT p50 ms",
    "median_tpot_ms": "TPOT p50 ms",
    "slo_attainment": "Within the SLO",
}
OF_REASONING = {
    "median_ttft_ms": "TTFT p50 ms",
    "median_answer_ttft_ms": "TTFT of the answer p50 ms",
    "p99_answer_ttft_ms": "p99 ms",
    "reasoning_share": "Reasoning tokens",
}
SHARES = ("slo_attainment", "reasoning_share")


def adapters(run: RunData, names: Names) -> Section | None:
    """The figures of each adapter in the last trial of the baseline and of the recommended configuration."""
    rows = []
    for id in run.compared:
        for trial in run.of(id)[-1:]:
            for name, found in trial.adapters.items():
                rows.append([names.of(id), name, *(_cell(metric, found.get(metric)) for metric in OF_ADAPTERS)])
    if not rows:
        return None
    simulated = " In the simulated engine, adapters hold memory and cost no time." if run.simulated else ""
    words = f"Requests by the LoRA adapter that they asked for, in the last trial of each configuration.{simulated}"
    heads = ["Configuration", "Adapter", *OF_ADAPTERS.values()]
    return section("LoRA adapters", text(words), table("Figures of each adapter", heads, rows))


def reasoning(run: RunData, names: Names) -> Section | None:
    """Time to the first token, and to the first token of the answer, where the model reasons before it."""
    rows = []
    for id in run.compared:
        if run.value(id, "reasoning_share") is not None:
            rows.append([names.of(id), *(_cell(metric, run.value(id, metric)) for metric in OF_REASONING)])
    if not rows:
        return None
    words = (
        "The model reasons before it answers: TTFT is the time to the first token of the reasoning. Medians over the "
        "trials of a configuration."
    )
    heads = ["Configuration", *OF_REASONING.values()]
    return section("Reasoning", text(words), table("First token and first token of the answer", heads, rows))


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return NONE
    return percent(value, 3) if metric in SHARES else number(value)
