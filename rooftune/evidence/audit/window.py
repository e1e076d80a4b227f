"""Checks of the window: warm-up left out, a steady state, enough requests for each quantile, long enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.comparison.t_distribution import t_tail
from rooftune.evidence.metrics.request_metrics import scheduled_in, streaming_tpot
from rooftune.evidence.records.columns import Floats, Requests
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from rooftune.formatting import number
from rooftune.metrics.quantiles import order_interval
from rooftune.metrics.queues import inside, slope

BLOCKS = 12
UNSTEADY = ("ramp", "burst", "trace")
"""Arrival processes that are not meant to be steady."""
TREND_WARN, TREND_FAIL = 0.10, 0.30
P99_NEEDS = 368
"""Requests from which order statistics bound a p99 on both sides at 95 %: 1 - 0.99^n >= 0.975."""


def warm_up(e: Evidence) -> Check:
    """The window begins after the server has filled up."""
    name = "warm-up"
    if e.window is None or e.requests is None:
        return no_data(name, f"{e.no_requests}, so the start of the window is not known.")
    start = e.window.start_s
    spans = (e.requests.last_s - e.requests.scheduled_s)[e.requests.status == "completed"]
    span = float(np.median(spans)) if len(spans) else math.nan
    figures = {"warm_up_s": round(start, 3), "median_answer_s": None if math.isnan(span) else round(span, 3)}
    remedy = "Start the window after the load has run for several answers (warmup_s in the workload)."
    if start <= 0:
        return warned(name, "No warm-up was left out: the first requests met an empty, cold server.", remedy, figures)
    if start < span and not (e.trial and e.trial.overloaded):
        return warned(
            name,
            f"The warm-up of {number(start)} s is shorter than the median answer of {span:.1f} s, "
            "so the server was still filling up.",
            remedy,
            figures,
        )
    return passed(name, f"The first {number(start)} s of the load were left out.", figures)


def steady_state(e: Evidence) -> Check:
    """Trend and change point of tokens per second over the window, by t tests on blocks and on answers."""
    name = "steady-state"
    if e.requests is None or e.window is None or len(e.requests.token_s) < 10 * BLOCKS:
        return no_data(name, "There are too few token times to see a trend.")
    edges = np.linspace(e.window.start_s, e.window.end_s, BLOCKS + 1)
    answers = tokens_in_blocks(e.requests, edges)
    rates = answers.sum(axis=0)
    line, jump = trend(rates), step(rates)
    if arrivals_set_the_rate(e):
        line, jump = line.among(answers), jump.among(answers)
    figures = {
        "change_over_window": round(line.change, 4),
        "p_value": round(line.p_value, 5),
        "step": round(jump.change, 4),
        "step_p_value": round(jump.p_value, 5),
    }
    found: Change = line
    sentence = f"Tokens per second changed by {100 * line.change:+.1f} % over the window"
    if jump.p_value < line.p_value and abs(jump.change) > TREND_WARN:
        found = jump
        sentence = f"Tokens per second jumped by {100 * jump.change:+.1f} % after {float(edges[jump.block]):.0f} s"
    remedy = "Measure longer after a longer warm-up; look for heat, growing contexts or other work on the machine."
    if e.workload is not None and e.workload.arrivals.process in UNSTEADY:
        return passed(
            name, f"{sentence}; the arrivals ({e.workload.arrivals.process}) are not meant to be steady.", figures
        )
    if abs(found.change) > TREND_FAIL and found.p_value < 0.001:
        return failed(name, f"{sentence} (p = {number(found.p_value, 1)}): there was no steady state.", remedy, figures)
    if abs(found.change) > TREND_WARN and found.p_value < 0.01:
        return warned(name, f"{sentence} (p = {number(found.p_value, 1)}); the mean hides this.", remedy, figures)
    extent = "small" if abs(found.change) <= TREND_WARN else "within chance"
    return passed(name, f"{sentence}, which is {extent}.", figures)


def tokens_in_blocks(r: Requests, edges: Floats) -> Floats:
    """Output tokens of every request that arrived in each block, requests × blocks."""
    blocks = len(edges) - 1
    held = (r.token_s >= edges[0]) & (r.token_s < edges[-1])
    block = np.minimum(np.searchsorted(edges, r.token_s[held], side="right") - 1, blocks - 1)
    cell = r.token_owner[held] * blocks + block
    found = np.bincount(cell, weights=r.token_count[held], minlength=len(r) * blocks)
    return np.asarray(found, dtype=np.float64).reshape(len(r), blocks)


def arrivals_set_the_rate(e: Evidence) -> bool:
    """Requests arrive by chance and none waits for another to end, so the tokens per second follow the arrivals.

    Not known of other tools' runs: their clients may hold requests back.
    """
    return e.trial is not None and not e.trial.overloaded and e.workload is not None and e.concurrency is None


@dataclass(frozen=True)
class Change:
    """A relative change of a series, and the chance of one as large in a steady series."""

    change: float
    p_value: float
    weights: tuple[float, ...] = ()
    """Of each block in the change: their sum is 0. Empty where nothing changed."""
    looks: int = 1
    """Places at which the change was looked for."""

    def among(self, answers: Floats) -> Self:
        """The same change, where the tokens of an answer arrive together, in blocks that lie next to each other.

        Blocks that are shorter than an answer are not independent, while answers to requests that arrive by chance are:
        the variance of a weighted sum over them is the sum of their squared parts (a compound Poisson process). The
        larger of the two chances counts.

        Args:
            answers: tokens, requests × blocks.
        """
        if not self.weights:
            return self
        parts = answers @ np.array(self.weights)
        variance = float((parts**2).sum())
        if variance == 0:
            return self
        freedom = variance**2 / float((parts**4).sum())
        chance = self.looks * 2 * t_tail(abs(float(parts.sum())) / math.sqrt(variance), freedom)
        return replace(self, p_value=min(1.0, max(self.p_value, chance)))


@dataclass(frozen=True)
class Jump(Change):
    """A jump between two levels."""

    block: int = 0
    """The first block after it."""


def trend(rates: Floats) -> Change:
    """Change of a series from its begin to its end along a line."""
    at = np.arange(len(rates), dtype=np.float64)
    mean = float(rates.mean())
    if mean <= 0:
        return Change(0.0, 1.0)
    gain = slope(at, rates.astype(np.float64))
    rest = rates - mean - gain * (at - at.mean())
    freedom = len(rates) - 2
    error = math.sqrt(float(rest @ rest) / freedom / float(((at - at.mean()) ** 2).sum()))
    change = gain * len(rates) / mean
    if error == 0 and gain == 0:
        return Change(0.0, 1.0)
    chance = 2 * t_tail(abs(gain) / max(error, 1e-12), freedom)
    return Change(change, chance, tuple((at - at.mean()).tolist()))


def step(rates: Floats) -> Jump:
    """Change at the likeliest change point.

    The largest two-sample t over all splits with two blocks or more on each side, corrected for their number.
    """
    size, best = len(rates), Jump(0.0, 1.0)
    if rates.mean() <= 0:
        return best
    for k in range(2, size - 1):
        before, after = rates[:k], rates[k:]
        rest = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
        error = math.sqrt(rest / (size - 2) * (1 / k + 1 / (size - k)))
        gap = float(after.mean() - before.mean())
        if gap == 0 or before.mean() <= 0:
            continue
        chance = min(1.0, (size - 3) * 2 * t_tail(abs(gap) / max(error, 1e-12), size - 2))
        if chance < best.p_value:
            weights = (-1 / k,) * k + (1 / (size - k),) * (size - k)
            best = Jump(gap / float(before.mean()), chance, weights, size - 3, k)
    return best


def quantiles(e: Evidence) -> Check:
    """Enough requests for the p99 that is quoted, with its distribution-free interval."""
    name = "quantiles"
    if e.requests is None or e.window is None:
        return no_data(name, f"{e.no_requests}, so the uncertainty of its quantiles is not known.")
    mine = scheduled_in(e.requests, e.window)
    times = (e.requests.first_token_s - e.requests.scheduled_s)[mine] * 1000
    times, word = times[np.isfinite(times)], "TTFT"
    if e.trial is not None and e.trial.overloaded:
        times, word = streaming_tpot(e.requests, e.window) * 1000, "TPOT"
    figures: dict[str, object] = {"requests": len(times), "needed_for_p99": P99_NEEDS}
    if len(times) == 0:
        return no_data(name, "No request of the window has this time.")
    found = order_interval(times, 0.99)
    quoted = any(k.startswith("p99_") for k in e.quoted)
    if found is not None:
        figures[f"p99_{word.lower()}_ms_interval"] = [round(v, 2) for v in found]
        return passed(
            name,
            f"{len(times):,} requests are enough for a p99: that of {word} is between "
            f"{number(found[0])} and {number(found[1])} ms (95 % interval).",
            figures,
        )
    if not quoted:
        return passed(name, f"{len(times):,} requests; no p99 is quoted.", figures)
    return warned(
        name,
        f"{len(times):,} requests are too few for a p99, which is close to the largest value.",
        f"Measure at least {P99_NEEDS} requests, or quote the median and p90.",
        figures,
    )


def length(e: Evidence) -> Check:
    """The window is much longer than one answer, and mostly under load."""
    name = "window-length"
    if e.requests is None or e.window is None:
        return no_data(name, f"{e.no_requests}, so the window cannot be compared with an answer.")
    seconds = e.window.end_s - e.window.start_s
    spans = e.requests.last_s - np.fmax(e.requests.first_token_s, e.requests.scheduled_s)
    spans = spans[(e.requests.status == "completed") & np.isfinite(spans)]
    if len(spans) == 0:
        return failed(name, f"No answer completed in {number(seconds)} s.", "Measure longer.", {"window_s": seconds})
    answer = float(np.median(spans))
    if answer <= 0:
        return no_data(name, "The file has answers that end when they begin, so their length is not known.")
    at = np.linspace(e.window.start_s, e.window.end_s, 500)
    present = inside(np.fmin(e.requests.first_token_s, e.requests.last_s), e.requests.left_s, at)
    full = float(np.quantile(present, 0.9))
    idle = float((present < 0.5 * full).mean())
    figures = {
        "window_s": round(seconds, 3),
        "median_answer_s": round(answer, 3),
        "share_below_half_load": round(idle, 3),
    }
    if seconds < 2 * answer:
        return failed(
            name,
            f"The window of {number(seconds)} s is shorter than two answers of {answer:.1f} s.",
            "Measure for at least ten times the median answer.",
            figures,
        )
    if idle > 0.25 and not e.ours:
        return warned(
            name,
            f"For {100 * idle:.0f} % of the measured time fewer than half as many answers as at "
            "the peak were in flight (ramp-up and drain), which lowers the throughput.",
            "Measure throughput over the time in which the load was steady.",
            figures,
        )
    if seconds < 5 * answer:
        return warned(
            name,
            f"The window of {number(seconds)} s is only {seconds / answer:.1f} times the median answer.",
            "Measure for at least ten times the median answer.",
            figures,
        )
    return passed(
        name, f"The window of {number(seconds)} s is {seconds / answer:.0f} times the median answer.", figures
    )


ALL = (warm_up, steady_state, quantiles, length)
