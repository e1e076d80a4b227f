"""The simulated server that gives the response its shape.

A measurement at one rate is uncertain above all because arrivals and lengths are random: the same server at the same
rate meets the SLO in one minute and breaks it in the next. The reference sends the very same requests through a
simulated server and asks how fast that server would have to be to show the same SLO ratio. That speed no longer depends
on the luck of the draw, so a step of one minute determines it within a few per cent. The capacity is then the
reference's own long-run capacity at that speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from rooftune.capacity.steps import LEVELS, Step, StepResponse, StepShape, judged_requests, response_of
from rooftune.machine_code import wanted
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.simulator.virtual.capacity import MANY_RUNS, NEVER, Sample, at_speed, capacity, sample, slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

LONG_RUN = 100_000 if wanted() else 20_000
"""Requests of the sample on which the reference's own capacity is found. Near saturation the luck of a draw lasts long:
capacities on draws of 20,000 requests differ by 1 to 3.5 % (one standard deviation), of 100,000 by 0.2 to 1.2 %.
Without numba, the longer one would take minutes."""
GRID = 0.05
"""Distance, in the logarithm of the speed, of the speeds at which that capacity is computed; between them it is
interpolated."""
TOLERANCE = 0.004
"""Relative precision of one of them."""
SLOWEST, FASTEST = 0.02, 50.0
"""Speeds relative to the reference between which a server is looked for."""
FEW = 2_000
"""Requests from which the mean time of an answer is taken."""
FIRST_WIDTH = 0.06
"""Width, in the logarithm of the speed, of the first bracket around the speed that is expected."""
LEAST_WINDOW_S, ANSWERS = 90.0, 4.0
"""A judged window lasts this many seconds at least, and this many times as long as an answer: a queue needs time to
show."""
EXACT = 1e-3
"""Precision of the logarithm of the speed."""


@dataclass(frozen=True)
class Ends:
    """Capacities at both ends of an interval."""

    low: float
    high: float


@dataclass
class Reference:
    """A simulated server, scaled in speed. Holds capacities already computed, which depend on nothing else."""

    engine: EmulatedEngine
    workload: Workload
    requests: int = LONG_RUN
    exact: bool = False
    """Whether the measured server is this very simulation, so that its shape is right and nothing warms up."""
    _sample: Sample | None = field(default=None, repr=False)
    _capacities: dict[int, float] = field(default_factory=dict, repr=False)

    def capacity(self, speed: float) -> float:
        """Requests/s within the SLO of a server ``speed`` times as fast as the reference; 0 = none."""
        place = math.log(speed) / GRID
        low = math.floor(place)
        a, b = self._on_grid(low), self._on_grid(low + 1)
        if a <= 0 or b <= 0:
            return b if place - low > 0.5 else a
        return math.exp((low + 1 - place) * math.log(a) + (place - low) * math.log(b))

    def _on_grid(self, place: int) -> float:
        found = self._capacities.get(place)
        if found is None:
            found = self._capacities[place] = self._computed(math.exp(GRID * place), self._guess(place))
        return found

    def _computed(self, speed: float, near: float | None) -> float:
        """The capacity at a speed, where ``near`` is about what is expected."""
        return capacity(self.engine, self._drawn(), tolerance=TOLERANCE, speed=speed, near_per_s=near).rate_per_s

    def ends(self, speed: float, half: float) -> Ends:
        """Capacities at both ends of an interval of ln(speed) with this half width."""
        return Ends(self.capacity(speed * math.exp(-half)), self.capacity(speed * math.exp(half)))

    def _guess(self, place: int) -> float | None:
        """About the capacity at that place of the grid, from the nearest one known; None without one."""
        known = [p for p, rate in self._capacities.items() if rate > 0]
        if not known:
            return None
        nearest = min(known, key=lambda p: abs(p - place))
        return self._capacities[nearest] * math.exp(GRID * (place - nearest))

    def respond(self, workload: Workload, speed: float) -> StepResponse:
        """What a server of that speed would show for a step's workload."""
        plan, engine = draw(workload), self.engine
        refused = too_long(plan, engine.limits.max_model_len)
        end = (workload.total_s + workload.drain_s) * speed
        client = ClientSettings(send_until_s=workload.total_s * speed, end_s=end)
        run = run_fast(
            at_speed(select(plan, ~refused), speed),
            engine.step_time,
            engine.limits,
            client,
            acceptance=engine.acceptance,
            runs=MANY_RUNS,
        )
        at = np.concatenate([run.due_s / speed, plan.arrival_s[refused]])
        broken = np.full(int(refused.sum()), np.inf)
        ratios = {
            name: np.concatenate([np.where(r >= NEVER, np.inf, r), broken])
            for name, r in slo_ratios(run, workload.slo, speed).items()
        }
        judged = (at >= workload.warmup_s) & (at < workload.total_s)
        return response_of(ratios, judged, len(plan) / workload.total_s, workload.slo.share)

    def speed_of(self, step: Step, near: float = 1.0) -> float:
        """The speed at which the reference shows the step's SLO ratio for the same requests.

        Where more requests did not end than the SLO allows, a lower quantile is compared.

        Args:
            near: a speed from which the search starts.
        """
        levels = (step.workload.slo.share, *LEVELS)
        level = next((x for x in levels if math.isfinite(step.response.quantile(x))), levels[-1])
        target = step.response.quantile(level)

        def slower(log_speed: float) -> bool:
            return self.respond(step.workload, math.exp(log_speed)).quantile(level) > target

        low, high = _bracket(slower, math.log(near))
        while high - low > EXACT:
            middle = (low + high) / 2
            low, high = (middle, high) if slower(middle) else (low, middle)
        return math.exp((low + high) / 2)

    def shape(self, speed: float) -> StepShape:
        """How long steps should be: settled after about the time of one answer, with enough requests to judge."""
        rate = self.capacity(speed)
        limit_s = max(self.workload.slo.limits_ms().values()) / 1000
        answer_s = self._answer_s(rate, speed) if rate > 0 else limit_s
        window_s = max(LEAST_WINDOW_S, ANSWERS * answer_s)
        return StepShape(
            settle_s=min(max(answer_s, 5.0), 120.0),
            requests=max(judged_requests(self.workload.slo.share), round(window_s * rate)),
            drain_s=min(max(3 * answer_s, 2 * limit_s, 5.0), 180.0),
        )

    def _answer_s(self, rate: float, speed: float) -> float:
        """Mean time of an answer near the capacity, seconds."""
        drawn, engine = self._drawn(), self.engine
        plan = at_speed(drawn.at(rate), speed)
        few = select(plan, np.arange(len(plan)) < FEW)
        run = run_fast(
            few, engine.step_time, engine.limits, ClientSettings(), acceptance=engine.acceptance, runs=MANY_RUNS
        )
        return float(np.nanmean(run.last_s - run.due_s)) / speed

    def _drawn(self) -> Sample:
        if self._sample is None:
            self._sample = sample(self.workload, self.requests)
        return self._sample


def _bracket(slower: Callable[[float], bool], start: float) -> tuple[float, float]:
    """Two logarithms of speeds on either side of the one that is sought, within ``SLOWEST`` and ``FASTEST``."""
    width = FIRST_WIDTH
    low, high = start - width / 2, start + width / 2
    while high < math.log(FASTEST) and slower(high):
        width *= 2
        low, high = high, min(high + width, math.log(FASTEST))
    while low > math.log(SLOWEST) and not slower(low):
        width *= 2
        low, high = max(low - width, math.log(SLOWEST)), low
    return low, high
