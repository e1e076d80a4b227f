"""How uncertain a figure is within one trial: jackknife over blocks of time, which keeps neighbours together.

Requests of one trial depend on each other (they share the batch and the queue), so the window is cut into blocks and
one block at a time is left out (delete-one-block jackknife: Kuensch 1989, Ann. Statist. 17, 1217). What differs from
trial to trial is not seen here; ``compare`` adds it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from rooftune.evidence.metrics import QUANTILES, latencies, throughput
from rooftune.evidence.quantiles import quantile
from rooftune.evidence.records import Floats, Requests
from rooftune.evidence.trial import Window

BLOCKS = 10
RATES = ("output_throughput", "request_throughput", "total_token_throughput")


def within_trial(r: Requests, window: Window, names: set[str], *, overloaded: bool = False) -> dict[str, float]:
    """Standard error of ln(metric) for the named metrics that can be computed by block."""
    edges = np.linspace(window.start_s, window.end_s, BLOCKS + 1)
    parts = [Window(start_s=float(a), end_s=float(b)) for a, b in itertools.pairwise(edges)]
    found: dict[str, float] = {}
    tables = [throughput(r, w) for w in parts]
    for name in RATES:
        rates = np.array([t[name] for t in tables])
        if rates.mean() > 0:
            found[name] = float(rates.std(ddof=1) / math.sqrt(BLOCKS) / rates.mean())
    for base in ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"):
        wanted = {k: q for k, q in QUANTILES.items() if f"{k}_{base}" in names}
        if wanted or f"mean_{base}" in names:
            found |= _latency(r, parts, base, wanted, overloaded)
    return {k: v for k, v in found.items() if k in names and math.isfinite(v)}


def _latency(
    r: Requests, parts: list[Window], base: str, wanted: dict[str, float], overloaded: bool
) -> dict[str, float]:
    """Jackknife over blocks of the logarithm of mean and quantiles of one latency."""
    pieces = [latencies(r, w, base, overloaded=overloaded).known for w in parts]
    pieces = [p for p in pieces if len(p)]
    if len(pieces) < 3:
        return {}
    found = {f"{word}_{base}": _jackknife(pieces, q) for word, q in wanted.items()}
    found[f"mean_{base}"] = _jackknife(pieces, None)
    return found


def _jackknife(pieces: list[Floats], q: float | None) -> float:
    values = []
    for left_out in range(len(pieces)):
        rest = np.concatenate([p for i, p in enumerate(pieces) if i != left_out])
        value = float(rest.mean()) if q is None else quantile(rest, q)
        if value <= 0:
            return math.nan
        values.append(math.log(value))
    m = len(values)
    return math.sqrt((m - 1) / m * float(((np.array(values) - np.mean(values)) ** 2).sum()))


def thinned(r: Requests, most_chunks: int = 3_000_000) -> Requests:
    """The records with chunks of evenly chosen requests only, where there are too many to sort ten times."""
    if len(r.token_s) <= most_chunks:
        return r
    keep = r.token_owner % (len(r.token_s) // most_chunks + 1) == 0
    return replace(r, token_s=r.token_s[keep], token_count=r.token_count[keep], token_owner=r.token_owner[keep])
