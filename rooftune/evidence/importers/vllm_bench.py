"""Reads results of ``vllm bench serve``; with ``--save-detailed`` they hold every request and every gap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rooftune.evidence.records.columns import Floats, Requests, requests_from
from rooftune.evidence.records.evidence import Evidence


def read(value: dict[str, Any], label: str, duration_s: float | None = None) -> Evidence:
    """One result. Keys as ``vllm/benchmarks/serve.py`` of vLLM 0.32 writes them.

    ``start_times`` are seconds of a monotonic clock, ``ttfts``, ``itls`` and ``latencies`` seconds; a request that
    failed has an error text and no tokens. ``queue_times`` are what a request waited in the client for its turn under
    ``--max-concurrency``, which none of the printed latencies contains.
    """
    figures = {k: v for k, v in value.items() if isinstance(v, (int, float, str)) or v is None}
    if isinstance(figures.get("request_rate"), str) and figures["request_rate"] != "inf":
        figures["request_rate"] = _number(figures["request_rate"])
    requests = _requests(value) if value.get("start_times") and value.get("ttfts") else None
    looked = duration_s if duration_s is not None else _number(value.get("duration"))
    return Evidence("vllm bench serve", label, requests, figures=figures, duration_s=looked)


def _requests(value: dict[str, Any]) -> Requests:
    start = np.array(value["start_times"], dtype=np.float64)
    ttft = np.array(value["ttfts"], dtype=np.float64)
    itls: list[list[float]] = value.get("itls") or [[] for _ in start]
    errors = [str(e or "") for e in (value.get("errors") or [""] * len(start))]
    lens = np.array(value.get("output_lens") or [math.nan] * len(start), dtype=np.float64)
    sent = np.where(start > 0, start, np.nan)
    due = _scheduled(value, sent)
    origin = float(np.nanmin(due)) if np.isfinite(due).any() else 0.0
    sent, due = sent - origin, np.nan_to_num(due - origin)
    streamed = np.array([1 + len(x) for x in itls], dtype=np.float64)
    ok = np.array([not e for e in errors]) & (ttft > 0)
    begun = np.where(ttft > 0, sent + ttft, np.nan)
    spans = np.array([float(np.sum(x)) for x in itls])
    last = np.where(ttft > 0, begun + spans, np.nan)
    latencies = value.get("latencies")
    end = sent + np.array(latencies, dtype=np.float64) if latencies else last
    end = np.where(ok, np.fmax(end, last), np.where(np.isfinite(end), end, sent))
    owner = np.repeat(np.arange(len(start)), np.where(ttft > 0, streamed, 0).astype(np.int64))
    times = [begun[i] + np.concatenate([[0.0], np.cumsum(itls[i])]) for i in range(len(start)) if ttft[i] > 0]
    at = np.concatenate(times) if times else np.empty(0)
    each = np.where(np.isfinite(lens) & (lens > 0) & ok, lens / streamed, 1.0)
    columns = {
        "status": np.where(ok, "completed", "failed").astype(object),
        "scheduled_s": due,
        "sent_s": sent,
        "first_token_s": begun,
        "last_token_s": last,
        "end_s": end,
        "prompt_tokens": value.get("input_lens"),
        "output_tokens": np.where(ok, lens, np.nan),
        "streamed_tokens": np.full(len(start), np.nan),
        "error_class": errors,
    }
    return requests_from(columns, token_s=at, token_count=each[owner], token_owner=owner)


def _scheduled(value: dict[str, Any], sent: Floats) -> Floats:
    """When each request was due. Without a rate there is no schedule, so a closed loop's requests are due when sent."""
    waited = value.get("queue_times")
    if not waited or len(waited) != len(sent) or _number(value.get("request_rate")) in (None, math.inf):
        return sent
    return sent - np.maximum(np.array(waited, dtype=np.float64), 0.0)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
