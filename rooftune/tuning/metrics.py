"""The metrics that verdicts and reports show: their names for readers, their units, and which direction is better."""

from __future__ import annotations

from rooftune.workloads.spec import COST, ENERGY, lower_is_better

__all__ = ["COMPARED", "METRIC_NAMES", "lower_is_better", "metric_name", "unit_of"]

COMPARED = (
    "output_throughput",
    "request_throughput",
    "request_goodput",
    "median_tpot_ms",
    "p99_tpot_ms",
    "median_itl_ms",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_e2el_ms",
    "p99_e2el_ms",
    ENERGY,
)
"""Every verdict has the ratios of these metrics, where both sides measured them."""

METRIC_NAMES = {
    "capacity": "capacity",
    "output_throughput": "output throughput",
    "request_throughput": "request throughput",
    "total_token_throughput": "total token throughput",
    "request_goodput": "goodput",
    "median_tpot_ms": "median TPOT",
    "p99_tpot_ms": "p99 TPOT",
    "median_itl_ms": "median ITL",
    "p99_itl_ms": "p99 ITL",
    "median_ttft_ms": "median TTFT",
    "p99_ttft_ms": "p99 TTFT",
    "median_e2el_ms": "median E2EL",
    "p99_e2el_ms": "p99 E2EL",
    COST: "cost per million output tokens",
    ENERGY: "energy per output token",
}


def metric_name(metric: str) -> str:
    """The metric's name for readers: 'median TPOT'."""
    return METRIC_NAMES.get(metric, metric)


def unit_of(metric: str) -> str:
    """The metric's unit: 'ms', 'tok/s', 'req/s', 'USD' or 'J'."""
    if metric in (COST, ENERGY):
        return "USD" if metric == COST else "J"
    if lower_is_better(metric):
        return "ms"
    return "tok/s" if metric in ("output_throughput", "total_token_throughput") else "req/s"
