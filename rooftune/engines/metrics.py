"""Reads vLLM's ``/metrics`` page as plain numbers under the column names of ``ticks.parquet``."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

TICKS: dict[str, str] = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_usage",
    "vllm:gpu_cache_usage_perc": "kv_usage",  # the name before 0.11
    "vllm:prompt_tokens_total": "prompt_tokens_total",
    "vllm:generation_tokens_total": "generation_tokens_total",
    "vllm:request_success_total": "request_success_total",
    "vllm:num_preemptions_total": "preemptions_total",
    "vllm:prefix_cache_queries_total": "prefix_queries_total",
    "vllm:prefix_cache_hits_total": "prefix_hits_total",
    "vllm:spec_decode_num_drafts_total": "spec_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total": "spec_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total": "spec_accepted_tokens_total",
    "vllm:time_to_first_token_seconds_sum": "ttft_sum_s",
    "vllm:time_to_first_token_seconds_count": "ttft_count",
    "vllm:request_queue_time_seconds_sum": "queue_sum_s",
    "vllm:request_queue_time_seconds_count": "queue_count",
    "vllm:iteration_tokens_total_sum": "iteration_tokens_sum",
    "vllm:iteration_tokens_total_count": "iteration_tokens_count",
    "rooftune:clock_behind_seconds": "behind_s",
}
"""Maps a metric to a column of ``ticks.parquet`` (names: vLLM 0.32, ``v1/metrics/loggers.py``)."""
ACCEPTED_BY_POSITION = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
"""A counter for each position of a draft, with a label ``position`` from 0 on."""
POSITIONS = 8
"""Positions of a draft that have a column in ``ticks.parquet``; suffix decoding alone drafts more."""
MEANS = ("kv_usage", "behind_s")
"""Columns that are averaged over engines. All others are summed."""
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def parse(text: str) -> dict[str, float]:
    """Read a Prometheus page. Values are summed over labels; shares (0..1) are averaged over engines.

    A metric that has a column in ``ticks.parquet`` gets its name; all others keep theirs. Histogram buckets,
    ``_created`` times and lines that are not samples are skipped.
    """
    found: dict[str, float] = {}
    counts: dict[str, int] = {}
    for line in text.split("\n"):
        if not line or line[0] == "#" or "_bucket{" in line or "_created" in line:
            continue
        left, _, right = line.rpartition(" ")
        name = left.partition("{")[0]
        try:
            value = float(right)
        except ValueError:
            continue
        key = _position_column(left) if name == ACCEPTED_BY_POSITION else TICKS.get(name, name)
        found[key] = found.get(key, 0.0) + value
        counts[key] = counts.get(key, 0) + 1
    for key in MEANS:
        if key in found:
            found[key] /= counts[key]
    return found


def position_column(position: int) -> str:
    """The column of accepted tokens at a position of the draft, counted from 1."""
    return f"spec_accepted_pos_{position}_total"


def _position_column(sample: str) -> str:
    position = dict(_LABEL.findall(sample)).get("position", "")
    return position_column(int(position) + 1) if position.isdecimal() else ACCEPTED_BY_POSITION


def info(text: str, name: str = "vllm:cache_config_info") -> dict[str, str]:
    """The labels of an info metric; empty if the page does not have it."""
    start = text.find(f"\n{name}{{") + 1 if not text.startswith(f"{name}{{") else 0
    if start == 0 and not text.startswith(f"{name}{{"):
        return {}
    line = text[start:].split("\n", 1)[0]
    return {key: re.sub(r"\\.", lambda m: _ESCAPED.get(m[0], m[0]), value) for key, value in _LABEL.findall(line)}


def scrape_once(url: str, *, timeout_s: float = 5.0) -> str | None:
    """The text of ``<url>/metrics``; None if the server has no such page or does not answer. Blocking."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=timeout_s) as answer:
            body: bytes = answer.read()
    except (OSError, ValueError, urllib.error.URLError):
        return None
    text = body.decode(errors="replace")
    return text if "# TYPE" in text or "vllm:" in text else None
