"""Reads the raw export of NVIDIA's perf_analyzer, which genai-perf leaves as ``profile_export.json``."""

from __future__ import annotations

import math

import numpy as np

from rooftune.evidence.importers.values import Json, inner, number, objects
from rooftune.evidence.records.columns import ChunkArrivals, Floats, requests_from
from rooftune.evidence.records.evidence import Evidence


def is_export(value: Json) -> bool:
    """Whether this has experiments with requests."""
    experiments = objects(value.get("experiments"))
    return bool(experiments) and "requests" in experiments[0]


def read(value: Json, label: str) -> list[Evidence]:
    """One run for each experiment. Times are nanoseconds of one clock; every response is a chunk."""
    experiments = objects(value.get("experiments"))
    return [_run(e, label if len(experiments) == 1 else f"{label}#{i + 1}") for i, e in enumerate(experiments)]


def _run(experiment: Json, label: str) -> Evidence:
    found = [r for r in objects(experiment.get("requests")) if math.isfinite(_seconds(r.get("timestamp")))]
    quoted = _asked(inner(experiment, "experiment"))
    if not found:
        return Evidence("genai-perf", label, quoted=quoted)
    sent = np.array([_seconds(r.get("timestamp")) for r in found])
    origin = float(sent.min())
    chunks = [_chunks(r.get("response_timestamps")) for r in found]
    sizes = np.array([len(c) for c in chunks])
    answered = sizes > 0
    columns = {
        "status": np.where(answered, "completed", "failed").astype(object),
        "scheduled_s": sent - origin,
        "sent_s": sent - origin,
        "first_token_s": np.array([c[0] if len(c) else math.nan for c in chunks]) - origin,
        "last_token_s": np.array([c[-1] if len(c) else math.nan for c in chunks]) - origin,
        "end_s": np.array([c[-1] if len(c) else math.nan for c in chunks]) - origin,
    }
    owner = np.repeat(np.arange(len(found)), sizes)
    at = np.concatenate([*chunks, np.empty(0)]) - origin
    requests = requests_from(columns, ChunkArrivals(at, np.ones(len(at)), owner))
    return Evidence("genai-perf", label, requests, quoted=quoted)


def _asked(experiment: Json) -> dict[str, float]:
    name = {"concurrency": "max_concurrency", "request_rate": "request_rate"}.get(str(experiment.get("mode")))
    value = number(experiment.get("value"))
    return {name: value} if name and math.isfinite(value) else {}


def _chunks(times: object) -> Floats:
    values = [_seconds(t) for t in times] if isinstance(times, list) else []
    return np.array([v for v in values if math.isfinite(v)], dtype=np.float64)


def _seconds(nanoseconds: object) -> float:
    if isinstance(nanoseconds, bool) or not isinstance(nanoseconds, (int, float)) or abs(nanoseconds) > 1e24:
        return math.nan
    return number(nanoseconds / 1e9)
