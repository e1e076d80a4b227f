"""A server in virtual time whose speed varies as real ones do, and whose step times differ from the reference's.

Speed is a function of time, v(t). Every step of the engine takes 1 / v as long, so in the server's own time (the
integral of v) it behaves like the undisturbed engine: arrivals are mapped into that time and the answers back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from benchmarks.capacity.cases import Truth
from benchmarks.validity.scenes import TrialNoise
from rooftune.capacity.steps import Step, StepResponse, response_of
from rooftune.metrics.overload import Presence, growth
from rooftune.metrics.window import Window
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.capacity import Sample, sample
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import Workload

Floats = npt.NDArray[np.float64]
BLOCK_S = 10.0
"""Length of a block of noise: the T4's log has a line every 10 s."""
WARM_S = 60.0
"""Time constant in which a cold card loses its within-trial drift."""
BETWEEN_STEPS_S = 5.0
LONG_RUN = 100_000
"""Requests of the run that settles what a server really carries."""
SETTLING = 0.2
"""Share of that run whose requests are not judged."""
EXACT = 0.004
"""Relative precision of that capacity."""


@dataclass(frozen=True)
class Clock:
    """Real seconds, and the server's own time at them."""

    real: Floats
    own: Floats

    def to_own(self, at: Floats | float) -> Floats:
        """The server's own time at these real seconds."""
        return np.asarray(np.interp(at, self.real, self.own), np.float64)

    def to_real(self, own: Floats) -> Floats:
        """Real seconds at these moments of the server's own time."""
        return np.interp(own, self.own, self.real)


@dataclass(frozen=True)
class Played:
    """What the requests of a plan saw."""

    due_s: Floats
    first_s: Floats
    last_s: Floats
    ratios: dict[str, Floats]


def play(truth: Truth, plan: RequestPlan, slo: Slo, clock: Clock, until_s: float) -> Played:
    """Send the plan to the server until ``until_s``; what has not ended by then never ends."""
    engine, speed = truth.engine, truth.speed
    moved = replace(plan, arrival_s=clock.to_own(plan.arrival_s) * speed, think_s=plan.think_s * speed)
    client = ClientSettings(end_s=float(clock.to_own(until_s)) * speed)
    run = run_fast(moved, engine.step_time, engine.limits, client, acceptance=engine.acceptance, runs=1_000)
    first, last = clock.to_real(run.first_s / speed), clock.to_real(run.last_s / speed)
    due = np.where(plan.turn > 0, clock.to_real(run.due_s / speed), plan.arrival_s)
    times = {
        "ttft_ms": first - due,
        "tpot_ms": np.where(run.generated > 1, (last - first) / np.maximum(run.generated - 1, 1), 0.0),
        "e2el_ms": last - due,
    }
    ratios = {n: np.where(run.ended, times[n] * 1000 / limit, np.inf) for n, limit in slo.limits_ms().items()}
    return Played(due, np.nan_to_num(first, nan=np.inf), np.where(run.ended, last, np.inf), ratios)


def speeds(noise: TrialNoise, blocks: int, wave: float, random: np.random.Generator) -> Floats:
    """ln(speed) by block, around 0, and the state of the wave at the end as the last element."""
    found, steps = np.empty(blocks + 1), random.normal(0, 1, blocks)
    keep = math.sqrt(1 - noise.correlation**2)
    for i in range(blocks):
        wave = noise.correlation * wave + keep * steps[i]
        found[i] = wave
    found[blocks] = wave
    found[:blocks] = noise.block * found[:blocks] + np.where(random.random(blocks) < noise.stalls, math.log(0.7), 0.0)
    return found


def clock_of(log_speeds: Floats) -> Clock:
    """The clock of a server whose blocks have these speeds."""
    own = np.zeros(len(log_speeds) + 1)
    own[1:] = np.cumsum(np.exp(log_speeds)) * BLOCK_S
    return Clock(np.arange(len(own), dtype=np.float64) * BLOCK_S, own)


@dataclass
class NoisyServer:
    """One started server. Time goes on from step to step."""

    truth: Truth
    noise: TrialNoise
    random: np.random.Generator
    clock_s: float = 0.0
    load_s: float = 0.0
    shift: float = field(init=False)
    """Difference of this start from others of the same configuration, ln(speed)."""
    wave: float = field(init=False)

    def __post_init__(self) -> None:
        self.shift = self.random.normal(0, self.noise.between)
        if self.random.random() < self.noise.outliers:
            self.shift += self.noise.outlier
        self.wave = self.random.normal(0, 1)

    def step(self, workload: Workload) -> Step:
        """Send a step's workload and judge it."""
        plan, total = draw(workload), workload.total_s + workload.drain_s
        seen = play(self.truth, plan, workload.slo, self._clock(1.2 * total + 10 * BLOCK_S), total)
        window = Window(start_s=workload.warmup_s, end_s=workload.total_s)
        ended = seen.last_s[np.isfinite(seen.last_s)]
        busy = float(min(total, ended.max(initial=workload.total_s)))
        grew = growth(Presence(seen.due_s, seen.first_s, seen.last_s), window, (1.0, 1.0), 0.0).rising
        self.clock_s += busy + BETWEEN_STEPS_S
        self.load_s += busy
        return Step(workload, self._response(workload, plan, seen, window), busy, grew)

    def _response(self, workload: Workload, plan: RequestPlan, seen: Played, window: Window) -> StepResponse:
        judged = window.holds(seen.due_s)
        return response_of(seen.ratios, judged, len(plan) / workload.total_s, workload.slo.share)

    def _clock(self, seconds: float) -> Clock:
        blocks = math.ceil(seconds / BLOCK_S) + 1
        drawn = speeds(self.noise, blocks, self.wave, self.random)
        self.wave = float(drawn[-1])
        at = self.clock_s + BLOCK_S * np.arange(blocks)
        cold = -self.noise.within_drift * np.exp(-at / WARM_S)
        return clock_of(self.shift + drawn[:-1] + cold)


def true_capacity(truth: Truth, workload: Workload, noise: TrialNoise, near_per_s: float, seed: int) -> float:
    """What the server carries in the long run, warm, with the variation of speed that it has while it runs.

    Slow moments are part of a server and cost it requests within the SLO, so they belong to its capacity. What others
    take from it (stalls) does not, nor does the shift of a single start.
    """
    noise = replace(noise, stalls=0.0)
    drawn = sample(workload, LONG_RUN, seed)
    seconds = 4 * LONG_RUN / near_per_s
    clock = clock_of(speeds(noise, math.ceil(seconds / BLOCK_S), 0.0, np.random.default_rng(seed))[:-1])

    def breaks(rate_per_s: float) -> bool:
        return _share(truth, drawn, rate_per_s, clock) < workload.slo.share

    low, high = math.log(near_per_s) - 0.02, math.log(near_per_s) + 0.02
    while breaks(math.exp(low)):
        low, high = low - 2 * (high - low), low
    while not breaks(math.exp(high)):
        low, high = high, high + 2 * (high - low)
    while high - low > EXACT:
        middle = (low + high) / 2
        low, high = (low, middle) if breaks(math.exp(middle)) else (middle, high)
    return math.exp((low + high) / 2)


def _share(truth: Truth, drawn: Sample, rate_per_s: float, clock: Clock) -> float:
    """Share of the requests within the SLO in a long run at one rate."""
    plan = drawn.at(rate_per_s)
    seen = play(truth, plan, drawn.slo, clock, float(clock.real[-1]))
    worst = np.max(np.stack(list(seen.ratios.values())), axis=0)[int(SETTLING * len(plan)) :]
    return float((worst <= 1).mean())
