"""A made-up server with a fixed number of slots and a fixed time per token, and the records that a client has of it."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rooftune.engines.server import EffectiveConfig
from rooftune.evidence.aggregate import measured
from rooftune.evidence.records.columns import requests_of
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import write_json
from rooftune.loadgen.schema import REQUESTS, TICKS
from rooftune.loadgen.summary import LoadSummary
from rooftune.runfolder import TrialFolder
from rooftune.trial_order import TrialOrder
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import Workload


def workload(rate: float, duration: float = 60.0, warmup: float = 20.0, **more: Any) -> Workload:
    """Poisson arrivals, 50 tokens in, 40 out."""
    value: dict[str, Any] = {
        "name": "made-up",
        "arrivals": {"process": "poisson", "rate_per_s": rate},
        "prompt_tokens": {"distribution": "fixed", "value": 50},
        "output_tokens": {"distribution": "fixed", "value": 40},
        "duration_s": duration,
        "warmup_s": warmup,
        "drain_s": 30,
        "slo": {"ttft_ms": 2000, "tpot_ms": 100},
    }
    return Workload.model_validate({**value, **more})


def serve(
    rate: float, total_s: float, *, slots: int, tpot_s: float, tokens: int = 40, drain_s: float = 30.0, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows of requests.parquet from a first-come-first-served server with this many slots."""
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / rate, int(rate * total_s * 2) + 50))
    arrivals = arrivals[arrivals < total_s]
    free = [0.0] * slots
    heapq.heapify(free)
    rows = []
    until = total_s + drain_s
    for i, at in enumerate(arrivals):
        start = max(float(at), heapq.heappop(free))
        gaps = tpot_s * random.uniform(0.9, 1.1, tokens)
        times = start + np.cumsum(gaps)
        heapq.heappush(free, float(times[-1]))
        seen = times[times <= until]
        row: dict[str, Any] = dict.fromkeys(REQUESTS.names)
        done = len(seen) == tokens
        row |= {"index": i, "status": "completed" if done else "cut", "scheduled_s": at, "sent_s": at + 0.0005}
        row |= {"planned_prompt_tokens": 50, "planned_output_tokens": tokens, "streamed_tokens": len(seen)}
        row |= {"chunks": len(seen), "prefix_id": -1, "conversation": -1, "turn": 0, "part": 0, "process": 0}
        row |= {"bytes_received": 100 * len(seen), "chunk_s": (seen - at).tolist()}
        row["end_s"] = seen[-1] + 0.001 if done else until
        if len(seen):
            row |= {"first_token_s": seen[0], "last_token_s": seen[-1], "http_status": 200}
        if done:
            row |= {"prompt_tokens": 50, "output_tokens": tokens, "cached_tokens": 0, "finish_reason": "length"}
        rows.append(row)
    return rows


def ticks(rows: list[dict[str, Any]], until: float, slots: int) -> list[dict[str, Any]]:
    """Samples of that server, one per second."""
    first = np.array([r["first_token_s"] or np.inf for r in rows])
    last = np.array([r["last_token_s"] if r["status"] == "completed" else np.inf for r in rows])
    sent = np.array([np.inf if r["sent_s"] is None else r["sent_s"] for r in rows])
    tokens = np.sort(np.concatenate([np.array(r["chunk_s"]) + r["scheduled_s"] for r in rows]))
    found = []
    for t in np.arange(0.0, until + 1):
        present = int((sent <= t).sum() - (last <= t).sum())
        running = min(present, slots)
        row: dict[str, Any] = dict.fromkeys(TICKS.names)
        row |= {"t_s": t, "up": True, "running": running, "waiting": present - running, "kv_usage": 0.3}
        row |= {"generation_tokens_total": float(np.searchsorted(tokens, t)), "preemptions_total": 0.0}
        row |= {
            "prompt_tokens_total": 50.0 * float((first <= t).sum()),
            "request_success_total": float((last <= t).sum()),
        }
        row |= {"prefix_queries_total": 50.0 * float((first <= t).sum()), "prefix_hits_total": 0.0}
        row |= {"client_in_flight": present, "client_connections": present, "client_cpu_share": 0.2}
        row |= {"host_cpu_share": 0.3, "host_swap_bytes": 0.0}
        found.append(row)
    return found


def evidence(
    rate: float = 10.0,
    slots: int = 64,
    tpot_s: float = 0.02,
    *,
    rows: list[dict[str, Any]] | None = None,
    samples: dict[str, Any] | None = None,
    log: str | None = "",
    **summary: Any,
) -> Evidence:
    """What the audit sees of such a load.

    ``rows`` replaces the records, ``samples`` columns of the ticks (a value, or one per second), and ``summary`` fields
    of load.json.
    """
    load = workload(rate)
    rows = serve(rate, load.total_s, slots=slots, tpot_s=tpot_s) if rows is None else rows
    requests = requests_of(pa.Table.from_pylist(rows, schema=REQUESTS))
    columns = pa.Table.from_pylist(ticks(rows, load.total_s + load.drain_s, slots), schema=TICKS)
    sampled = {n: columns.column(n).cast(pa.float64()).to_numpy() for n in columns.column_names}
    sampled |= {
        n: np.broadcast_to(np.asarray(v, dtype=float), sampled["t_s"].shape) for n, v in (samples or {}).items()
    }
    load_summary = LoadSummary.model_validate(described(load, rows, **summary))
    effective = EffectiveConfig(max_num_seqs=slots)
    about = TrialResult(
        candidate="baseline", n=1, status="measured", workload=load.name, workload_hash="0", position=0,
        engine="vllm", gpu="T4", effective=effective, seed=load.seed,
    )  # fmt: skip
    trial = measured(about, requests, sampled, load_summary, load)
    return Evidence.of_trial(requests, sampled, load_summary, load, trial, log)


def order(candidate: str, n: int, position: int, seed: int = 3, **flags: Any) -> TrialOrder:
    """The order for a trial of the made-up server."""
    config = EngineConfig(model="llama-2-7b").with_change(flags)
    return TrialOrder(candidate=candidate, n=n, position=position, config=config, seed=seed, phase="baseline")


def described(load: Workload, rows: list[dict[str, Any]], **summary: Any) -> dict[str, Any]:
    """The content of load.json."""
    inside = [r for r in rows if load.warmup_s <= r["scheduled_s"] < load.total_s]
    return {
        "workload": load.name, "seed": 3, "started_at": 1.7e9, "window_start_s": load.warmup_s,
        "window_end_s": load.total_s, "drain_s": load.drain_s, "drained_after_s": load.total_s + load.drain_s,
        "scheduled": len(rows), "asked_rate_per_s": len(inside) / load.duration_s, "send_lag_p50_ms": 0.3,
        "send_lag_p99_ms": 1.0, "send_lag_max_ms": 4.0, "client_cpu_share": 0.2, "loop_lag_p99_ms": 1.0,
        "gc_pause_max_ms": 2.0, "descriptors_limit": 4096, "descriptors_peak": 200, "connections_peak": 100, **summary,
    }  # fmt: skip


def write(folder: TrialFolder, load: Workload, rows: list[dict[str, Any]], slots: int, **summary: Any) -> None:
    """The files that the load phase leaves."""
    folder.path.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=REQUESTS), folder.requests)
    samples = ticks(rows, load.total_s + load.drain_s, slots)
    pq.write_table(pa.Table.from_pylist(samples, schema=TICKS), folder.ticks)
    value = described(load, rows, **summary)
    write_json(folder.load_json, LoadSummary.model_validate(value).model_dump(mode="json"))
