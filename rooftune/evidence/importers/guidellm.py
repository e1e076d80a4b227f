"""Reads guidellm's ``benchmarks.json``: the successful, incomplete and errored requests of each benchmark."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rooftune.evidence.importers.values import Json, finite, inner, number, objects
from rooftune.evidence.records.columns import requests_from
from rooftune.evidence.records.evidence import Evidence

STATUS = {"successful": "completed", "incomplete": "cut", "errored": "failed"}


@dataclass(frozen=True)
class _Request:
    """One request; times in Unix seconds, NaN = did not happen."""

    status: str
    scheduled_s: float
    sent_s: float
    first_token_s: float
    last_token_s: float
    end_s: float
    prompt_tokens: float
    output_tokens: float
    error: str


TIMES = ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "end_s")


def read(value: Json, label: str) -> list[Evidence]:
    """One run for each benchmark of the report.

    Field names as in guidellm 0.3 to 0.8: times are Unix seconds in ``info.timings`` (older: ``scheduler_info``
    and fields of the request itself), ``time_to_first_token_ms`` milliseconds, tokens ``prompt_tokens`` and
    ``output_tokens``.
    """
    benchmarks = objects(value.get("benchmarks"))
    return [_benchmark(b, label if len(benchmarks) == 1 else f"{label}#{i + 1}") for i, b in enumerate(benchmarks)]


def _benchmark(value: Json, label: str) -> Evidence:
    groups = inner(value, "requests")
    found = [_request(r, STATUS[k]) for k in STATUS for r in objects(groups.get(k))]
    found = [r for r in found if math.isfinite(r.sent_s)]
    quoted, duration = _quoted(value), finite(value.get("duration"))
    if not found:
        return Evidence("guidellm", label, None, quoted=quoted, duration_s=duration)
    origin = min(r.scheduled_s for r in found)
    columns = {
        **{name: np.array([getattr(r, name) for r in found], dtype=np.float64) - origin for name in TIMES},
        "status": np.array([r.status for r in found], dtype=object),
        "prompt_tokens": np.array([r.prompt_tokens for r in found], dtype=np.float64),
        "output_tokens": np.array([r.output_tokens for r in found], dtype=np.float64),
        "error_class": np.array([r.error for r in found], dtype=object),
    }
    return Evidence("guidellm", label, requests_from(columns), quoted=quoted, duration_s=duration)


def _quoted(value: Json) -> dict[str, float]:
    """Asked rate, concurrency limit and p99 TTFT, by vLLM's names."""
    strategy = _strategy(value)
    kind, rate = strategy.get("type_"), finite(strategy.get("rate"))
    named: dict[str, float | None] = {}
    if kind in ("constant", "async", "poisson") and rate:
        named = {"request_rate": rate, "max_concurrency": finite(strategy.get("max_concurrency"))}
    if kind in ("concurrent", "synchronous", "throughput"):
        named["max_concurrency"] = finite(strategy.get("streams")) or finite(strategy.get("max_concurrency"))
    percentiles = inner(value, "metrics", "time_to_first_token_ms", "successful", "percentiles")
    named["p99_ttft_ms"] = finite(percentiles.get("p99"))
    return {k: v for k, v in named.items() if v is not None}


def _strategy(value: Json) -> Json:
    places = (inner(value, *path) for path in (("config", "strategy"), ("args", "strategy"), ("scheduler", "strategy")))
    return next((found for found in places if found), {})


def _request(r: Json, status: str) -> _Request:
    info = inner(r, "info") or inner(r, "scheduler_info")
    t = inner(info, "timings") or inner(info, "request_timings")
    started = _first(r.get("request_start_time"), r.get("start_time"), t.get("request_start"), t.get("resolve_start"))
    due = _first(t.get("targeted_start"), info.get("targeted_start_time"), t.get("scheduled_at"), started)
    by_latency = started + number(r.get("time_to_first_token_ms")) / 1000
    first = _first(t.get("first_token_iteration"), t.get("first_iteration"), r.get("first_token_time"), by_latency)
    end = _first(r.get("request_end_time"), r.get("end_time"), t.get("request_end"), t.get("resolve_end"))
    last = _first(t.get("last_token_iteration"), t.get("last_iteration"), r.get("last_token_time"), end)
    return _Request(
        status=status if status != "cut" or math.isfinite(first) else "never_begun",
        scheduled_s=due if math.isfinite(due) else started,
        sent_s=started,
        first_token_s=first,
        last_token_s=last if status == "completed" else math.nan,
        end_s=end,
        prompt_tokens=number(r.get("prompt_tokens")),
        output_tokens=number(r.get("output_tokens")),
        error=str(info.get("error") or r.get("error") or "") if status == "failed" else "",
    )


def _first(*values: object) -> float:
    """The first that is a number; NaN when none is."""
    return next((v for v in map(finite, values) if v is not None), math.nan)
