"""Metrics of the requests of each LoRA adapter."""

from __future__ import annotations

from rooftune.evidence.metrics.request_metrics import request_metrics
from rooftune.evidence.records.columns import Requests
from rooftune.metrics.window import Window
from rooftune.workloads.slo import Slo

KEPT = (
    *("completed", "failed", "request_throughput", "output_throughput", "request_goodput", "slo_attainment"),
    *("median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "p99_tpot_ms", "median_e2el_ms", "p99_e2el_ms"),
)
"""Metrics that are kept of each adapter."""
BASE = "base model"
"""What requests without an adapter are called."""


def adapter_metrics(
    r: Requests, window: Window, slo: Slo | None, *, overloaded: bool = False
) -> dict[str, dict[str, float]]:
    """Metrics by adapter, those of the base model first; empty where no request asked for an adapter."""
    names = sorted({str(name) for name in r.adapter})
    if not any(names):
        return {}
    found = {}
    for name in names:
        metrics = request_metrics(r.only(r.adapter == name), window, slo, overloaded=overloaded).metrics
        found[name or BASE] = {k: metrics[k] for k in KEPT if k in metrics}
    return found
