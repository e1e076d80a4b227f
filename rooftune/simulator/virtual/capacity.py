"""How much of a workload one server carries within its SLO, in virtual time.

The capacity is the highest rate of the workload's arrival process at which at least ``slo.share`` of the requests meet
every limit. One sample of requests is drawn once and played faster or slower, so the response is smooth in the rate and
configurations are compared on the same requests. The SLO ratio of a request is the largest of its times over their
limits: it meets the SLO up to 1. The capacity is where the ``share`` quantile of the ratios crosses 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rooftune.errors import InputError
from rooftune.metrics.summary import limited_spans
from rooftune.simulator.fastpath.run import LaidOut, lay_out, pays_to_compile
from rooftune.simulator.runs import ClientSettings, Floats, SimulatedRun
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.simulator.virtual.saturation import saturated_rate
from rooftune.workloads import spec
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import Workload

SHORT, LONG = 1_000, 4_000
"""Requests of the short sample, which brackets the capacity, and of the long one, which settles it."""
SETTLING = 0.2
"""Share of the sample's time at the start whose requests are not judged: the server starts empty."""
TOLERANCE = 0.02
"""Relative width of the bracket at which the search ends."""
SLOWEST = 1e-3
"""Rate, relative to saturation, at which a server that still breaks the SLO is said to break it for a lone request."""
MANY_RUNS = 1_000
"""Runs that a search for capacities makes, as far as compiling is concerned: it always pays."""
NEVER = 1e9
"""SLO ratio of a request that never ended."""


@dataclass(frozen=True)
class Sample:
    """Requests of a workload, and the rate at which its arrival process sent them."""

    plan: RequestPlan
    rate_per_s: float
    slo: Slo

    def at(self, rate_per_s: float) -> RequestPlan:
        """The same requests at another rate: the arrival process, played faster or slower."""
        return replace(self.plan, arrival_s=self.plan.arrival_s * (self.rate_per_s / rate_per_s))


@dataclass(frozen=True)
class PredictedCapacity:
    """The highest rate within the SLO, and what breaks beyond it. Simulated."""

    rate_per_s: float
    """0 = even a lone request breaks the SLO."""
    limited_by: str
    """The limit that breaks first above that rate, by its name in the SLO; ``queue`` = the server is saturated before
    the sample shows a broken limit, and from there on the queue grows without end."""
    ratio_at_low_load: float
    """SLO ratio (``share`` quantile) at a rate at which the SLO holds; above 1 where even a lone request breaks it."""
    saturated_rate_per_s: float
    """Requests per second that come out when the queue is never empty."""
    runs: int
    """Simulated runs that it took."""


def sample(workload: Workload, requests: int = LONG, seed: int | None = None) -> Sample:
    """Draw about ``requests`` requests of a workload for :func:`capacity`.

    Raises:
        InputError: the workload has no SLO or no open-loop arrival process of one rate.
    """
    if not workload.slo.limits_ms():
        raise InputError(
            f"the workload {workload.name} has no SLO, so it has no capacity; add slo: {{ttft_ms: 500}} or give --slo."
        )
    arrivals = workload.arrivals
    if isinstance(arrivals, (spec.Closed, spec.Ramp)):
        raise InputError(
            f"{arrivals.process} arrivals have no rate to vary; use poisson, constant, gamma, burst or trace."
        )
    if isinstance(arrivals, spec.Trace) and arrivals.rate_per_s is None:
        plan = draw(workload, seed=seed)
        return Sample(plan, _starts(plan) / max(float(plan.arrival_s.max(initial=0.0)), 1e-9), workload.slo)
    turns = 1.0
    if workload.may_have_turns or isinstance(arrivals, spec.Trace):
        plan = draw(workload, seed=seed)
        turns = max(1.0, len(plan) / max(1, _starts(plan)))
    assert arrivals.rate_per_s is not None
    whole = workload.model_copy(update={"warmup_s": 0.0, "duration_s": requests / turns / arrivals.rate_per_s})
    return Sample(draw(whole, seed=seed), arrivals.rate_per_s, workload.slo)


def _starts(plan: RequestPlan) -> int:
    """Requests that arrive by themselves: all but the later turns of conversations."""
    return int((plan.turn == 0).sum())


def _saturated_starts(engine: EmulatedEngine, plan: RequestPlan) -> float | None:
    """Requests/s that arrive by themselves where the engine is never idle; None without requests."""
    rate_per_s = saturated_rate(plan, engine.step_time, engine.limits, engine.acceptance, runs=MANY_RUNS)
    return None if rate_per_s is None else rate_per_s * _starts(plan) / len(plan)


def at_speed(plan: RequestPlan, speed: float) -> RequestPlan:
    """The plan in the time of a server of speed 1, where ``plan`` is meant for one ``speed`` times as fast."""
    return replace(plan, arrival_s=plan.arrival_s * speed, think_s=plan.think_s * speed)


def slo_ratios(run: SimulatedRun, slo: Slo, speed: float = 1.0) -> dict[str, Floats]:
    """By limit: each request's time over the limit; ``NEVER`` where it did not end.

    Args:
        speed: the server is this many times as fast as the one simulated; times shrink accordingly.
    """
    spans = limited_spans(run.times(run.due_s))
    found = {name: spans[name] * (1000 / limit / speed) for name, limit in slo.limits_ms().items()}
    return {name: np.where(run.ended & np.isfinite(r), r, NEVER) for name, r in found.items()}


def ratio_quantile(ratios: dict[str, Floats], judged: slice | Floats, share: float) -> float:
    """The ``share`` quantile of the SLO ratio (the largest of each request's) over the judged requests."""
    worst = np.max(np.stack([r[judged] for r in ratios.values()]), axis=0)
    return float(np.quantile(worst, share, method="inverted_cdf"))


@dataclass(frozen=True)
class AtRate:
    """What a sample shows at one rate."""

    log_ratio: float
    breaking: str


class Response:
    """SLO ratio against rate for one engine and one sample."""

    def __init__(self, engine: EmulatedEngine, drawn: Sample, speed: float = 1.0) -> None:
        refused = too_long(drawn.plan, engine.limits.max_model_len)
        self.engine, self.slo, self.speed = engine, drawn.slo, speed
        self.refused = float(refused.mean()) if len(refused) else 0.0
        self.drawn = Sample(select(drawn.plan, ~refused), drawn.rate_per_s, drawn.slo)
        self.runs = 0
        self._seen: dict[float, AtRate] = {}

    def ratios(self, rate_per_s: float) -> dict[str, Floats]:
        """SLO ratios by limit of every request of the sample at that rate."""
        plan = at_speed(self.drawn.at(rate_per_s), self.speed)
        self.runs += 1
        run = self._laid_out.run(compile=pays_to_compile(len(plan), MANY_RUNS), moved=plan)
        return slo_ratios(run, self.slo, self.speed)

    @cached_property
    def _laid_out(self) -> LaidOut:
        engine = self.engine
        return lay_out(self.drawn.plan, engine.step_time, engine.limits, ClientSettings(), acceptance=engine.acceptance)

    def log_ratio(self, rate_per_s: float) -> float:
        """Logarithm of the quantile of the SLO ratio that decides: 0 at the capacity, above it beyond."""
        return self._at(rate_per_s).log_ratio

    def breaking(self, rate_per_s: float) -> str:
        """The limit that the fewest requests meet at that rate."""
        return self._at(rate_per_s).breaking

    def _at(self, rate_per_s: float) -> AtRate:
        found = self._seen.get(rate_per_s)
        if found is None:
            found = self._seen[rate_per_s] = self._look(rate_per_s)
        return found

    def _look(self, rate_per_s: float) -> AtRate:
        # Requests that are too long for the model fail at any rate and take their part of what may fail.
        share = self.slo.share / (1 - self.refused) if self.refused < 1 else 2.0
        if share > 1:
            return AtRate(math.log(NEVER), next(iter(self.slo.limits_ms())))
        ratios, judged = self.ratios(rate_per_s), self._judged()
        ratio = max(ratio_quantile(ratios, judged, share), 1e-9)
        return AtRate(math.log(ratio), min(ratios, key=lambda name: float((ratios[name][judged] <= 1).mean())))

    def _judged(self) -> slice:
        return slice(int(SETTLING * len(self.drawn.plan)), None)


def capacity(
    engine: EmulatedEngine,
    drawn: Sample,
    *,
    tolerance: float = TOLERANCE,
    speed: float = 1.0,
    near_per_s: float | None = None,
) -> PredictedCapacity:
    """The capacity of one engine on a sample of requests, to ``tolerance``.

    A short part of the sample brackets the crossing, the whole sample settles it.

    Args:
        speed: of the server, relative to the engine's step times.
        near_per_s: about where the capacity is, from a shorter sample.

    Raises:
        InputError: the sample holds no requests.
    """
    if not len(drawn.plan):
        raise InputError("the workload's sample holds no requests; raise its rate or its duration.")
    engine = engine.for_requests(drawn.plan)
    whole = Response(engine, drawn, speed)
    top = _saturated_starts(engine, whole.drawn.plan)
    if top is None:
        return PredictedCapacity(0.0, next(iter(drawn.slo.limits_ms())), NEVER, 0.0, whole.runs)
    top *= speed
    part = drawn if near_per_s else _part(drawn)
    coarse = whole if part is drawn else Response(engine, part, speed)
    rough = near_per_s
    if near_per_s:
        low = near_per_s
    else:
        feasible = _feasible(coarse.log_ratio, top)
        if feasible is None:
            slowest = top * SLOWEST
            ratio = math.exp(coarse.log_ratio(slowest))
            return PredictedCapacity(0.0, coarse.breaking(slowest), ratio, top, coarse.runs)
        low = feasible
        rough = _crossing(coarse.log_ratio, low, 1.1 * top, max(tolerance, 0.05)).rate if coarse is not whole else None
    found = _crossing(whole.log_ratio, *_around(whole.log_ratio, rough, low, top), tolerance)
    if near_per_s and found.rate <= 2 * SLOWEST * top:  # far from where it was expected, perhaps nowhere
        return capacity(engine, drawn, tolerance=tolerance, speed=speed)
    limited_by = "queue" if found.rate > top else whole.breaking(found.high)
    runs = whole.runs + (coarse.runs if coarse is not whole else 0)
    ratio = math.exp(coarse.log_ratio(low))
    return PredictedCapacity(min(found.rate, top), limited_by, ratio, top, runs)


def capacities_by_speed(
    engine: EmulatedEngine, drawn: Sample, speeds: Sequence[float], near_per_s: float
) -> tuple[float, ...]:
    """Requests/s that servers of several speeds carry, relative to the engine's; 0 = none.

    A server ``s`` times as fast shows at a rate the ratio that the engine shows at a rate ``s`` times lower, divided by
    ``s``. So all speeds share their runs, except where users take time to think, which no server shortens.

    Args:
        near_per_s: the engine's capacity, as far as it is known.
    """
    if (drawn.plan.think_s > 0).any():
        return tuple(capacity(engine, drawn, speed=s, near_per_s=s * near_per_s).rate_per_s for s in speeds)
    engine = engine.for_requests(drawn.plan)
    response = Response(engine, drawn)
    top = _saturated_starts(engine, response.drawn.plan)
    if top is None:
        return (0.0,) * len(speeds)

    def at(speed: float) -> float:
        def faster(rate_per_s: float) -> float:
            return response.log_ratio(rate_per_s) - math.log(speed)

        found = _crossing(faster, *_around(faster, near_per_s, near_per_s, top), TOLERANCE).rate
        if found <= 2 * SLOWEST * top:
            return capacity(engine, drawn, speed=speed).rate_per_s
        return speed * min(found, top)

    return tuple(at(speed) for speed in speeds)


@dataclass(frozen=True)
class Crossing:
    """Where a rising function of the rate crosses 0: between ``low`` and ``high``."""

    low: float
    high: float
    rate: float


def _part(drawn: Sample) -> Sample:
    """The start of the sample, or the sample itself where it is short or its requests belong together."""
    plan = drawn.plan
    if len(plan) < 2 * SHORT or (plan.turn > 0).any():
        return drawn
    kept = np.arange(len(plan)) < SHORT
    return Sample(select(plan, kept), drawn.rate_per_s, drawn.slo)


def _feasible(response: Callable[[float], float], top: float) -> float | None:
    """A rate at which the SLO holds; None where it does not hold even for lone requests."""
    rate = 0.5 * top
    while response(rate) > 0:
        if rate <= SLOWEST * top:
            return None
        rate = max(0.4 * rate, SLOWEST * top)
    return rate


def _around(response: Callable[[float], float], rough: float | None, low: float, top: float) -> tuple[float, float]:
    """A bracket of the whole sample's crossing: near the short one's, widened where that one misled."""
    if rough is None:
        return low, 1.1 * top
    low, high = 0.93 * rough, 1.01 * rough
    while low > SLOWEST * top and response(low) > 0:
        low, high = 0.85 * low, low
    while high < 1.5 * top and response(high) <= 0:
        low, high = high, 1.06 * high
    return low, high


def _crossing(response: Callable[[float], float], low: float, high: float, tolerance: float) -> Crossing:
    """Where ``response`` crosses 0, by false position with halved ends (Illinois) on the logarithm of the rate."""
    a, b = math.log(low), math.log(high)
    below, above = response(low), response(high)
    if above <= 0:
        return Crossing(high, high, high)
    if below > 0:
        return Crossing(low, low, low)
    last = 0
    while b - a > math.log1p(tolerance):
        middle = b - above * (b - a) / (above - below) if above > below else (a + b) / 2
        middle = min(max(middle, a + 0.1 * (b - a)), b - 0.1 * (b - a))
        value = response(math.exp(middle))
        if value > 0:
            b, above = middle, value
            below, last = (below / 2 if last > 0 else below), 1
        else:
            a, below = middle, value
            above, last = (above / 2 if last < 0 else above), -1
    return Crossing(math.exp(a), math.exp(b), math.exp((a + b) / 2))
