"""The metrics of one trial from its records, with vLLM's names; what cannot be determined is withheld with a reason.

Throughput counts what arrived inside the window, whichever request it belongs to. The arithmetic is that of
``rooftune.metrics``, which predictions use as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rooftune.errors import InputError
from rooftune.evidence.records.columns import Bools, Floats, Requests, requests_of
from rooftune.metrics import summary
from rooftune.metrics.summary import ANSWER_TTFT, LATENCIES, Latencies, RequestTimes, Summary, Volume
from rooftune.metrics.window import Window
from rooftune.workloads.slo import Slo

if TYPE_CHECKING:
    import pyarrow as pa


def request_metrics(
    requests: pa.Table | Requests, window: Window, slo: Slo | None = None, *, overloaded: bool = False
) -> Summary:
    """Metrics of the window, and the reasons for those that are withheld.

    Args:
        requests: a table with the columns of ``schema.REQUESTS``, or records already read.
        window: the measured stretch, workload seconds.
        slo: limits for ``request_goodput``; without limits there is no goodput.
        overloaded: the queue grew for the whole window: TTFT, E2EL and goodput have no meaning then.
    """
    records = requests if isinstance(requests, Requests) else requests_of(requests)
    found = Summary(throughput(records, window) | reasoning(records, window))
    for name in (*LATENCIES, ANSWER_TTFT) if reasons(records).any() else LATENCIES:
        if overloaded and name in summary.FROM_THE_QUEUE:
            found.add(summary.withheld(name, summary.QUEUE_GREW))
        else:
            found.add(summary.latency_summary(latencies(records, window, name, overloaded=overloaded), name))
    if slo is not None and slo.limits_ms():
        good = meets_slo(records, slo)[scheduled_in(records, window)]
        found.add(summary.goodput(good, window, overloaded=overloaded))
    return found


def scheduled_in(r: Requests, window: Window) -> Bools:
    """Which requests were scheduled in the window."""
    return window.holds(r.scheduled_s)


def throughput(r: Requests, window: Window) -> dict[str, float]:
    """Counts and rates of the window: tokens that arrived, prompts whose first token did, answers that ended."""
    ended = window.holds(r.left_s)
    prompts = np.where(np.isfinite(r.prompt_tokens), r.prompt_tokens, r.planned_prompt_tokens)
    read = window.holds(r.begun_s) & np.isfinite(r.first_token_s)
    read |= ~np.isfinite(r.first_token_s) & ended & (r.status == "completed")
    volume = Volume(
        completed=float((ended & (r.status == "completed")).sum()),
        failed=float((ended & (r.status != "completed")).sum()),
        input_tokens=float(np.nansum(prompts[read])),
        output_tokens=float(r.token_count[window.holds(r.token_s)].sum()),
    )
    return summary.throughput(volume, window)


def reasons(r: Requests) -> Bools:
    """Which requests have reasoning before their answer."""
    return np.isfinite(r.reasoning_tokens)


def require_reasoning(r: Requests, slo: Slo) -> None:
    """Refuse to judge the first token of the answer where the server does not say which one it is.

    Raises:
        InputError: the SLO limits it, and none of the answers has reasoning.
    """
    if slo.answer_ttft_ms is None or reasons(r).any() or not (r.status == "completed").any():
        return
    raise InputError(
        "the SLO has answer_ttft_ms, but no answer of this server has reasoning in a separate field; start it with "
        "a reasoning parser (vllm serve --reasoning-parser NAME), or give --slo answer_ttft_ms=none and use ttft_ms."
    )


def reasoning(r: Requests, window: Window) -> dict[str, float]:
    """Tokens of the reasoning of answers that ended in the window, and their share; nothing without reasoning."""
    if not reasons(r).any():
        return {}
    ended = window.holds(r.left_s) & (r.status == "completed")
    tokens = float(np.nansum(r.reasoning_tokens[ended]))
    total = float(np.nansum(r.output_tokens[ended]))
    return {"total_reasoning_tokens": tokens, **({"reasoning_share": tokens / total} if total else {})}


def _answer_ttft(r: Requests, window: Window) -> Latencies:
    """Until the first token of the answer. A request that only reasoned is known to need longer than it was watched."""
    mine = scheduled_in(r, window) & reasons(r)
    value = (r.answer_s - r.scheduled_s)[mine]
    looked = np.where(np.isfinite(r.last_s), r.last_s, r.observed_until_s) - r.scheduled_s
    known = np.isfinite(value)
    return Latencies(value[known], looked[mine][~known])


def latencies(r: Requests, window: Window, name: str, *, overloaded: bool = False) -> Latencies:
    """Seconds behind ``ttft_ms``, ``answer_ttft_ms``, ``tpot_ms``, ``itl_ms`` or ``e2el_ms`` of the window."""
    if name == ANSWER_TTFT:
        return _answer_ttft(r, window)
    if name == "itl_ms":
        return Latencies(gaps(r, window))
    if name == "tpot_ms":
        return Latencies(streaming_tpot(r, window) if overloaded else request_tpot(r, window))
    mine = scheduled_in(r, window)
    until = r.first_token_s if name == "ttft_ms" else np.where(r.status == "completed", r.last_s, np.nan)
    value = (until - r.scheduled_s)[mine]
    known = np.isfinite(value)
    looked = np.where(np.isin(r.status, ("failed", "refused")), np.inf, r.observed_until_s - r.scheduled_s)[mine]
    if name == "ttft_ms" and not np.isfinite(r.first_token_s).any():
        return Latencies(np.empty(0))
    return Latencies(value[known], looked[~known])


def request_tpot(r: Requests, window: Window) -> Floats:
    """Time per token of every request scheduled in the window that streamed two tokens or more."""
    return summary.request_tpot(request_times(r), scheduled_in(r, window) & np.isin(r.status, ("completed", "cut")))


def request_times(r: Requests) -> RequestTimes:
    """The times of every request."""
    tokens = np.where(np.isfinite(r.output_tokens), r.output_tokens, r.streamed_tokens)
    answer = np.where(reasons(r), r.answer_s, r.first_token_s)
    return RequestTimes(r.scheduled_s, r.first_token_s, answer, r.last_token_s, r.last_s, tokens)


def streaming_tpot(r: Requests, window: Window) -> Floats:
    """Time per token of every stream inside the window, whenever it was scheduled and whether or not it ended."""
    inside = window.holds(r.token_s)
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
    return summary.stream_tpot(last - first, after, whole)


def gaps(r: Requests, window: Window) -> Floats:
    """Gaps between consecutive chunks of one request, both inside the window."""
    if len(r.token_s) < 2:
        return np.empty(0)
    inside = window.holds(r.token_s)
    ok = inside[1:] & inside[:-1] & (r.token_owner[1:] == r.token_owner[:-1])
    return np.asarray(np.diff(r.token_s)[ok], dtype=np.float64)


def tokens_per_chunk(r: Requests) -> float:
    """Mean number of tokens in a chunk, 1 when nothing was streamed."""
    return float(r.token_count.mean()) if len(r.token_count) else 1.0


def meets_slo(r: Requests, slo: Slo) -> Bools:
    """Which requests completed within every limit of the SLO, counted from their scheduled send."""
    return summary.meets_slo(request_times(r), r.status == "completed", slo.limits_ms())
