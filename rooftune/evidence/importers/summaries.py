"""Reads summaries that are a flat table of figures: llmperf and evalscope, and the single answers of llmperf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rooftune.evidence.importers.values import Json, number, parsed
from rooftune.evidence.records.columns import requests_from
from rooftune.evidence.records.evidence import Evidence


@dataclass(frozen=True)
class _Figure:
    """A figure of vLLM's name, and what to multiply the tool's by."""

    name: str
    factor: float = 1.0


def _seconds(theirs: str, base: str) -> dict[str, _Figure]:
    """The statistics of one latency of llmperf."""
    quantiles = {f"quantiles_p{p}": f"p{p}" for p in (90, 95, 99)}
    words = {"mean": "mean", "stddev": "std", "quantiles_p50": "median", **quantiles}
    return {f"results_{theirs}_{k}": _Figure(f"{word}_{base}", 1000.0) for k, word in words.items()}


LLMPERF: dict[str, _Figure] = {
    **_seconds("ttft_s", "ttft_ms"),
    **_seconds("end_to_end_latency_s", "e2el_ms"),
    **_seconds("inter_token_latency_s", "tpot_ms"),
    "results_num_completed_requests": _Figure("completed"),
    "results_number_errors": _Figure("failed"),
    "results_num_completed_requests_per_min": _Figure("request_throughput", 1 / 60),
    "results_mean_output_throughput_token_per_s": _Figure("output_throughput"),
    "results_number_output_tokens_mean": _Figure("mean_output_tokens"),
    "num_concurrent_requests": _Figure("max_concurrency"),
}
"""``*_summary.json`` of ray-project/llmperf, which flattens its results. It keeps a number of requests in flight."""
EVALSCOPE: dict[str, _Figure] = {
    "Time taken for tests (s)": _Figure("duration"),
    "Number of concurrency": _Figure("max_concurrency"),
    "Request rate (req/s)": _Figure("request_rate"),
    "Total requests": _Figure("num_prompts"),
    "Succeed requests": _Figure("completed"),
    "Failed requests": _Figure("failed"),
    "Output token throughput (tok/s)": _Figure("output_throughput"),
    "Total token throughput (tok/s)": _Figure("total_token_throughput"),
    "Request throughput (req/s)": _Figure("request_throughput"),
    "Average latency (s)": _Figure("mean_e2el_ms", 1000.0),
    "Average time to first token (s)": _Figure("mean_ttft_ms", 1000.0),
    "Average time per output token (s)": _Figure("mean_tpot_ms", 1000.0),
    "Average inter-token latency (s)": _Figure("mean_itl_ms", 1000.0),
    "Average output tokens per request": _Figure("mean_output_tokens"),
}
"""``benchmark_summary.json`` of ``evalscope perf``."""


def is_llmperf(value: Json) -> bool:
    """Whether this is a summary of llmperf."""
    return any(key in value for key in ("results_ttft_s_mean", "results_end_to_end_latency_s_mean"))


def is_llmperf_answer(value: Json) -> bool:
    """Whether this is an entry of llmperf's ``*_individual_responses.json``."""
    return "end_to_end_latency_s" in value and "ttft_s" in value


def is_evalscope(value: Json) -> bool:
    """Whether this is a summary of evalscope."""
    return "Time taken for tests (s)" in value


def read_llmperf(value: Json, label: str) -> Evidence:
    """The figures of a run of llmperf."""
    quoted = _figures(value, LLMPERF)
    if "completed" in quoted:
        quoted["num_prompts"] = quoted["completed"] + quoted.get("failed", 0.0)
    if "mean_output_tokens" not in quoted and (asked := parsed(value.get("mean_output_tokens"))) is not None:
        quoted["mean_output_tokens"] = asked
    return Evidence("llmperf", label, quoted=quoted)


def read_evalscope(value: Json, label: str) -> Evidence:
    """The figures of a run of evalscope."""
    quoted = _figures(value, EVALSCOPE)
    if quoted.get("request_rate", 1.0) <= 0:
        del quoted["request_rate"]
    return Evidence("evalscope", label, quoted=quoted, duration_s=quoted.get("duration"))


def read_llmperf_answers(values: Sequence[Json], label: str) -> Evidence:
    """The requests of llmperf, which does not save when it sent them."""
    good = np.array([v.get("error_code") is None for v in values])
    first = np.array([number(v.get("ttft_s")) for v in values])
    last = np.array([number(v.get("end_to_end_latency_s")) for v in values])
    columns = {
        "status": np.where(good, "completed", "failed").astype(object),
        "scheduled_s": np.zeros(len(values)),
        "sent_s": np.zeros(len(values)),
        "first_token_s": np.where(good, first, np.nan),
        "last_token_s": np.where(good, last, np.nan),
        "end_s": last,
        "prompt_tokens": np.array([number(v.get("number_input_tokens")) for v in values]),
        "output_tokens": np.where(good, [number(v.get("number_output_tokens")) for v in values], np.nan),
        "error_class": np.array([str(v.get("error_msg") or "")[:200] for v in values], dtype=object),
    }
    return Evidence("llmperf", label, requests_from(columns), unclocked=True)


def _figures(value: Json, names: Mapping[str, _Figure]) -> dict[str, float]:
    return {f.name: found * f.factor for key, f in names.items() if (found := parsed(value.get(key))) is not None}
