"""The metrics that commands show, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rooftune.formatting import number


@dataclass(frozen=True)
class ShownMetric:
    """One metric as a table shows it."""

    name: str
    title: str
    unit: str

    def row(self, value: float | None) -> list[str]:
        """Cells of a table."""
        return [self.title, number(value), self.unit]


SHOWN = (
    ShownMetric("output_throughput", "Output throughput", "tokens/s"),
    ShownMetric("request_throughput", "Requests completed", "requests/s"),
    ShownMetric("request_goodput", "Goodput (within the SLO)", "requests/s"),
    ShownMetric("median_ttft_ms", "TTFT p50", "ms"),
    ShownMetric("p99_ttft_ms", "TTFT p99", "ms"),
    ShownMetric("median_answer_ttft_ms", "TTFT of the answer p50", "ms"),
    ShownMetric("p99_answer_ttft_ms", "TTFT of the answer p99", "ms"),
    ShownMetric("total_reasoning_tokens", "Reasoning tokens", "tokens"),
    ShownMetric("median_tpot_ms", "TPOT p50", "ms"),
    ShownMetric("p99_tpot_ms", "TPOT p99", "ms"),
    ShownMetric("median_itl_ms", "ITL p50", "ms"),
    ShownMetric("median_e2el_ms", "E2EL p50", "ms"),
    ShownMetric("p99_e2el_ms", "E2EL p99", "ms"),
)


def metric_rows(metrics: Mapping[str, float], withheld: Mapping[str, str] | None = None) -> list[list[str]]:
    """One row for each metric that there is, and for each that is withheld, with the reason."""
    rows = []
    for shown in SHOWN:
        if metrics.get(shown.name) is not None:
            rows.append(shown.row(metrics[shown.name]))
        elif withheld and shown.name in withheld:
            rows.append([shown.title, "withheld", withheld[shown.name]])
    return rows


OF_ADAPTERS = (
    ShownMetric("completed", "Completed", "requests"),
    ShownMetric("output_throughput", "Tokens/s", "tokens/s"),
    ShownMetric("median_ttft_ms", "TTFT p50, ms", "ms"),
    ShownMetric("median_tpot_ms", "TPOT p50, ms", "ms"),
)
"""The metrics that are shown of each LoRA adapter."""


def adapter_rows(adapters: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """One row for each adapter."""
    return [[name, *(number(found.get(m.name)) for m in OF_ADAPTERS)] for name, found in adapters.items()]
