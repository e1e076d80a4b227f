"""How many users in a closed loop one server carries within its SLO, in virtual time.

Each user sends a request when the last one is answered, after a think time. More users make larger batches and longer
queues, so the share of requests within the SLO falls as their number rises. The capacity is the largest number at which
at least ``slo.share`` of the requests meet every limit. It is given as a fraction: where, between one whole number and
the next, the SLO ratio crosses 1. Beyond a full batch, more users only wait for each other. Where no limit shows that
(TPOT alone does not), the capacity is the number of users that fill the server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings, Floats, SimulatedRun
from rooftune.simulator.virtual.capacity import LONG, MANY_RUNS, NEVER, SETTLING, at_speed, slo_ratios
from rooftune.simulator.virtual.predict import EmulatedEngine, select, too_long
from rooftune.workloads.arrivals import SHORTEST_ANSWER_S
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import Closed, Workload

SHORT = 2_000
"""Requests of the runs that bracket the capacity."""
ROUNDS = 10
"""Requests or conversations of each user, at least, in a run."""
MOST_USERS = 20_000
FULL = 0.9
"""Share of ``max_num_seqs`` from which the batch is said to be full; each place is empty until its next admission."""
FEW_TALKS = 100
"""Conversations from which their mean number of turns is taken."""


@dataclass
class UsersSample:
    """Requests of a closed-loop workload, as many as a number of users needs. Holds those that were drawn."""

    workload: Workload
    requests: int = LONG
    seed: int | None = None
    _plans: dict[int, RequestPlan] = field(default_factory=dict, repr=False)

    @property
    def slo(self) -> Slo:
        """The SLO."""
        return self.workload.slo

    def plan(self, users: int) -> RequestPlan:
        """Requests for this many users; the same for all numbers that do not need more."""
        openings = max(1, round(self.requests / self._turns()))
        while openings < ROUNDS * users:
            openings *= 2
        if openings not in self._plans:
            self._plans[openings] = _drawn(self.workload, openings, self.seed)
        return self._plans[openings]

    def _turns(self) -> float:
        if not self.workload.may_have_turns:
            return 1.0
        return max(1.0, len(_drawn(self.workload, FEW_TALKS, self.seed)) / FEW_TALKS)


def users_sample(workload: Workload, requests: int = LONG, seed: int | None = None) -> UsersSample:
    """About ``requests`` requests of a closed-loop workload for :func:`users_capacity`.

    Raises:
        InputError: the workload has no SLO or no closed loop.
    """
    if not workload.slo.limits_ms():
        raise InputError(
            f"the workload {workload.name} has no SLO, so it has no capacity; add slo: {{ttft_ms: 500}} or give --slo."
        )
    if not isinstance(workload.arrivals, Closed):
        raise InputError(f"{workload.arrivals.process} arrivals have no users; use closed.")
    return UsersSample(workload, requests, seed)


def _drawn(workload: Workload, openings: int, seed: int | None) -> RequestPlan:
    """This many requests or conversations, of however many users."""
    arrivals = workload.arrivals
    assert isinstance(arrivals, Closed)
    pause = arrivals.think_s + (workload.conversations.think_s if workload.conversations else 0.0)
    one = arrivals.model_copy(update={"concurrency": 1})
    seconds = (openings + 0.5) * (SHORTEST_ANSWER_S + pause)
    return draw(workload.model_copy(update={"arrivals": one, "warmup_s": 0.0, "duration_s": seconds}), seed=seed)


@dataclass(frozen=True)
class PredictedUsers:
    """The most users within the SLO, and what breaks beyond them. Simulated."""

    users: float
    """0 = even a lone user breaks the SLO."""
    limited_by: str
    """The limit that breaks first with more users; ``queue`` = more users only wait for each other."""
    runs: int
    """Simulated runs that it took."""


@dataclass(frozen=True)
class UsersRun:
    """A run of a number of users in the steady state. Times are those of the server at its speed."""

    run: SimulatedRun
    judged: npt.NDArray[np.bool_]
    """Requests that are judged: neither at the start nor after the last user has taken the last request."""
    ratios: dict[str, Floats]
    refused: float
    """Share of the requests that are longer than the model allows."""
    speed: float
    window_s: float

    @property
    def rate_per_s(self) -> float:
        """Requests/s that the users send."""
        return float(self.judged.sum()) / self.window_s / (1 - self.refused)

    @property
    def answer_s(self) -> float:
        """Mean time of an answer."""
        return float(np.nanmean((self.run.last_s - self.run.due_s)[self.judged])) / self.speed

    @property
    def worst(self) -> Floats:
        """The SLO ratio of each judged request: the largest of its times over their limits."""
        found: Floats = np.max(np.stack([r[self.judged] for r in self.ratios.values()]), axis=0)
        return found

    @property
    def breaking(self) -> str:
        """The limit that the fewest requests meet."""
        return min(self.ratios, key=lambda name: float((self.ratios[name][self.judged] <= 1).mean()))

    def log_ratio(self, share: float) -> float:
        """Logarithm of the quantile of the SLO ratio that decides: 0 at the edge of the SLO, above it beyond."""
        # Requests that are too long for the model fail with any load and take their part of what may fail.
        level = share / (1 - self.refused) if self.refused < 1 else 2.0
        if level > 1:
            return math.log(NEVER)
        return math.log(max(float(np.quantile(self.worst, level, method="inverted_cdf")), 1e-9))


def run_users(engine: EmulatedEngine, drawn: UsersSample, users: int, speed: float = 1.0) -> UsersRun:
    """What this many users see on a server ``speed`` times as fast as the engine."""
    plan = drawn.plan(users)
    refused = too_long(plan, engine.limits.max_model_len)
    plan = at_speed(select(plan, ~refused), speed)
    run = run_fast(
        plan, engine.step_time, engine.limits, ClientSettings(users=users), acceptance=engine.acceptance, runs=MANY_RUNS
    )
    begun = np.sort(run.due_s[plan.turn == 0])
    # The last request of each user runs beside fewer and fewer others.
    end = float(begun[max(0, len(begun) - users - 1)]) if len(begun) else 0.0
    start = SETTLING * end
    judged = np.isfinite(run.sent_s) & (run.due_s >= start) & (run.due_s < end)
    if not judged.any():
        judged = np.isfinite(run.sent_s)
    return UsersRun(
        run=run,
        judged=judged,
        ratios=slo_ratios(run, drawn.slo, speed),
        refused=float(refused.mean()) if len(refused) else 0.0,
        speed=speed,
        window_s=max((end - start) / speed, 1e-9),
    )


class UsersResponse:
    """SLO ratio against the number of users, for one engine and one sample."""

    def __init__(self, engine: EmulatedEngine, drawn: UsersSample, speed: float = 1.0) -> None:
        self.engine, self.drawn, self.speed = engine, drawn, speed
        self.runs = 0
        self._seen: dict[int, tuple[float, str]] = {}

    def log_ratio(self, users: int) -> float:
        """Logarithm of the quantile of the SLO ratio that decides."""
        return self._at(users)[0]

    def breaking(self, users: int) -> str:
        """The limit that the fewest requests meet with this many users."""
        return self._at(users)[1]

    def _at(self, users: int) -> tuple[float, str]:
        if users not in self._seen:
            self.runs += 1
            found = run_users(self.engine, self.drawn, users, self.speed)
            self._seen[users] = found.log_ratio(self.drawn.slo.share), found.breaking
        return self._seen[users]


def users_capacity(
    engine: EmulatedEngine,
    drawn: UsersSample,
    *,
    speed: float = 1.0,
    tolerance: float = 0.0,
    near: float | None = None,
) -> PredictedUsers:
    """The most users of one engine on a sample of requests.

    A short part of the sample brackets the crossing, the whole sample settles it.

    Args:
        speed: of the server, relative to the engine's step times.
        tolerance: relative width of the bracket at which the search ends; 0 = one user.
        near: about the number that is expected.
    """
    whole = UsersResponse(engine, drawn, speed)
    coarse = whole
    most = filling_users(engine, drawn, speed) if set(drawn.slo.limits_ms()) == {"tpot_ms"} else MOST_USERS
    if near is None and drawn.requests > 2 * SHORT:
        coarse = UsersResponse(engine, UsersSample(drawn.workload, SHORT, drawn.seed), speed)
        near = _crossing(coarse, *_around(coarse, None, math.ceil(most)), 0.02)
    found = _crossing(whole, *_around(whole, near, math.ceil(most)), tolerance)
    runs = whole.runs + (coarse.runs if coarse is not whole else 0)
    if found <= 0:
        return PredictedUsers(0.0, whole.breaking(1), runs)
    if found >= most:
        return PredictedUsers(float(most), "queue", runs)
    return PredictedUsers(found, whole.breaking(math.floor(found) + 1), runs)


def filling_users(engine: EmulatedEngine, drawn: UsersSample, speed: float = 1.0) -> float:
    """Users who fill the server: with more of them, the same number is answered at a time, and the others wait."""
    places = engine.limits.max_num_seqs
    crowd = min(MOST_USERS, 2 * places)
    eager = UsersSample(_without_pauses(drawn.workload), drawn.requests, drawn.seed)
    seen = run_users(engine, eager, crowd, speed)
    beside = seen.rate_per_s * float(np.nanmean((seen.run.last_s - seen.run.admitted_s)[seen.judged])) / speed
    answered = places if beside >= FULL * places else beside  # else the KV cache is full before the batch is
    return max(1.0, answered + seen.rate_per_s * float(drawn.plan(crowd).think_s.mean()))


def _without_pauses(workload: Workload) -> Workload:
    arrivals = workload.arrivals.model_copy(update={"think_s": 0.0})
    talks = workload.conversations.model_copy(update={"think_s": 0.0}) if workload.conversations else None
    return workload.model_copy(update={"arrivals": arrivals, "conversations": talks})


def _around(response: UsersResponse, near: float | None, most: int) -> tuple[int, int]:
    """Two numbers on either side of the crossing, near the one that is expected; (0, 1) where one user breaks it."""
    if near is None:
        low, high = 1, 2
    else:
        low, high = max(1, math.floor(0.96 * near)), max(2, math.ceil(1.02 * near))
    while low > 1 and response.log_ratio(low) > 0:
        low, high = max(1, min(low - 1, math.floor(0.85 * low))), low
    if low == 1 and response.log_ratio(1) > 0:
        return 0, 1
    while high < most and response.log_ratio(high) <= 0:
        low, high = high, min(most, math.ceil((2.0 if near is None else 1.08) * high))
    return low, high


def _crossing(response: UsersResponse, low: int, high: int, tolerance: float) -> float:
    """Where the ratio crosses 1, by false position with halved ends (Illinois) over whole numbers.

    0 where ``low`` is 0, and ``high`` where that still meets the SLO.
    """
    if low == 0:
        return 0.0
    below, above = response.log_ratio(low), response.log_ratio(high)
    if above <= 0:
        return float(high)
    last = 0
    while high - low > max(1, tolerance * low):
        middle = round(high - above * (high - low) / (above - below))
        middle = min(max(middle, low + max(1, (high - low) // 10)), high - max(1, (high - low) // 10))
        value = response.log_ratio(middle)
        if value > 0:
            high, above = middle, value
            below, last = (below / 2 if last > 0 else below), 1
        else:
            low, below = middle, value
            above, last = (above / 2 if last < 0 else above), -1
    below, above = response.log_ratio(low), response.log_ratio(high)
    return low + (high - low) * (0 - below) / (above - below)
