"""Reads guidellm's ``benchmarks.json``: per benchmark its successful, incomplete and errored requests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rooftune.evidence.records.columns import requests_from
from rooftune.evidence.records.evidence import Evidence

STATUS = {"successful": "completed", "incomplete": "cut", "errored": "failed"}


def read(value: dict[str, Any], label: str) -> list[Evidence]:
    """One run per benchmark of the report.

    Field names as in guidellm 0.3 to 0.8: times are Unix seconds in ``info.timings`` (older: ``scheduler_info`` and
    fields of the request itself), ``time_to_first_token_ms`` milliseconds, tokens ``prompt_tokens``, ``output_tokens``.
    """
    benchmarks = [b for b in value["benchmarks"] if isinstance(b, dict)]
    return [_benchmark(b, label if len(benchmarks) == 1 else f"{label}#{i + 1}") for i, b in enumerate(benchmarks)]


def _benchmark(value: dict[str, Any], label: str) -> Evidence:
    groups = value.get("requests") if isinstance(value.get("requests"), dict) else {}
    rows = [_row(r, STATUS[k]) for k in STATUS for r in (groups or {}).get(k) or [] if isinstance(r, dict)]
    rows = [r for r in rows if math.isfinite(r["sent_s"])]
    strategy = _strategy(value)
    figures: dict[str, Any] = {"label": label}
    if strategy.get("type_") in ("constant", "async", "poisson") and strategy.get("rate"):
        figures["request_rate"] = float(strategy["rate"])
        figures["max_concurrency"] = strategy.get("max_concurrency")
    if strategy.get("type_") in ("concurrent", "synchronous", "throughput"):
        figures["max_concurrency"] = strategy.get("streams") or strategy.get("max_concurrency")
    if isinstance(value.get("metrics"), dict):
        figures["p99_ttft_ms"] = _quoted(value["metrics"])
    if not rows:
        return Evidence("guidellm", label, None, figures=figures, duration_s=value.get("duration"))
    columns: dict[str, Any] = {k: np.array([r[k] for r in rows], dtype=object if k == "status" else np.float64) for k in rows[0] if k != "error"}  # fmt: skip
    origin = float(np.nanmin(columns["scheduled_s"]))
    for name in ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "end_s"):
        columns[name] = columns[name] - origin
    columns["error_class"] = [r["error"] for r in rows]
    return Evidence("guidellm", label, requests_from(columns), figures=figures, duration_s=value.get("duration"))


def _strategy(value: dict[str, Any]) -> dict[str, Any]:
    for path in (("config", "strategy"), ("args", "strategy"), ("scheduler", "strategy")):
        found: Any = value
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return found
    return {}


def _quoted(metrics: dict[str, Any]) -> float | None:
    try:
        return float(metrics["time_to_first_token_ms"]["successful"]["percentiles"]["p99"])
    except (KeyError, TypeError, ValueError):
        return None


def _row(r: dict[str, Any], status: str) -> dict[str, Any]:
    info: dict[str, Any] = next((r[k] for k in ("info", "scheduler_info") if isinstance(r.get(k), dict)), {})
    timings: dict[str, Any] = next(
        (x for x in (info.get("timings"), info.get("request_timings")) if isinstance(x, dict)), {}
    )
    started = _first(r.get("request_start_time"), r.get("start_time"), timings.get("request_start"), timings.get("resolve_start"))  # fmt: skip
    due = _first(timings.get("targeted_start"), timings.get("scheduled_at"), started)
    ttft = _first(r.get("time_to_first_token_ms"))
    first = _first(timings.get("first_token_iteration"), timings.get("first_iteration"), r.get("first_token_time"), started + ttft / 1000)  # fmt: skip
    end = _first(r.get("request_end_time"), r.get("end_time"), timings.get("request_end"), timings.get("resolve_end"))
    last = _first(timings.get("last_token_iteration"), timings.get("last_iteration"), r.get("last_token_time"), end)
    return {
        "status": status if status != "cut" or math.isfinite(first) else "never_begun",
        "scheduled_s": due if math.isfinite(due) else started,
        "sent_s": started,
        "first_token_s": first,
        "last_token_s": last if status == "completed" else math.nan,
        "end_s": end,
        "prompt_tokens": _first(r.get("prompt_tokens")),
        "output_tokens": _first(r.get("output_tokens")),
        "error": str(info.get("error") or r.get("error") or "") if status == "failed" else "",
    }


def _first(*values: Any) -> float:
    """The first that is a number; NaN when none is."""
    return next((float(v) for v in values if isinstance(v, (int, float)) and math.isfinite(v)), math.nan)
