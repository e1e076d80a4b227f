"""Reads reports of inference-perf (kubernetes-sigs): the summary of a stage or of all, and the records of each request.

All times are seconds. Keys as ``inference_perf/reportgen/base.py`` writes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.evidence.importers.values import Json, finite, inner, number
from rooftune.evidence.records.columns import ChunkArrivals, Floats, requests_from
from rooftune.evidence.records.evidence import Evidence

TOOL = "inference-perf"
LATENCIES = {
    "request_latency": "e2el_ms",
    "time_to_first_token": "ttft_ms",
    "time_per_output_token": "tpot_ms",
    "inter_token_latency": "itl_ms",
}
STATISTICS = ("mean", "median", "p90", "p95", "p99")
RATES = {
    "requests_per_sec": "request_throughput",
    "output_tokens_per_sec": "output_throughput",
    "total_tokens_per_sec": "total_token_throughput",
}


def is_summary(value: Json) -> bool:
    """Whether this is ``stage_N_lifecycle_metrics.json`` or ``summary_lifecycle_metrics.json``."""
    return "load_summary" in value and "successes" in value


def is_record(value: Json) -> bool:
    """Whether this is a record of ``per_request_lifecycle_metrics.json``."""
    return "start_time" in value and "end_time" in value and "info" in value and "request" in value


def read_summary(value: Json, label: str) -> Evidence:
    """The figures of a stage: rates, latencies, and how late the client sent."""
    load, good = inner(value, "load_summary"), inner(value, "successes")
    completed, broken = finite(good.get("count")), finite(inner(value, "failures").get("count"))
    scheduled = finite(load.get("count"))
    if scheduled is None and completed is not None:
        scheduled = completed + (broken or 0.0)
    named: dict[str, float | None] = {
        "completed": completed,
        "failed": broken,
        "num_prompts": scheduled,
        "request_rate": finite(load.get("requested_rate")),
        "sent_rate": finite(load.get("achieved_rate")),
        "max_concurrency": finite(load.get("concurrency")),
        "mean_output_tokens": finite(inner(good, "output_len").get("mean")),
        "mean_input_tokens": finite(inner(good, "prompt_len").get("mean")),
    }
    for theirs, ours in RATES.items():
        named[ours] = finite(inner(good, "throughput").get(theirs))
    for theirs, base in LATENCIES.items():
        block = inner(good, "latency", theirs)
        named |= {f"{s}_{base}": _ms(block.get(s)) for s in STATISTICS}
    delay = inner(load, "schedule_delay")
    named |= {f"send_lag_{s}_ms": _ms(delay.get(s)) for s in ("p99", "max")}
    return Evidence(TOOL, label, quoted={k: v for k, v in named.items() if v is not None})


def _ms(seconds: object) -> float | None:
    found = finite(seconds)
    return None if found is None else 1000 * found


def read_records(values: Sequence[Json], label: str) -> Evidence:
    """Every request; ``output_token_times`` are on the clock of ``start_time``.

    Raises:
        RooftuneError: no request has a time.
    """
    found = [v for v in values if math.isfinite(number(v.get("start_time")))]
    if not found:
        raise RooftuneError(f"{label} has no request with a start_time.")
    start = np.array([number(v.get("start_time")) for v in found])
    due = np.array([number(v.get("scheduled_time")) for v in found])
    due = np.where(np.isfinite(due), due, start)
    origin = float(np.nanmin(due))
    tokens = [_times(inner(v, "info").get("output_token_times")) for v in found]
    good = np.array([v.get("error") is None for v in found])
    end = np.array([number(v.get("end_time")) for v in found]) - origin
    first = np.array([t[0] if len(t) else math.nan for t in tokens]) - origin
    last = np.array([t[-1] if len(t) else math.nan for t in tokens]) - origin
    last = np.where(np.isfinite(last), last, end)
    output = np.array([number(inner(v, "info").get("output_tokens")) for v in found])
    sizes = np.array([len(t) for t in tokens])
    owner = np.repeat(np.arange(len(found)), sizes)
    each = np.where(np.isfinite(output), output, sizes) / np.maximum(sizes, 1)
    columns = {
        "status": np.where(good, "completed", "failed").astype(object),
        "scheduled_s": due - origin,
        "sent_s": start - origin,
        "first_token_s": first,
        "last_token_s": np.where(good, last, np.nan),
        "end_s": end,
        "prompt_tokens": np.array([number(inner(v, "info").get("input_tokens")) for v in found]),
        "output_tokens": np.where(good, output, np.nan),
        "error_class": np.array([_error(v) for v in found], dtype=object),
    }
    chunks = ChunkArrivals(np.concatenate([*tokens, np.empty(0)]) - origin, each[owner], owner)
    return Evidence(TOOL, label, requests_from(columns, chunks))


def _times(value: object) -> Floats:
    times = [number(t) for t in value] if isinstance(value, list) else []
    return np.array([t for t in times if math.isfinite(t)], dtype=np.float64)


def _error(value: Json) -> str:
    error, inside = value.get("error"), inner(value, "error")
    return "" if error is None else str(inside.get("error_msg") or inside.get("error_type") or error)[:200]
