"""The simulated server that gives the response to a number of users its shape."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rooftune.capacity.reference import ANSWERS, LEAST_WINDOW_S, TOLERANCE, Reference
from rooftune.capacity.steps import StepResponse, StepShape, judged_requests, response_of
from rooftune.capacity.units import users_of
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, SimulatedRun
from rooftune.simulator.virtual.capacity import MANY_RUNS, NEVER, at_speed, slo_ratios
from rooftune.simulator.virtual.predict import select, too_long
from rooftune.simulator.virtual.users import SHORT, UsersSample, users_capacity, users_sample
from rooftune.simulator.virtual.users import run_users as run_sample
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload

SETTLE_CYCLES = 2.0
"""Time before the judged window, as a multiple of the time from one request of a user to the next: users begin together
and drift apart."""
FIRST_ROWS = 4_096
"""Requests of a plan that are simulated at first; a plan holds more than the users can send."""


@dataclass
class UsersReference(Reference):
    """The reference of a closed loop: its capacity is a number of users."""

    _users: UsersSample | None = field(default=None, repr=False)

    def _computed(self, speed: float, near: float | None) -> float:
        return users_capacity(self.engine, self._users_drawn(), speed=speed, tolerance=TOLERANCE, near=near).users

    def respond(self, workload: Workload, speed: float) -> StepResponse:
        """What a server of that speed would show for a step's workload."""
        plan = draw(workload)
        refused = too_long(plan, self.engine.limits.max_model_len)
        run = self._run(at_speed(select(plan, ~refused), speed), workload, speed)
        sent = np.isfinite(run.sent_s)
        at = np.where(sent, run.due_s / speed, np.nan)
        beside = _neighbours(at, refused)
        broken = np.full(len(beside), np.inf)
        ratios = {
            name: np.concatenate([np.where(r >= NEVER, np.inf, r)[sent], broken])
            for name, r in slo_ratios(run, workload.slo, speed).items()
        }
        at = np.concatenate([at[sent], beside])
        judged = (at >= workload.warmup_s) & (at < workload.total_s)
        return response_of(ratios, judged, len(at) / workload.total_s, workload.slo.share)

    def _run(self, plan: RequestPlan, workload: Workload, speed: float) -> SimulatedRun:
        """The part of the plan that the users get to."""
        end = (workload.total_s + workload.drain_s) * speed
        users = users_of(workload)
        client = ClientSettings(users=users, send_until_s=workload.total_s * speed, end_s=end)
        rows, engine = max(FIRST_ROWS, 8 * (users or 1)), self.engine
        while True:
            part = select(plan, np.arange(len(plan)) < rows)
            run = run_fast(part, engine.step_time, engine.limits, client, acceptance=engine.acceptance, runs=MANY_RUNS)
            if rows >= len(plan) or not np.isfinite(run.sent_s[-1]):
                return run
            rows *= 4

    def shape(self, speed: float) -> StepShape:
        """How long steps should be: settled after each user had some answers, with enough requests to judge."""
        users = max(1, round(self.capacity(speed)))
        seen = run_sample(self.engine, users_sample(self.workload, SHORT), users, speed)
        cycle_s, answer_s = users / seen.rate_per_s, seen.answer_s
        limit_s = max(self.workload.slo.limits_ms().values()) / 1000
        window_s = max(LEAST_WINDOW_S, ANSWERS * cycle_s)
        return StepShape(
            settle_s=min(max(SETTLE_CYCLES * cycle_s, 5.0), 240.0),
            requests=max(judged_requests(self.workload.slo.share), round(window_s * seen.rate_per_s)),
            drain_s=min(max(3 * answer_s, 2 * limit_s, 5.0), 180.0),
            cycle_s=cycle_s,
        )

    def _users_drawn(self) -> UsersSample:
        if self._users is None:
            self._users = users_sample(self.workload, self.requests)
        return self._users


def _neighbours(at: npt.NDArray[np.float64], refused: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """When the refused requests of a plan were sent: with the last one before them that was not."""
    kept = np.cumsum(~refused)[refused] - 1
    found = at[kept[(kept >= 0) & (kept < len(at))]]
    known: npt.NDArray[np.float64] = found[np.isfinite(found)]
    return known
