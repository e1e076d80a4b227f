"""The metrics of a run in virtual time, with vLLM's names and by the rules for measured trials (``rooftune.metrics``).

A test runs one load through this and as records through the evidence, and compares every metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.metrics import summary
from rooftune.metrics.overload import Presence, growth
from rooftune.metrics.summary import Latencies, Summary, Volume
from rooftune.metrics.window import Window
from rooftune.simulator.runs import SimulatedRun
from rooftune.workloads.slo import Slo

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OfferedLoad:
    """What was asked: one entry for each request that was sent or refused. Times in seconds."""

    scheduled_s: Floats
    output_tokens: Floats
    """Planned."""
    refused: Bools
    """Longer than the model allows: answered with an error at once."""
    window: Window
    closed: bool

    @property
    def in_window(self) -> Bools:
        """Which requests were scheduled in the window."""
        return self.window.holds(self.scheduled_s)

    @property
    def asked_rate_per_s(self) -> float | None:
        """Requests/s that arrive in the window; None in a closed loop."""
        return None if self.closed else float(self.in_window.sum()) / self.window.seconds


@dataclass(frozen=True)
class RunMetrics:
    """Metrics by name, a sentence for each that is withheld, and the verdict on the load."""

    metrics: dict[str, float]
    withheld: dict[str, str]
    overloaded: bool
    served_rate_per_s: float | None
    """In overload: requests/s that come out, as tokens/s over the mean tokens of an answer."""


def run_metrics(load: OfferedLoad, run: SimulatedRun, slo: Slo | None) -> RunMetrics:
    """Metrics of a run whose marks are the window's start, middle and end; columns of both in the same order."""
    overloaded = _overloaded(load, run)
    found = Summary(summary.throughput(_volume(load, run), load.window))
    for name, values in _latencies(load, run, overloaded).items():
        if overloaded and name in summary.FROM_THE_QUEUE:
            found.add(summary.withheld(name, summary.QUEUE_GREW))
        else:
            found.add(summary.latency_summary(values, name))
    found.add(_gaps(run))
    if slo is not None and slo.limits_ms():
        good = summary.meets_slo(run.times(load.scheduled_s), run.ended, slo.limits_ms())[load.in_window]
        found.add(summary.goodput(good, load.window, overloaded=overloaded))
    served = found.metrics["output_throughput"] / float(load.output_tokens.mean()) if overloaded else None
    return RunMetrics(found.metrics, found.withheld, overloaded, served)


def _volume(load: OfferedLoad, run: SimulatedRun) -> Volume:
    return Volume(
        completed=float(run.completed[1:3].sum()),
        failed=float((load.refused & load.in_window).sum()),
        input_tokens=float(run.prompt_tokens[1:3].sum()),
        output_tokens=float(run.tokens[1:3].sum()),
    )


def _overloaded(load: OfferedLoad, run: SimulatedRun) -> bool:
    if load.closed or not len(load.scheduled_s):
        return False
    last = np.where(run.ended, run.last_s, np.inf)
    left = np.where(load.refused, load.scheduled_s, last)
    begun = np.fmin(np.nan_to_num(run.first_s, nan=np.inf), left)
    halves = float(run.tokens[1]), float(run.tokens[2])
    presence = Presence(load.scheduled_s, begun, left)
    return growth(presence, load.window, halves, float(load.output_tokens.mean())).overloaded


def _latencies(load: OfferedLoad, run: SimulatedRun, overloaded: bool) -> dict[str, Latencies]:
    """TTFT, E2EL and TPOT; gaps between tokens are in a histogram."""
    mine, watched = load.in_window, _watched(load, run)
    out = {}
    for name, until in (("ttft_ms", run.first_s), ("e2el_ms", np.where(run.ended, run.last_s, np.nan))):
        value = (until - load.scheduled_s)[mine]
        known = np.isfinite(value)
        out[name] = Latencies(value[known], watched[mine][~known])
    per_token = _streaming(run) if overloaded else summary.request_tpot(run.times(load.scheduled_s), mine)
    out["tpot_ms"] = Latencies(per_token)
    return out


def _watched(load: OfferedLoad, run: SimulatedRun) -> Floats:
    """How long each request was watched."""
    seen = np.concatenate([load.scheduled_s, run.last_s[np.isfinite(run.last_s)]])
    until = max(float(seen.max(initial=0.0)), run.end_s if not (run.ended | load.refused).all() else 0.0)
    return np.where(load.refused, np.inf, until - load.scheduled_s)


def _streaming(run: SimulatedRun) -> Floats:
    span, after = run.stream_last_s - run.stream_first_s, run.stream_tokens.astype(np.float64)
    return summary.stream_tpot(span, after, run.generated == run.stream_tokens + 1)


def _gaps(run: SimulatedRun) -> Summary:
    """Gaps between tokens in the window, from a histogram with bins 0.2 % wide."""
    total = int(run.generated.sum())
    reason = summary.several_tokens(total / max(total - run.extra_tokens, 1))
    if not reason and not run.gaps.sum():
        reason = summary.NO_TIMES
    if reason:
        return summary.withheld("itl_ms", reason)
    moments = run.gap_moments()
    found = {"mean": moments.mean, "std": moments.std}
    found |= {word: run.gap_quantile(q) for word, q in summary.QUANTILES.items()}
    return Summary({f"{word}_itl_ms": value * 1000 for word, value in found.items()})
