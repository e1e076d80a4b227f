"""A server in virtual time whose speed varies as real ones do, and whose step times differ from the reference's.

Speed is a function of time, v(t). Every step of the engine takes 1 / v as long, so in the server's own time (the
integral of v) it behaves like the undisturbed engine: arrivals are mapped into that time and the answers back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.validity.__main__ import TrialNoise
from rooftune.capacity.steps import Step, response_of
from rooftune.metrics.overload import Presence, growth
from rooftune.metrics.window import Window
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.predict import EmulatedEngine
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

Floats = npt.NDArray[np.float64]
BLOCK_S = 10.0
"""Length of a block of noise: the T4's log has a line every 10 s."""
WARM_S = 60.0
"""Time constant in which a cold card loses its within-trial drift."""
BETWEEN_STEPS_S = 5.0


@dataclass
class NoisyServer:
    """One started server. Time goes on from step to step."""

    engine: EmulatedEngine
    speed: float
    noise: TrialNoise
    random: np.random.Generator
    clock_s: float = 0.0
    load_s: float = 0.0

    def __post_init__(self) -> None:
        self.shift = self.random.normal(0, self.noise.between)
        if self.random.random() < self.noise.outliers:
            self.shift += self.noise.outlier
        self.wave = self.random.normal(0, 1)

    def step(self, workload: Workload) -> Step:
        """Send a step's workload and judge it."""
        plan = draw(workload)
        total = workload.total_s + workload.drain_s
        real, own = self._time(1.2 * total + 10 * BLOCK_S)

        def back(at: Floats) -> Floats:
            return np.interp(at / self.speed, own, real)

        arrival = np.interp(plan.arrival_s, real, own) * self.speed
        think = plan.think_s * self.speed
        client = ClientSettings(end_s=float(np.interp(total, real, own)) * self.speed)
        run = run_fast(
            replace(plan, arrival_s=arrival, think_s=think), self.engine.step_time, self.engine.limits, client,
            acceptance=self.engine.acceptance, runs=1_000,
        )  # fmt: skip
        due, first, last = plan.arrival_s, back(run.first_s), back(run.last_s)
        later = plan.turn > 0
        due = np.where(later, back(run.due_s), due)
        times = {
            "ttft_ms": first - due,
            "tpot_ms": np.where(run.generated > 1, (last - first) / np.maximum(run.generated - 1, 1), 0.0),
            "e2el_ms": last - due,
        }
        limits = workload.slo.limits_ms()
        ratios = {n: np.where(run.ended, times[n] * 1000 / limit, np.inf) for n, limit in limits.items()}
        window = Window(start_s=workload.warmup_s, end_s=workload.total_s)
        judged = window.holds(due)
        ended = np.where(run.ended, last, np.inf)
        busy = float(min(total, np.nanmax(last, initial=workload.total_s)))
        grew = growth(Presence(due, np.nan_to_num(first, nan=np.inf), ended), window, (1.0, 1.0), 0.0).rising
        self.clock_s += busy + BETWEEN_STEPS_S
        self.load_s += busy
        response = response_of(ratios, judged, len(plan) / workload.total_s, workload.slo.share)
        return Step(workload, response, busy, grew)

    def _time(self, seconds: float) -> tuple[Floats, Floats]:
        """(seconds of a step, the server's own time at them), from the step's start."""
        n, noise = math.ceil(seconds / BLOCK_S) + 1, self.noise
        steps, wave = self.random.normal(0, 1, n), np.empty(n)
        for i in range(n):
            self.wave = noise.correlation * self.wave + math.sqrt(1 - noise.correlation**2) * steps[i]
            wave[i] = self.wave
        at = self.clock_s + BLOCK_S * np.arange(n)
        cold = -noise.within_drift * np.exp(-at / WARM_S)
        stalled = np.where(self.random.random(n) < noise.stalls, math.log(0.7), 0.0)
        speed = np.exp(self.shift + noise.block * wave + cold + stalled)
        real = BLOCK_S * np.arange(n + 1, dtype=np.float64)
        return real, np.concatenate([[0.0], np.cumsum(speed) * BLOCK_S])
