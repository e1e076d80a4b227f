"""result.json: one trial with the keys of ``vllm bench serve --save-result``, for dashboards that read those.

Keys as ``vllm/benchmarks/serve.py`` of vLLM 0.32 writes them. A withheld figure is null; the key ``rooftune`` says why.
summary.json of a run lists these results as ``vllm bench sweep`` does, for its ``plot`` and ``plot_pareto``.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np

from rooftune.evidence.records.columns import Requests
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import read_json, write_json
from rooftune.metrics.queues import inside
from rooftune.metrics.summary import LATENCIES
from rooftune.runfolder import RunFolder
from rooftune.workloads.spec import Workload

PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Flags whose product is the number of GPUs of a server."""


def write_summary(run: RunFolder) -> Path:
    """Write summary.json of a run: the results of its believed trials, for ``vllm bench sweep plot_pareto RUN``.

    Raises:
        RooftuneError: a result.json is cut.
    """
    results = [read_json(trial.result_json) for trial in run.trials() if trial.result_json.is_file()]
    write_json(run.summary_json, [r for r in results if r["rooftune"]["believed"]])
    return run.summary_json


def vllm_result(trial: TrialResult, workload: Workload, r: Requests) -> dict[str, Any]:
    """The content of result.json for a measured trial."""
    arrivals = workload.arrivals
    started = dt.datetime.fromtimestamp(trial.started_at, dt.timezone.utc)
    backend = "openai-chat" if workload.endpoint == "chat" else "openai"
    rate = getattr(arrivals, "rate_per_s", None)
    names = ["completed", "failed", "total_input_tokens", "total_output_tokens"]
    rates = ["request_throughput", "request_goodput", "output_throughput", "total_token_throughput"]
    times = [f"{k}_{base}" for base in LATENCIES for k in ("mean", "median", "std", "p90", "p95", "p99")]
    return {
        "date": started.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": backend,
        "backend": backend,
        "label": f"{trial.candidate}/{trial.n}",
        "model_id": trial.model,
        "tokenizer_id": trial.model,
        "num_prompts": trial.census.scheduled if trial.census else len(r),
        "request_rate": rate if rate is not None else "inf",
        "burstiness": getattr(arrivals, "burstiness", 1.0),
        "max_concurrency": getattr(arrivals, "concurrency", None),
        "duration": trial.metrics.get("duration"),
        **{k: _whole(trial.metrics.get(k)) for k in names},
        **{k: trial.metrics.get(k) for k in rates},
        **peaks(trial, r),
        **{name: trial.flags.get(name) or 1 for name in PARALLEL},
        "rtfx": 0.0,
        **{k: trial.metrics.get(k) for k in times},
        "rooftune": {
            "simulated": trial.simulated,
            "time_scale": trial.time_scale,
            "overloaded": trial.overloaded,
            "window": trial.window.model_dump() if trial.window else None,
            "withheld": trial.withheld,
            "believed": trial.believed,
            "engine_version": trial.engine_version,
            "gpu": trial.gpu,
        },
    }


def peaks(trial: TrialResult, r: Requests) -> dict[str, float]:
    """Largest number of tokens in one second, and largest and mean number of requests in flight, within the window."""
    if trial.window is None:
        return {"max_output_tokens_per_s": 0.0, "max_concurrent_requests": 0, "mean_concurrent_requests": 0.0}
    edges = np.arange(trial.window.start_s, trial.window.end_s + 1.0)
    counts, _ = np.histogram(r.token_s, bins=edges, weights=r.token_count) if len(edges) > 1 else (np.zeros(1), None)
    at = np.linspace(trial.window.start_s, trial.window.end_s, 1000)
    present = inside(np.where(np.isfinite(r.sent_s), r.sent_s, np.nan), r.left_s, at)
    return {
        "max_output_tokens_per_s": float(counts.max()),
        "max_concurrent_requests": int(present.max(initial=0)),
        "mean_concurrent_requests": float(present.mean()),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
