"""From the times of requests to metrics with vLLM's names; what cannot be determined is withheld with a reason.

Latencies count from the scheduled send, over the requests scheduled in the window. A request without an answer
enters with the time for which it was watched, as a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rooftune.metrics.quantiles import censored_quantile
from rooftune.metrics.window import Window

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
STATISTICS = ("mean", "std", *QUANTILES)
LATENCIES = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")
ANSWER_TTFT = "answer_ttft_ms"
"""Time to the first token after the reasoning: a latency of requests that have reasoning."""
FROM_THE_QUEUE = ("ttft_ms", "e2el_ms", ANSWER_TTFT)
"""Latencies that include the time in the queue, so they have no meaning while it grows."""
MEAN_UNFINISHED_SHARE = 0.01
"""A mean is quoted if at most this share of the requests did not end."""
TPOT_TOKENS = 10
"""Tokens in the window from which on a stream that is only partly in it gives a time per token."""
SEVERAL_TOKENS = 1.05
"""Mean tokens per chunk above which a gap between chunks is not a gap between tokens."""
QUEUE_GREW = (
    "the queue grew for the whole window, so this metric shows how long the load lasted, not how good the server is"
)
NO_TIMES = "no request in the window has this time: answers were not streamed, or none came"


@dataclass(frozen=True)
class Summary:
    """Metrics by name (rates per second, times in milliseconds), and a sentence for each that is withheld."""

    metrics: dict[str, float] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)

    def add(self, other: Summary) -> None:
        """Take over the metrics and sentences of another summary."""
        self.metrics.update(other.metrics)
        self.withheld.update(other.withheld)


@dataclass(frozen=True)
class Latencies:
    """Seconds of the requests of a window: known values, and lower bounds of those that are not known."""

    known: Floats
    at_least: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def unknown_share(self) -> float:
        """Share of the requests whose value is not known."""
        total = len(self.known) + len(self.at_least)
        return len(self.at_least) / total if total else 0.0


@dataclass(frozen=True)
class Volume:
    """What came out in the window."""

    completed: float
    failed: float
    input_tokens: float
    """Tokens of the prompts whose first token came in the window."""
    output_tokens: float


def withheld(name: str, reason: str) -> Summary:
    """Every statistic of a latency withheld for one reason."""
    return Summary(withheld={f"{k}_{name}": reason for k in STATISTICS})


def throughput(volume: Volume, window: Window) -> dict[str, float]:
    """Counts and rates of the window."""
    seconds = window.seconds
    return {
        "duration": seconds,
        "completed": volume.completed,
        "failed": volume.failed,
        "total_input_tokens": volume.input_tokens,
        "total_output_tokens": volume.output_tokens,
        "request_throughput": volume.completed / seconds,
        "output_throughput": volume.output_tokens / seconds,
        "total_token_throughput": (volume.output_tokens + volume.input_tokens) / seconds,
    }


def latency_summary(values: Latencies, name: str) -> Summary:
    """Mean, spread and quantiles of a latency in milliseconds, or why not."""
    total = len(values.known) + len(values.at_least)
    if total == 0:
        return withheld(name, NO_TIMES)
    found = Summary()
    share = values.unknown_share
    scheduled = f"{total:,} requests scheduled in the window"
    unknown = f"{100 * share:.1f} % of the {scheduled} had no answer when the client stopped waiting"
    if share <= MEAN_UNFINISHED_SHARE and len(values.known):
        found.metrics[f"mean_{name}"] = float(values.known.mean()) * 1000
        found.metrics[f"std_{name}"] = float(values.known.std()) * 1000
    else:
        survivors = f"{unknown}, so a mean would only cover those that were answered"
        found.withheld.update({f"{k}_{name}": survivors for k in ("mean", "std")})
    for word, q in QUANTILES.items():
        value = censored_quantile(values.known, values.at_least, q)
        if value is None:
            found.withheld[f"{word}_{name}"] = f"{unknown}, so it cannot be determined"
        else:
            found.metrics[f"{word}_{name}"] = value * 1000
    return found


def several_tokens(per_chunk: float) -> str:
    """Why gaps between tokens are not known, where a chunk holds this many tokens on average; empty where they are."""
    if per_chunk <= SEVERAL_TOKENS:
        return ""
    return f"the server sends {per_chunk:.2f} tokens per chunk, so gaps between chunks are not gaps between tokens"


def goodput(good: Bools, window: Window, *, overloaded: bool) -> Summary:
    """Rate and share of the requests scheduled in the window that met the SLO."""
    if overloaded:
        return Summary(withheld={"request_goodput": QUEUE_GREW})
    rate = float(good.sum()) / window.seconds
    return Summary({"request_goodput": rate, "slo_attainment": float(good.mean()) if len(good) else 0.0})


@dataclass(frozen=True)
class RequestTimes:
    """Times of requests by column, seconds; NaN: did not happen."""

    scheduled_s: Floats
    first_s: Floats
    """First token."""
    answer_s: Floats
    """First token of the answer: the first one of all where nothing was reasoned."""
    last_s: Floats
    """Last token."""
    end_s: Floats
    """End of the answer."""
    tokens: Floats


def limited_spans(times: RequestTimes) -> dict[str, Floats]:
    """Seconds that each limit of an SLO bounds, from the scheduled send; NaN: did not happen."""
    per_token = (times.last_s - times.first_s) / np.maximum(times.tokens - 1, 1)
    return {
        "ttft_ms": times.first_s - times.scheduled_s,
        ANSWER_TTFT: times.answer_s - times.scheduled_s,
        "tpot_ms": np.where(times.tokens > 1, per_token, 0.0),
        "e2el_ms": times.end_s - times.scheduled_s,
    }


def meets_slo(times: RequestTimes, completed: Bools, limits_ms: Mapping[str, float]) -> Bools:
    """Which requests completed within every limit, counted from their scheduled send."""
    spans = limited_spans(times)
    good = completed.copy()
    for name, limit in limits_ms.items():
        good &= spans[name] * 1000 <= limit  # false for NaN
    return good


def request_tpot(times: RequestTimes, chosen: Bools) -> Floats:
    """(last token - first token) / (n - 1) of the chosen requests that got two tokens or more."""
    ok = chosen & (times.tokens >= 2) & np.isfinite(times.first_s) & (times.last_s > times.first_s)
    return np.asarray((times.last_s - times.first_s)[ok] / (times.tokens[ok] - 1), dtype=np.float64)


def stream_tpot(span_s: Floats, after: Floats, whole: Bools) -> Floats:
    """Time per token of streams in the window, whenever they were scheduled and whether or not they ended.

    For overload, where the requests that end are a biased choice. A stream counts if at least ten of its tokens, or
    all of them, came in the window.

    Args:
        span_s: from its first to its last token in the window.
        after: its tokens in the window after the first moment with tokens.
        whole: whether all its tokens came in the window.
    """
    ok = (span_s > 0) & ((after >= TPOT_TOKENS) | (whole & (after >= 1)))
    return np.asarray(span_s[ok] / after[ok], dtype=np.float64)
