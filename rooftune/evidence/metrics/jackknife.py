"""How uncertain a figure is within one trial: jackknife over blocks of time, which keeps neighbours together.

Requests of one trial depend on each other (they share the batch and the queue), so the window is cut into blocks and
one block at a time is left out (delete-one-block jackknife: Kuensch 1989, Ann. Statist. 17, 1217). What differs from
trial to trial is not seen here; ``compare`` adds it.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from rooftune.evidence.metrics.request_metrics import latencies, throughput
from rooftune.evidence.records.columns import Floats, Requests
from rooftune.metrics.quantiles import quantile
from rooftune.metrics.summary import ANSWER_TTFT, LATENCIES, QUANTILES
from rooftune.metrics.window import Window

BLOCKS = 10
RATES = ("output_throughput", "request_throughput", "total_token_throughput")


def jackknife(r: Requests, window: Window, names: set[str], *, overloaded: bool = False) -> dict[str, list[float]]:
    """ln(metric) with one block left out, block by block, for the named metrics that can be computed by block."""
    edges = np.linspace(window.start_s, window.end_s, BLOCKS + 1)
    parts = [Window(start_s=float(a), end_s=float(b)) for a, b in itertools.pairwise(edges)]
    found: dict[str, list[float]] = {}
    tables = [throughput(r, w) for w in parts]
    for name in RATES:
        rates = np.array([t[name] for t in tables])
        found[name] = _logs((rates.sum() - rates) / (BLOCKS - 1))
    for base in (*LATENCIES, ANSWER_TTFT):
        wanted = {k: q for k, q in QUANTILES.items() if f"{k}_{base}" in names}
        if not wanted and f"mean_{base}" not in names:
            continue
        pieces = [latencies(r, w, base, overloaded=overloaded).known for w in parts]
        if min(len(p) for p in pieces) == 0:
            continue
        for word, q in {**wanted, "mean": math.nan}.items():
            found[f"{word}_{base}"] = _logs(_left_out(pieces, q))
    return {k: v for k, v in found.items() if k in names and v}


def within(left_out: dict[str, list[float]]) -> dict[str, float]:
    """Standard error of ln(metric) from the values of :func:`jackknife`."""
    return {
        k: math.sqrt((len(v) - 1) / len(v) * float(((np.array(v) - np.mean(v)) ** 2).sum()))
        for k, v in left_out.items()
    }


def _left_out(pieces: list[Floats], q: float) -> Floats:
    """Quantile q (the mean where q is NaN) of all pieces but one, for each piece."""
    values = []
    for i in range(len(pieces)):
        rest = np.concatenate([p for k, p in enumerate(pieces) if k != i])
        values.append(float(rest.mean()) if math.isnan(q) else quantile(rest, q))
    return np.array(values)


def _logs(values: Floats) -> list[float]:
    return [float(v) for v in np.log(values)] if np.isfinite(values).all() and (values > 0).all() else []
