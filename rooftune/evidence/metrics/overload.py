"""Whether an open loop asks for more than the server can serve, and what can be said of it then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rooftune.evidence.metrics.request_metrics import request_times, scheduled_in, throughput
from rooftune.evidence.records.columns import Bools, Requests
from rooftune.metrics.overload import Presence, growth
from rooftune.metrics.summary import limited_spans
from rooftune.metrics.window import Window
from rooftune.workloads.slo import Slo


@dataclass(frozen=True)
class LoadAssessment:
    """What was asked of the server and what it made of it."""

    overloaded: bool
    asked_rate_per_s: float | None
    served_rate_per_s: float | None
    """Requests/s that the saturated server serves: its tokens/s over the mean tokens of an answer."""
    queue_growth_per_s: float
    """Growth of the requests without a first token."""
    in_flight_growth_per_s: float
    slo_breaks_after_s: float | None
    """From when on most requests miss a limit of the SLO other than TPOT, seconds from the start of the load."""
    reason: str


def assess(
    r: Requests, window: Window, slo: Slo | None = None, *, closed: bool = False, fixed: bool = True
) -> LoadAssessment:
    """Judge whether the queue grows through the window.

    Args:
        r: all requests of the load.
        window: the measured stretch.
        slo: limits, for the time until they break.
        closed: a closed loop never overloads: its clients wait.
        fixed: every answer has its planned length (``ignore_eos``); else the mean of the completed ones counts.
    """
    arrivals = int(scheduled_in(r, window).sum())
    asked = None if closed else arrivals / window.seconds
    planned = float(np.nanmean(r.planned_output_tokens)) if np.isfinite(r.planned_output_tokens).any() else np.nan
    grown = growth(Presence(r.scheduled_s, r.begun_s, r.left_s), window, _tokens_of_halves(r, window), planned)
    queue, in_flight = grown.queue_per_s, grown.in_flight_per_s
    if closed or arrivals == 0:
        return LoadAssessment(False, asked, None, queue, in_flight, None, "a closed loop waits for its answers")
    if not grown.overloaded:
        return LoadAssessment(False, asked, None, queue, in_flight, None, "the queue did not grow")
    mean = planned if fixed else _mean_answer(r, planned)
    served = throughput(r, window)["output_throughput"] / mean if mean > 0 else None
    reason = (
        f"requests without a first token grew by {queue:.2f} per second through the window"
        if grown.rising
        else f"requests in flight grew by {in_flight:.2f} per second while the tokens per second did not grow"
    )
    return LoadAssessment(True, asked, served, queue, in_flight, _breaks(r, slo), reason)


def _tokens_of_halves(r: Requests, window: Window) -> tuple[float, float]:
    """Tokens that arrived in the first and in the second half of the window."""
    middle = (window.start_s + window.end_s) / 2
    halves = Window(start_s=window.start_s, end_s=middle), Window(start_s=middle, end_s=window.end_s)
    first, second = (float(r.token_count[half.holds(r.token_s)].sum()) for half in halves)
    return first, second


def _mean_answer(r: Requests, planned: float) -> float:
    done: Bools = (r.status == "completed") & np.isfinite(r.output_tokens)
    return float(r.output_tokens[done].mean()) if done.any() else planned


def _breaks(r: Requests, slo: Slo | None) -> float | None:
    """Start of the first stretch of at least five requests from which on more than half of all miss the SLO."""
    limits = slo.limits_ms() if slo else {}
    limits.pop("tpot_ms", None)
    if not limits or len(r) < 10:
        return None
    missed, spans = np.zeros(len(r), dtype=bool), limited_spans(request_times(r))
    for name, limit in limits.items():
        missed |= ~(spans[name] * 1000 <= limit)
    order = np.argsort(r.scheduled_s, kind="stable")
    late = missed[order]
    after = np.cumsum(late[::-1])[::-1] / np.arange(len(late), 0, -1)
    window = np.convolve(late, np.ones(5), mode="valid") >= 3
    found = np.flatnonzero(window & (after[: len(window)] > 0.5))
    return float(r.scheduled_s[order][found[0]]) if len(found) else None
