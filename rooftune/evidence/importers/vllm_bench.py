"""Reads results of ``vllm bench serve``, of its predecessor ``benchmark_serving.py`` and of ``sglang.bench_serving``.

SGLang's began as a copy of vLLM's. Detailed results (``--save-detailed``, ``--output-details``) have every request and
every gap.
"""

from __future__ import annotations

import math

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.evidence.importers.values import Json, column, finite, parsed
from rooftune.evidence.records.columns import ChunkArrivals, Floats, Requests, requests_from
from rooftune.evidence.records.evidence import Evidence

SGLANG = {
    "total_throughput": "total_token_throughput",
    **{f"{word}_e2e_latency_ms": f"{word}_e2el_ms" for word in ("mean", "median", "std", "p90", "p95", "p99")},
}
"""Names of sglang.bench_serving -> names of vLLM."""


def read(value: Json, label: str, duration_s: float | None = None) -> Evidence:
    """One result, with the keys that ``vllm/benchmarks/serve.py`` of vLLM 0.32 writes.

    ``start_times`` are seconds of a monotonic clock; ``ttfts``, ``itls`` and ``latencies`` are seconds. A request that
    failed has an error text and no tokens. ``queue_times`` are how long a request waited in the client for its turn
    under ``--max-concurrency``; none of the printed latencies includes them. vLLM before 0.11 and SGLang do not save
    when a request was sent, so what they save of each request counts from its own send.

    Raises:
        RooftuneError: a list of the detailed result is not as long as the others, or has something else than numbers.
    """
    sglang = "total_output_tokens_retokenized" in value or "random_range_ratio" in value
    names = SGLANG if sglang else {}
    quoted = {names.get(k, k): n for k, v in value.items() if not isinstance(v, str) and (n := finite(v)) is not None}
    rate = parsed(value.get("request_rate"))
    if rate is not None:
        quoted["request_rate"] = rate
    unclocked = not value.get("start_times")
    requests = _requests(value, label) if value.get("ttfts") else None
    measured_s = duration_s if duration_s is not None else parsed(value.get("duration"))
    tool = "sglang bench_serving" if sglang else "vllm bench serve"
    return Evidence(tool, label, requests, quoted=quoted, duration_s=measured_s, unclocked=unclocked)


def _requests(value: Json, label: str) -> Requests:
    ttft = column(value["ttfts"], "ttfts", label)
    size = len(ttft)
    start = column(value["start_times"], "start_times", label, size) if value.get("start_times") else np.ones(size)
    gaps = _gaps(value.get("itls"), label, size)
    errors = value.get("errors") or [""] * size
    if not isinstance(errors, list) or len(errors) != size:
        raise RooftuneError(f"errors in {label} is not a list with one entry for each request.")
    errors = [str(e or "") for e in errors]
    lens = _optional(value, "output_lens", label, size)
    sent = np.where(start > 0, start, np.nan)
    due = _scheduled(value, sent, label)
    origin = float(np.nanmin(due)) if np.isfinite(due).any() else 0.0
    sent, due = sent - origin, np.nan_to_num(due - origin)
    streamed = np.array([1 + len(g) for g in gaps], dtype=np.float64)
    ok = np.array([not e for e in errors]) & (ttft > 0)
    begun = np.where(ttft > 0, sent + ttft, np.nan)
    last = np.where(ttft > 0, begun + np.array([float(g.sum()) for g in gaps]), np.nan)
    end = sent + _optional(value, "latencies", label, size) if value.get("latencies") else last
    end = np.where(ok, np.fmax(end, last), np.where(np.isfinite(end), end, sent))
    owner = np.repeat(np.arange(size), np.where(ttft > 0, streamed, 0).astype(np.int64))
    times = [begun[i] + np.concatenate([[0.0], np.cumsum(gaps[i])]) for i in range(size) if ttft[i] > 0]
    at = np.concatenate(times) if times else np.empty(0)
    each = np.where(np.isfinite(lens) & (lens > 0) & ok, lens / streamed, 1.0)
    columns = {
        "status": np.where(ok, "completed", "failed").astype(object),
        "scheduled_s": due,
        "sent_s": sent,
        "first_token_s": begun,
        "last_token_s": last,
        "end_s": end,
        "prompt_tokens": _optional(value, "input_lens", label, size),
        "output_tokens": np.where(ok, lens, np.nan),
        "streamed_tokens": np.full(size, np.nan),
        "error_class": np.array(errors, dtype=object),
    }
    return requests_from(columns, ChunkArrivals(at, each[owner], owner))


def _optional(value: Json, name: str, label: str, size: int) -> Floats:
    """A column that the file may not have: all NaN then."""
    found = value.get(name)
    return column(found, name, label, size) if found else np.full(size, np.nan)


def _gaps(value: object, label: str, size: int) -> list[Floats]:
    """Seconds between the chunks of each request."""
    if not value:
        return [np.empty(0)] * size
    if not isinstance(value, list) or len(value) != size:
        raise RooftuneError(f"itls in {label} is not a list with one entry for each request.")
    return [np.nan_to_num(column(gaps, "itls", label)) for gaps in value]


def _scheduled(value: Json, sent: Floats, label: str) -> Floats:
    """When each request was due. Without a rate there is no schedule, so a closed loop's requests are due when sent."""
    if not value.get("queue_times") or parsed(value.get("request_rate")) in (None, math.inf):
        return sent
    waited = column(value["queue_times"], "queue_times", label, len(sent))
    return sent - np.maximum(np.nan_to_num(waited), 0.0)
