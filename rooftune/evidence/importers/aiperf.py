"""Reads exports of aiperf and of its predecessor genai-perf: the records in ``profile_export.jsonl``, and the summaries
as JSON or CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rooftune.errors import RooftuneError
from rooftune.evidence.importers.values import Json, inner, number, objects, parsed
from rooftune.evidence.records.columns import ChunkArrivals, Floats, requests_from
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
    "time to first token": "time_to_first_token",
    "inter token latency": "inter_token_latency",
    "request latency": "request_latency",
    "request throughput": "request_throughput",
    "output token throughput": "output_token_throughput",
    "total token throughput": "total_token_throughput",
    "request count": "request_count",
    "benchmark duration": "benchmark_duration",
}
"""Titles of the CSV without their units, in lower case."""


@dataclass(frozen=True)
class _Record:
    """One request; times in seconds since the epoch, NaN = did not happen."""

    status: str
    scheduled_s: float
    sent_s: float
    first_token_s: float
    end_s: float
    prompt_tokens: float
    output_tokens: float
    streamed_tokens: float
    gaps_s: Floats
    """Between its chunks."""
    error: str


def read_records(values: Sequence[Json], label: str, summary: Json | None = None) -> Evidence:
    """Per-request records. Times are epoch nanoseconds in ``metadata``; latencies are milliseconds in ``metrics``.

    ``summary`` is the aggregated JSON beside the records, which has the asked rate and the concurrency limit.

    Raises:
        RooftuneError: no record of the profiling phase has a time.
    """
    found = [_record(v) for v in values if inner(v, "metadata").get("benchmark_phase", "profiling") == "profiling"]
    found = [r for r in found if math.isfinite(r.sent_s)]
    if not found:
        raise RooftuneError(f"{label} has no record of the profiling phase with a request_start_ns.")
    origin = min(r.sent_s for r in found)
    first = np.array([r.first_token_s for r in found]) - origin
    end = np.array([r.end_s for r in found]) - origin
    done = np.array([r.status == "completed" for r in found])
    output = np.array([r.output_tokens for r in found])
    columns = {
        "status": np.array([r.status for r in found], dtype=object),
        "scheduled_s": np.array([r.scheduled_s for r in found]) - origin,
        "sent_s": np.array([r.sent_s for r in found]) - origin,
        "first_token_s": first,
        "last_token_s": np.where(done, end, np.nan),
        "end_s": end,
        "prompt_tokens": np.array([r.prompt_tokens for r in found]),
        "output_tokens": output,
        "streamed_tokens": np.array([r.streamed_tokens for r in found]),
        "error_class": np.array([r.error for r in found], dtype=object),
    }
    requests = requests_from(columns, _chunks(found, first, output))
    return Evidence("aiperf", label, requests, quoted=_asked(summary or {}))


def _chunks(records: Sequence[_Record], first: Floats, output: Floats) -> ChunkArrivals:
    """Chunks of every request that got one; its tokens are spread evenly over them."""
    at = [
        first[i] + np.concatenate([[0.0], np.cumsum(r.gaps_s)]) if math.isfinite(first[i]) else np.empty(0)
        for i, r in enumerate(records)
    ]
    sizes = np.array([len(a) for a in at])
    owner = np.repeat(np.arange(len(records)), sizes)
    each = np.where(np.isfinite(output), output, sizes) / np.maximum(sizes, 1)
    return ChunkArrivals(np.concatenate(at), each[owner], owner)


def _asked(summary: Json) -> dict[str, float]:
    """Asked rate and concurrency limit of the profiling phase, by vLLM's names."""
    config = inner(summary, "input_config")
    phases = [p for p in objects(config.get("phases")) if p.get("kind", "profiling") == "profiling"]
    if len(phases) > 1:
        return {}
    places = [*phases, inner(config, "loadgen"), inner(config, "perf_analyzer", "stimulus"), config]
    named = {
        "request_rate": next((p[k] for p in places for k in ("rate", "request_rate") if p.get(k) is not None), None),
        "max_concurrency": next((p["concurrency"] for p in places if p.get("concurrency") is not None), None),
    }
    return {k: number for k, v in named.items() if (number := parsed(v)) is not None}


def _record(value: Json) -> _Record:
    about, metrics = inner(value, "metadata"), inner(value, "metrics")
    start, end = _seconds(about.get("request_start_ns")), _seconds(about.get("request_end_ns"))
    due = _seconds(about.get("credit_issued_ns"))
    gaps = inner(metrics, "inter_chunk_latency").get("value")
    bad = value.get("error") is not None
    streamed = _metric(metrics, "output_sequence_length")
    streamed = streamed if math.isfinite(streamed) else _metric(metrics, "output_token_count")
    usage = _metric(metrics, "usage_completion_tokens")
    return _Record(
        status="cut" if about.get("was_cancelled") else "failed" if bad else "completed",
        scheduled_s=due if due > 0 else start,
        sent_s=start,
        first_token_s=start + _metric(metrics, "time_to_first_token") / 1000,
        end_s=end,
        prompt_tokens=_metric(metrics, "input_sequence_length"),
        output_tokens=usage if math.isfinite(usage) else streamed,
        streamed_tokens=streamed,
        gaps_s=np.nan_to_num([number(g) / 1000 for g in gaps]) if isinstance(gaps, list) else np.empty(0),
        error=str(inner(value, "error").get("message", "")) if bad else "",
    )


def read_summary(value: Json, label: str) -> Evidence:
    """The aggregated JSON: metrics only."""
    quoted = _asked(value)
    for theirs in (*NAMES, *RATES):
        quoted |= _quoted(theirs, inner(value, theirs))
    length = parsed(inner(value, "output_sequence_length").get("avg"))
    if length is not None and math.isfinite(length):
        quoted["mean_output_tokens"] = length
    config = inner(value, "input_config")
    tool = "genai-perf" if "perf_analyzer" in config or "subcommand" in config else "aiperf"
    return Evidence(tool, label, quoted=quoted, duration_s=quoted.get("duration"))


def is_summary_csv(path: Path) -> bool:
    """Whether a CSV is aiperf's summary: its first column is 'Metric'."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith("Metric,")


def read_csv(path: Path) -> Evidence:
    """The aggregated CSV: a table of metrics with percentiles, then a table of single values.

    Raises:
        RooftuneError: the file is not a CSV.
    """
    quoted: dict[str, float] = {}
    header: list[str] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if row and row[0] == "Metric":
                    header = row
                elif row and header and (theirs := TITLES.get(row[0].partition(" (")[0].strip().lower())):
                    cells = dict(zip(header, row, strict=False))
                    values = {k: cells.get(k, cells.get("Value") if k == "avg" else None) for k in STATISTICS}
                    quoted |= _quoted(theirs, values)
        except csv.Error as error:
            raise RooftuneError(f"{path}, line {reader.line_num}: {error}.") from None
    return Evidence("aiperf", path.name, quoted=quoted, duration_s=quoted.get("duration"))


def _quoted(theirs: str, block: Json) -> dict[str, float]:
    """One metric of theirs by vLLM's names: one for each statistic, a single one for a rate or a count."""
    if theirs in RATES:
        named = {RATES[theirs]: parsed(block.get("avg"))}
    else:
        named = {f"{word}_{NAMES[theirs]}": parsed(block.get(statistic)) for statistic, word in STATISTICS.items()}
    return {k: v for k, v in named.items() if v is not None and math.isfinite(v)}


def _metric(metrics: Json, name: str) -> float:
    return number(inner(metrics, name).get("value"))


def _seconds(nanoseconds: object) -> float:
    if isinstance(nanoseconds, bool) or not isinstance(nanoseconds, (int, float)):
        return math.nan
    return number(nanoseconds / 1e9) if abs(nanoseconds) < 1e300 else math.nan
