"""Reads aiperf's exports: ``profile_export.jsonl`` (records), and the summaries ``profile_export_aiperf.json`` and ``.csv``."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from rooftune.evidence.records.columns import requests_from
from rooftune.evidence.records.evidence import Evidence

NAMES = {
    "time_to_first_token": "ttft_ms",
    "inter_token_latency": "tpot_ms",
    "request_latency": "e2el_ms",
}
RATES = {
    "request_throughput": "request_throughput",
    "output_token_throughput": "output_throughput",
    "total_token_throughput": "total_token_throughput",
    "request_count": "completed",
    "benchmark_duration": "duration",
}
STATISTICS = {"avg": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99", "std": "std"}
TITLES = {
    "Time to First Token (ms)": "time_to_first_token",
    "Inter Token Latency (ms)": "inter_token_latency",
    "Request Latency (ms)": "request_latency",
    "Request Throughput (requests/sec)": "request_throughput",
    "Output Token Throughput (tokens/sec)": "output_token_throughput",
    "Request Count (requests)": "request_count",
    "Benchmark Duration (sec)": "benchmark_duration",
}


def read_records(values: list[dict[str, Any]], label: str, asked: dict[str, Any] | None = None) -> Evidence:
    """Per-request records. Times are epoch nanoseconds in ``metadata``; latencies milliseconds in ``metrics``.

    ``asked`` is the summary that lies beside them, which knows the asked rate and the concurrency limit.
    """
    rows = [_row(v) for v in values if v.get("metadata", {}).get("benchmark_phase", "profiling") == "profiling"]
    columns: dict[str, Any] = {k: np.array([r[k] for r in rows], dtype=object if k == "status" else np.float64) for k in rows[0] if k not in ("gaps", "error")}  # fmt: skip
    origin = float(np.nanmin(columns["sent_s"]))
    for name in ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "end_s"):
        columns[name] = columns[name] - origin
    columns["error_class"] = [r["error"] for r in rows]
    chunks = [np.concatenate([[0.0], np.cumsum(r["gaps"])]) if math.isfinite(r["first_token_s"]) else np.empty(0) for r in rows]  # fmt: skip
    sizes = np.array([len(c) for c in chunks])
    owner = np.repeat(np.arange(len(rows)), sizes)
    at = np.concatenate([columns["first_token_s"][i] + c for i, c in enumerate(chunks)]) if rows else np.empty(0)
    total = np.where(np.isfinite(columns["output_tokens"]), columns["output_tokens"], sizes)
    each = total / np.maximum(sizes, 1)
    requests = requests_from(columns, token_s=at, token_count=each[owner], token_owner=owner)
    return Evidence("aiperf", label, requests, figures=_load(asked or {}))


def _load(summary: dict[str, Any]) -> dict[str, Any]:
    """Asked rate and concurrency limit of the profiling phase, by vLLM's names."""
    given = summary.get("input_config")
    phases = given.get("phases") if isinstance(given, dict) else None
    mine = [p for p in phases or [] if isinstance(p, dict) and p.get("kind", "profiling") == "profiling"]
    if len(mine) != 1:
        return {}
    named = {"request_rate": _number(mine[0].get("rate")), "max_concurrency": _number(mine[0].get("concurrency"))}
    return {k: v for k, v in named.items() if v is not None}


def _row(value: dict[str, Any]) -> dict[str, Any]:
    about, metrics = value.get("metadata", {}), value.get("metrics") or {}
    start, end = _seconds(about.get("request_start_ns")), _seconds(about.get("request_end_ns"))
    ttft = _metric(metrics, "time_to_first_token") / 1000
    gaps = metrics.get("inter_chunk_latency", {}).get("value") if isinstance(metrics.get("inter_chunk_latency"), dict) else None  # fmt: skip
    bad = value.get("error") is not None
    status = "cut" if about.get("was_cancelled") else "failed" if bad else "completed"
    mine, usage = _metric(metrics, "output_sequence_length"), _metric(metrics, "usage_completion_tokens")
    mine = mine if math.isfinite(mine) else _metric(metrics, "output_token_count")
    return {
        "status": status,
        "scheduled_s": _seconds(about.get("credit_issued_ns")) if about.get("credit_issued_ns") else start,
        "sent_s": start,
        "first_token_s": start + ttft,
        "last_token_s": end if status == "completed" else math.nan,
        "end_s": end,
        "prompt_tokens": _metric(metrics, "input_sequence_length"),
        "output_tokens": usage if math.isfinite(usage) else mine,
        "streamed_tokens": mine,
        "gaps": np.array(gaps, dtype=np.float64) / 1000 if isinstance(gaps, list) else np.empty(0),
        "error": str((value.get("error") or {}).get("message", "")) if bad else "",
    }


def read_summary(value: dict[str, Any], label: str) -> Evidence:
    """The aggregated JSON: figures only."""
    found: dict[str, Any] = _load(value)
    for theirs, block in value.items():
        if isinstance(block, dict) and theirs in (*NAMES, *RATES):
            _take(found, theirs, {k: block.get(k) for k in STATISTICS})
    duration = found.get("duration")
    return Evidence("aiperf", label, figures=found, duration_s=duration if isinstance(duration, float) else None)


def is_summary_csv(path: Path) -> bool:
    """Whether a CSV is aiperf's summary: its first column is 'Metric'."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith("Metric,")


def read_csv(path: Path) -> Evidence:
    """The aggregated CSV: a table of record metrics with percentiles, then a table of single values."""
    found: dict[str, Any] = {}
    header: list[str] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.reader(file):
            if row and row[0] == "Metric":
                header = row
            elif row and header and row[0] in TITLES:
                cells = dict(zip(header, row, strict=False))
                values = {k: cells.get(k, cells.get("Value") if k == "avg" else None) for k in STATISTICS}
                _take(found, TITLES[row[0]], values)
    return Evidence("aiperf", path.name, figures=found, duration_s=found.get("duration"))


def _take(found: dict[str, Any], theirs: str, block: dict[str, Any]) -> None:
    if theirs in RATES:
        value = _number(block.get("avg"))
        if value is not None:
            found[RATES[theirs]] = value
        return
    for statistic, word in STATISTICS.items():
        value = _number(block.get(statistic))
        if value is not None:
            found[f"{word}_{NAMES[theirs]}"] = value


def _metric(metrics: dict[str, Any], name: str) -> float:
    block = metrics.get(name)
    value = _number(block.get("value")) if isinstance(block, dict) else None
    return math.nan if value is None else value


def _seconds(nanoseconds: Any) -> float:
    return nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else math.nan


def _number(value: Any) -> float | None:
    try:
        return float(str(value).replace(",", "")) if value not in (None, "") else None
    except ValueError:
        return None
