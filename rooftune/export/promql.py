"""Queries in PromQL on vLLM's metrics, for the alerts and the dashboard.

The metrics exist under these names in all releases of vLLM from 0.11 to 0.33.
"""

from __future__ import annotations

import json

WINDOW = "5m"
HISTOGRAMS = {
    "ttft_ms": "vllm:time_to_first_token_seconds",
    "tpot_ms": "vllm:request_time_per_output_token_seconds",
    "e2el_ms": "vllm:e2e_request_latency_seconds",
}
"""Limit of the SLO -> vLLM's histogram of the same time."""
WORDS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "E2EL"}
RUNNING, WAITING, KV_USAGE = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
FINISHED, PREEMPTIONS = "vllm:request_success_total", "vllm:num_preemptions_total"


def of_model(served_name: str) -> str:
    """The label that chooses the metrics of a model."""
    return f"{{model_name={json.dumps(served_name, ensure_ascii=False)}}}"


def per_second(counter: str, labels: str) -> str:
    """How fast a counter grows."""
    return f"rate({counter}{labels}[{WINDOW}])"


def over_window(function: str, gauge: str, labels: str) -> str:
    """A function of a gauge over the window: avg_over_time, min_over_time, deriv."""
    return f"{function}({gauge}{labels}[{WINDOW}])"


def quantile_of(histogram: str, share: float, labels: str, *, by: str = "instance, model_name") -> str:
    """The quantile of a histogram."""
    return f"histogram_quantile({share:.10g}, sum by (le, {by}) ({per_second(histogram + '_bucket', labels)}))"


def request_rate(labels: str) -> str:
    """Finished requests per second of each server."""
    return f"sum by (instance, model_name) ({per_second(FINISHED, labels)})"


def above(query: str, value: float) -> str:
    """Whether a query is above a value, which is written with four significant digits."""
    return f"{query} > {float(f'{value:.4g}'):.10g}"
