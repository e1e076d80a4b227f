"""The figures of one trial from its records, with vLLM's names; what cannot be said is withheld with a sentence.

Throughput counts what arrived inside the window, whoever it belongs to. Latencies count from the scheduled send, over
the requests scheduled in the window, unfinished ones included as "longer than we looked".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rooftune.evidence.records.columns import Bools, Floats, Requests, requests_of
from rooftune.evidence.records.trial import Window
from rooftune.quantiles import censored_quantile
from rooftune.workloads.spec import Slo

if TYPE_CHECKING:
    import pyarrow as pa

QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LATENCIES = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")
MEAN_UNFINISHED_SHARE = 0.01
"""A mean is quoted over those that ended when at most this share did not."""
TPOT_TOKENS = 10
"""A stream that does not lie wholly in the window tells its rate from at least so many tokens in it."""
GROWING = (
    "the queue grew for the whole window, so this figure tells how long the load lasted and not how good the server is"
)


@dataclass(frozen=True)
class Latencies:
    """Seconds of the requests of a window: known values, and lower bounds of those that are not known."""

    known: Floats
    at_least: Floats

    @property
    def unknown_share(self) -> float:
        total = len(self.known) + len(self.at_least)
        return len(self.at_least) / total if total else 0.0


def request_metrics(
    requests: pa.Table | Requests, window: Window, slo: Slo | None = None, *, overloaded: bool = False
) -> tuple[dict[str, float], dict[str, str]]:
    """Figures of the window and the reasons for those that are withheld.

    Args:
        requests: a table with the columns of ``schema.REQUESTS``, or records already read.
        window: the measured stretch, workload seconds.
        slo: limits for ``request_goodput``; without limits there is no goodput.
        overloaded: the queue grew for the whole window: TTFT, E2EL and goodput have no meaning then.

    Returns:
        Figures by name (rates per second, times in milliseconds), and a sentence for each that is missing.
    """
    records = requests if isinstance(requests, Requests) else requests_of(requests)
    metrics = throughput(records, window)
    withheld: dict[str, str] = {}
    for name in LATENCIES:
        if overloaded and name in ("ttft_ms", "e2el_ms"):
            withheld |= {f"{k}_{name}": GROWING for k in ("mean", "std", *QUANTILES)}
            continue
        found, missing = _summary(latencies(records, window, name, overloaded=overloaded), name)
        metrics |= found
        withheld |= missing
    if slo is not None and slo.limits_ms():
        good = meets_slo(records, slo)[scheduled_in(records, window)]
        if overloaded:
            withheld["request_goodput"] = GROWING
        else:
            metrics["request_goodput"] = float(good.sum()) / (window.end_s - window.start_s)
            metrics["slo_attainment"] = float(good.mean()) if len(good) else 0.0
    return metrics, withheld


def scheduled_in(r: Requests, window: Window) -> Bools:
    """Which requests were scheduled in the window."""
    return (r.scheduled_s >= window.start_s) & (r.scheduled_s < window.end_s)


def throughput(r: Requests, window: Window) -> dict[str, float]:
    """Counts and rates of the window: tokens that arrived, prompts whose first token did, answers that ended."""
    seconds = window.end_s - window.start_s
    inside = (r.token_s >= window.start_s) & (r.token_s < window.end_s)
    tokens = float(r.token_count[inside].sum())
    ended = (r.left_s >= window.start_s) & (r.left_s < window.end_s)
    prompts = np.where(np.isfinite(r.prompt_tokens), r.prompt_tokens, r.planned_prompt_tokens)
    read = (r.begun_s >= window.start_s) & (r.begun_s < window.end_s) & np.isfinite(r.first_token_s)
    read |= ~np.isfinite(r.first_token_s) & ended & (r.status == "completed")
    taken = float(np.nansum(prompts[read]))
    completed = float((ended & (r.status == "completed")).sum())
    return {
        "duration": seconds,
        "completed": completed,
        "failed": float((ended & (r.status != "completed")).sum()),
        "total_input_tokens": taken,
        "total_output_tokens": tokens,
        "request_throughput": completed / seconds,
        "output_throughput": tokens / seconds,
        "total_token_throughput": (tokens + taken) / seconds,
    }


def latencies(r: Requests, window: Window, name: str, *, overloaded: bool = False) -> Latencies:
    """Seconds behind ``ttft_ms``, ``tpot_ms``, ``itl_ms`` or ``e2el_ms`` of the window."""
    if name == "itl_ms":
        return Latencies(gaps(r, window), np.empty(0))
    if name == "tpot_ms":
        return Latencies(streaming_tpot(r, window) if overloaded else request_tpot(r, window), np.empty(0))
    mine = scheduled_in(r, window)
    until = r.first_token_s if name == "ttft_ms" else np.where(r.status == "completed", r.last_s, np.nan)
    value = (until - r.scheduled_s)[mine]
    known = np.isfinite(value)
    looked = np.where(np.isin(r.status, ("failed", "refused")), np.inf, r.observed_until_s - r.scheduled_s)[mine]
    if name == "ttft_ms" and not np.isfinite(r.first_token_s).any():
        return Latencies(np.empty(0), np.empty(0))
    return Latencies(value[known], looked[~known])


def request_tpot(r: Requests, window: Window) -> Floats:
    """(last token - first token) / (n - 1) of every request scheduled in the window that streamed two tokens or more."""
    tokens = np.where(np.isfinite(r.output_tokens), r.output_tokens, r.streamed_tokens)
    asked = scheduled_in(r, window) & np.isin(r.status, ("completed", "cut"))
    ok = asked & (tokens >= 2) & np.isfinite(r.first_token_s) & (r.last_token_s > r.first_token_s)
    return np.asarray((r.last_token_s - r.first_token_s)[ok] / (tokens[ok] - 1), dtype=np.float64)


def streaming_tpot(r: Requests, window: Window) -> Floats:
    """Time per token of every stream inside the window, whenever it was scheduled and whether or not it ended.

    For overload, where the requests that end are a biased choice. A stream counts when at least ten of its tokens, or
    all of them, arrived in the window.
    """
    inside = (r.token_s >= window.start_s) & (r.token_s < window.end_s)
    owner, at, count = r.token_owner[inside], r.token_s[inside], r.token_count[inside]
    size = len(r)
    first, last = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(first, owner, at)
    np.maximum.at(last, owner, at)
    tokens = np.bincount(owner, weights=count, minlength=size)
    opening = np.zeros(size)
    at_first = at == first[owner]
    opening[owner[at_first]] = count[at_first]
    after = tokens - opening
    whole = np.bincount(r.token_owner, weights=r.token_count, minlength=size) == tokens
    ok = (last > first) & ((after >= TPOT_TOKENS) | (whole & (after >= 1)))
    return np.asarray((last - first)[ok] / after[ok], dtype=np.float64)


def gaps(r: Requests, window: Window) -> Floats:
    """Gaps between consecutive chunks of one request, both inside the window."""
    if len(r.token_s) < 2:
        return np.empty(0)
    inside = (r.token_s >= window.start_s) & (r.token_s < window.end_s)
    ok = inside[1:] & inside[:-1] & (r.token_owner[1:] == r.token_owner[:-1])
    return np.asarray(np.diff(r.token_s)[ok], dtype=np.float64)


def tokens_per_chunk(r: Requests) -> float:
    """Mean number of tokens in a chunk, 1 when nothing was streamed."""
    return float(r.token_count.mean()) if len(r.token_count) else 1.0


def meets_slo(r: Requests, slo: Slo) -> Bools:
    """Which requests completed within every limit of the SLO, counted from their scheduled send."""
    tokens = np.where(np.isfinite(r.output_tokens), r.output_tokens, r.streamed_tokens)
    spans = {
        "ttft_ms": r.first_token_s - r.scheduled_s,
        "tpot_ms": np.where(tokens > 1, (r.last_token_s - r.first_token_s) / np.maximum(tokens - 1, 1), 0.0),
        "e2el_ms": r.last_s - r.scheduled_s,
    }
    good: Bools = r.status == "completed"
    for name, limit in slo.limits_ms().items():
        good = good & (spans[name] * 1000 <= limit)
    return good


def _summary(values: Latencies, name: str) -> tuple[dict[str, float], dict[str, str]]:
    """Mean, spread and quantiles in milliseconds, or why not."""
    total = len(values.known) + len(values.at_least)
    if total == 0:
        reason = "no request in the window has this time (answers not streamed, or none came)"
        return {}, {f"{k}_{name}": reason for k in ("mean", "std", *QUANTILES)}
    metrics: dict[str, float] = {}
    withheld: dict[str, str] = {}
    share = values.unknown_share
    told = f"{100 * share:.1f} % of the {total:,} requests scheduled in the window had no answer while we looked"
    if share <= MEAN_UNFINISHED_SHARE and len(values.known):
        metrics[f"mean_{name}"] = float(values.known.mean()) * 1000
        metrics[f"std_{name}"] = float(values.known.std()) * 1000
    else:
        withheld |= {f"{k}_{name}": f"{told}, a mean of the others would be one of survivors" for k in ("mean", "std")}
    for word, q in QUANTILES.items():
        value = censored_quantile(values.known, values.at_least, q)
        if value is None:
            withheld[f"{word}_{name}"] = f"{told}, so it is not determined"
        else:
            metrics[f"{word}_{name}"] = value * 1000
    return metrics, withheld
