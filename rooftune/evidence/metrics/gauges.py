"""The server's own counters and gauges over the measured window, from ticks.parquet."""

from __future__ import annotations

import numpy as np

from rooftune.engines.metrics import POSITIONS, position_column
from rooftune.evidence.records.columns import Floats, Ticks
from rooftune.metrics.window import Window

MEANS = (
    "running",
    "waiting",
    "kv_usage",
    "client_in_flight",
    "client_connections",
    "client_cpu_share",
    "host_cpu_share",
    "gpu_count",
    "gpu_power_w",
    "gpu_temperature_c",
    "gpu_sm_clock_mhz",
    "gpu_memory_clock_mhz",
    "gpu_utilization",
    "gpu_memory_used_bytes",
)
COUNTERS = {
    "prompt_tokens_total": "prompt_tokens",
    "generation_tokens_total": "generation_tokens",
    "request_success_total": "request_success",
    "preemptions_total": "preemptions",
    "prefix_queries_total": "prefix_queries",
    "prefix_hits_total": "prefix_hits",
    "spec_drafts_total": "spec_drafts",
    "spec_draft_tokens_total": "spec_draft_tokens",
    "spec_accepted_tokens_total": "spec_accepted_tokens",
    **{position_column(n + 1): f"spec_accepted_pos_{n + 1}" for n in range(POSITIONS)},
    "ttft_count": "first_tokens",
}
RATIOS = {
    "iteration_tokens": ("iteration_tokens_sum", "iteration_tokens_count", 1.0),
    "mean_ttft_ms": ("ttft_sum_s", "ttft_count", 1000.0),
    "mean_queue_ms": ("queue_sum_s", "queue_count", 1000.0),
}
"""Name -> histogram sum, histogram count, factor."""


def server_metrics(ticks: Ticks, window: Window) -> dict[str, float]:
    """Means of gauges and deltas of counters over the window; what the server does not report is absent.

    Names without a unit are counts or shares; ``generation_tokens_per_s`` and ``steps_per_s`` are rates.
    """
    at = ticks.get("t_s")
    if at is None or len(at) == 0:
        return {}
    inside = (at >= window.start_s) & (at <= window.end_s)
    found = {name: value for name in MEANS if (value := _mean(ticks.get(name), inside)) is not None}
    seconds = window.end_s - window.start_s
    for column, name in COUNTERS.items():
        value = delta(ticks, column, window)
        if value is not None:
            found[name] = value
    for name, (total, count, factor) in RATIOS.items():
        total_delta, count_delta = delta(ticks, total, window), delta(ticks, count, window)
        if total_delta is not None and count_delta:
            found[name] = factor * total_delta / count_delta
    if "generation_tokens" in found:
        found["generation_tokens_per_s"] = found["generation_tokens"] / seconds
    if found.get("prefix_queries"):
        found["prefix_hit_share"] = found["prefix_hits"] / found["prefix_queries"]
    steps = delta(ticks, "iteration_tokens_count", window)
    if steps:
        found["steps_per_s"] = steps / seconds
    behind = ticks.get("behind_s")
    if behind is not None and np.isfinite(behind).any():
        found["behind_s"] = float(np.nanmax(behind))
    return found


def delta(ticks: Ticks, column: str, window: Window) -> float | None:
    """Growth of a counter over the window, interpolated between samples; None without two samples.

    A counter that falls (the server was restarted) counts from zero again.
    """
    values, at = ticks.get(column), ticks.get("t_s")
    if values is None or at is None:
        return None
    known = np.isfinite(values) & np.isfinite(at)
    if known.sum() < 2 or at[known][-1] <= window.start_s or at[known][0] >= window.end_s:
        return None
    steps = np.diff(values[known])
    grown = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, values[known][1:], steps))])
    ends = np.interp([window.start_s, window.end_s], at[known], grown)
    return float(ends[1] - ends[0])


def _mean(values: Floats | None, inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float | None:
    if values is None or not np.isfinite(values[inside]).any():
        return None
    return float(np.nanmean(values[inside]))
