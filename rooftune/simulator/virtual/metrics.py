"""The figures of a run in virtual time, with vLLM's names, by the window rules by which a measured trial is judged.

Throughput counts what came out inside the window; latencies count from the scheduled send, over the requests
scheduled in the window, with the unfinished ones as "longer than we looked". A test holds these equal to
``evidence/metrics.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.quantiles import censored_quantile
from rooftune.simulator.runs import SimulatedRun
from rooftune.simulator.virtual.overload import Arrived, overloaded
from rooftune.workloads.spec import Slo

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
QUANTILES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
MEAN_UNFINISHED_SHARE = 0.01
TPOT_TOKENS = 10
SEVERAL_TOKENS = 1.05
GROWING = (
    "the queue grew for the whole window, so this figure tells how long the load lasted and not how good the server is"
)


@dataclass(frozen=True)
class OfferedLoad:
    """What was asked: one entry a request that was sent or refused. Times in seconds."""

    scheduled_s: Floats
    output_tokens: Floats
    """Planned."""
    refused: Bools
    """Longer than the model allows: answered with an error at once."""
    window: tuple[float, float]
    closed: bool

    @property
    def in_window(self) -> Bools:
        return (self.scheduled_s >= self.window[0]) & (self.scheduled_s < self.window[1])


@dataclass(frozen=True)
class RunMetrics:
    """Metrics by name, a sentence for each that is withheld, and the verdict on the load."""

    metrics: dict[str, float]
    withheld: dict[str, str]
    overloaded: bool
    served_rate_per_s: float | None
    """In overload: requests/s that come out, as tokens/s over the mean tokens of an answer."""


def figures(load: OfferedLoad, run: SimulatedRun, slo: Slo | None) -> RunMetrics:
    """RunMetrics of a run whose marks are the window's start, its middle and its end; columns of both in the same
    order."""
    metrics = _throughput(load, run)
    beyond = _overloaded(load, run)
    withheld: dict[str, str] = {}
    for name, (known, at_least) in _latencies(load, run, beyond).items():
        if beyond and name in ("ttft_ms", "e2el_ms"):
            withheld |= {f"{k}_{name}": GROWING for k in ("mean", "std", *QUANTILES)}
            continue
        found, missing = _summary(known, at_least, name)
        metrics |= found
        withheld |= missing
    found, missing = _gaps(run)
    metrics |= found
    withheld |= missing
    if slo is not None and slo.limits_ms():
        if beyond:
            withheld["request_goodput"] = GROWING
        else:
            good = _meets(load, run, slo)[load.in_window]
            metrics["request_goodput"] = float(good.sum()) / (load.window[1] - load.window[0])
            metrics["slo_attainment"] = float(good.mean()) if len(good) else 0.0
    served = metrics["output_throughput"] / float(load.output_tokens.mean()) if beyond else None
    return RunMetrics(metrics, withheld, beyond, served)


def _throughput(load: OfferedLoad, run: SimulatedRun) -> dict[str, float]:
    seconds = load.window[1] - load.window[0]
    tokens, prompts = float(run.tokens[1:3].sum()), float(run.prompt_tokens[1:3].sum())
    completed = float(run.completed[1:3].sum())
    return {
        "duration": seconds,
        "completed": completed,
        "failed": float((load.refused & load.in_window).sum()),
        "total_input_tokens": prompts,
        "total_output_tokens": tokens,
        "request_throughput": completed / seconds,
        "output_throughput": tokens / seconds,
        "total_token_throughput": (tokens + prompts) / seconds,
    }


def _overloaded(load: OfferedLoad, run: SimulatedRun) -> bool:
    if load.closed or not len(load.scheduled_s):
        return False
    last = np.where(run.ended, run.last_s, np.inf)
    left = np.where(load.refused, load.scheduled_s, last)
    begun = np.fmin(np.nan_to_num(run.first_s, nan=np.inf), left)
    halves = float(run.tokens[1]), float(run.tokens[2])
    arrived = Arrived(load.scheduled_s, begun, left)
    return overloaded(arrived, load.window, halves, float(load.output_tokens.mean()))


def _latencies(load: OfferedLoad, run: SimulatedRun, beyond: bool) -> dict[str, tuple[Floats, Floats]]:
    """Seconds by name: known values, and lower bounds of the others."""
    mine, looked = load.in_window, _looked(load, run)
    out = {}
    for name, until in (("ttft_ms", run.first_s), ("e2el_ms", np.where(run.ended, run.last_s, np.nan))):
        value = (until - load.scheduled_s)[mine]
        known = np.isfinite(value)
        out[name] = (value[known], looked[mine][~known])
    out["tpot_ms"] = (_streaming(run) if beyond else _per_token(load, run), np.empty(0))
    return out


def _looked(load: OfferedLoad, run: SimulatedRun) -> Floats:
    """How long each request was watched."""
    seen = np.concatenate([load.scheduled_s, run.last_s[np.isfinite(run.last_s)]])
    until = max(float(seen.max(initial=0.0)), run.end_s if not (run.ended | load.refused).all() else 0.0)
    return np.where(load.refused, np.inf, until - load.scheduled_s)


def _per_token(load: OfferedLoad, run: SimulatedRun) -> Floats:
    """(last token - first token) / (n - 1) of the requests scheduled in the window with two tokens or more."""
    ok = load.in_window & (run.generated >= 2) & (run.last_s > run.first_s)
    return np.asarray((run.last_s - run.first_s)[ok] / (run.generated[ok] - 1))


def _streaming(run: SimulatedRun) -> Floats:
    """Time per token of every stream inside the window with ten tokens there, or all its tokens."""
    span, after = run.stream_last_s - run.stream_first_s, run.stream_tokens
    whole = run.generated == after + 1
    ok = (span > 0) & ((after >= TPOT_TOKENS) | (whole & (after >= 1)))
    return np.asarray(span[ok] / after[ok])


def _meets(load: OfferedLoad, run: SimulatedRun, slo: Slo) -> Bools:
    spans = {
        "ttft_ms": run.first_s - load.scheduled_s,
        "tpot_ms": np.where(run.generated > 1, (run.last_s - run.first_s) / np.maximum(run.generated - 1, 1), 0.0),
        "e2el_ms": run.last_s - load.scheduled_s,
    }
    good = run.ended.copy()
    for name, limit in slo.limits_ms().items():
        good &= np.nan_to_num(spans[name], nan=np.inf) * 1000 <= limit
    return good


def _summary(known: Floats, at_least: Floats, name: str) -> tuple[dict[str, float], dict[str, str]]:
    total = len(known) + len(at_least)
    if total == 0:
        reason = "no request in the window has this time (answers not streamed, or none came)"
        return {}, {f"{k}_{name}": reason for k in ("mean", "std", *QUANTILES)}
    share = len(at_least) / total
    told = f"{100 * share:.1f} % of the {total:,} requests scheduled in the window had no answer while we looked"
    metrics: dict[str, float] = {}
    withheld: dict[str, str] = {}
    if share <= MEAN_UNFINISHED_SHARE and len(known):
        metrics = {f"mean_{name}": float(known.mean()) * 1000, f"std_{name}": float(known.std()) * 1000}
    else:
        withheld = {f"{k}_{name}": f"{told}, a mean of the others would be one of survivors" for k in ("mean", "std")}
    for word, q in QUANTILES.items():
        value = censored_quantile(known, at_least, q)
        if value is None:
            withheld[f"{word}_{name}"] = f"{told}, so it is not determined"
        else:
            metrics[f"{word}_{name}"] = value * 1000
    return metrics, withheld


def _gaps(run: SimulatedRun) -> tuple[dict[str, float], dict[str, str]]:
    """Gaps between tokens in the window, out of a histogram with bins 0.2 % wide."""
    names = [f"{k}_itl_ms" for k in ("mean", "std", *QUANTILES)]
    total = int(run.generated.sum())
    several = total / max(total - run.extra_tokens, 1)
    if several > SEVERAL_TOKENS:
        reason = f"the server sends {several:.2f} tokens a chunk, so gaps between chunks are no gaps between tokens"
        return {}, dict.fromkeys(names, reason)
    if not run.gaps.sum():
        reason = "no request in the window has this time (answers not streamed, or none came)"
        return {}, dict.fromkeys(names, reason)
    mean, spread = run.gap_moments()
    values = [mean, spread, *(run.gap_quantile(q) for q in QUANTILES.values())]
    return {name: value * 1000 for name, value in zip(names, values, strict=True)}, {}
