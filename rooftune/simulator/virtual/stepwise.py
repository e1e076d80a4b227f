"""Runs a plan through the plain scheduler, one step after another: slow, readable, and what the fast path must
equal."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rooftune.simulator.engine.prefixes import block_identities, next_turns, openings
from rooftune.simulator.engine.scheduler import EngineRequest, Limits, Scheduler
from rooftune.simulator.engine.shape import StepCosts
from rooftune.simulator.fastpath.run import acceptances, accepted_at
from rooftune.simulator.runs import ClientSettings, Floats, Ints
from rooftune.speculation.acceptance import ASSUMED, AcceptanceLike
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan


class Due(NamedTuple):
    """A request that will be sent; ties are sent in the order of ``place``."""

    due_s: float
    place: int
    request: int


class OnTheWay(NamedTuple):
    """A request that was sent and reaches the engine later."""

    arrives_s: float
    request: int


class TokenEvent(NamedTuple):
    """Tokens that a request got at one moment."""

    at_s: float
    request: int
    tokens: int


@dataclass(frozen=True)
class StepwiseRun:
    """The columns that a stepwise run and a fast one have in common, and every step and token."""

    due_s: Floats
    sent_s: Floats
    admitted_s: Floats
    first_s: Floats
    last_s: Floats
    generated: Ints
    preempted: Ints
    cached: Ints
    end_s: float
    prefix_queries: int
    prefix_hits: int
    durations: list[float]
    """Of each step, seconds."""
    tokens: list[TokenEvent]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.durations)


class VirtualClient:
    """Sends requests when they are due, as far as connections are free."""

    def __init__(self, plan: RequestPlan, settings: ClientSettings) -> None:
        self.plan, self.settings = plan, settings
        begin = [int(r) for r in openings(plan)]
        self.not_taken: deque[int] = deque()
        if settings.users is None:
            self.pending = [Due(float(plan.arrival_s[r]), at, r) for at, r in enumerate(begin)]
        else:
            self.pending = [Due(float(plan.think_s[r]), len(plan) + r, r) for r in begin[: settings.users]]
            self.not_taken.extend(begin[settings.users :])
        heapq.heapify(self.pending)
        self.after = next_turns(plan)
        self.in_flight = 0
        self.front_busy_until_s = 0.0
        self.on_the_way: deque[OnTheWay] = deque()
        self.due_s = plan.arrival_s.astype(np.float64).copy()
        self.sent_s = np.full(len(plan), np.nan)

    def next_due(self) -> float:
        """When the next request is sent if none ends before."""
        full = self.settings.connections is not None and self.in_flight >= self.settings.connections
        due = self.pending[0].due_s if self.pending and not full else float("inf")
        return due if due < self.settings.send_until_s else float("inf")

    def next_event(self) -> float:
        """When the next request is sent, or one that was sent reaches the engine, if none ends before."""
        return min(self.next_due(), self.on_the_way[0].arrives_s if self.on_the_way else float("inf"))

    def send(self, now: float, *, freed: bool) -> list[int]:
        """Send what is due by now, with ``freed`` on connections that became free just now. Returns the requests that
        have reached the engine."""
        path = self.settings.path
        while self.next_due() <= now:
            due, _, r = heapq.heappop(self.pending)
            self.due_s[r] = due
            self.sent_s[r] = now + path.outbound_s if freed else due
            self.in_flight += 1
            begin = max(self.front_busy_until_s, self.sent_s[r] + path.inbound_s)
            self.front_busy_until_s = begin + path.request_s + path.prompt_token_s * int(self.plan.prompt_tokens[r])
            self.on_the_way.append(OnTheWay(self.front_busy_until_s, r))
        arrived = []
        while self.on_the_way and self.on_the_way[0].arrives_s <= now:
            arrived.append(self.on_the_way.popleft().request)
        return arrived

    def ended(self, r: int, now: float) -> None:
        """A request ended: its connection is free, and the next turn of its conversation, or the next request of its
        user, is due after the think time."""
        self.in_flight -= 1
        following = int(self.after[r])
        if following < 0 and self.not_taken:
            following = self.not_taken.popleft()
        if following >= 0:
            due = now + self.settings.path.outbound_s + float(self.plan.think_s[following])
            heapq.heappush(self.pending, Due(due, len(self.plan) + following, following))


class Notes:
    """What happened to each request, and every token."""

    def __init__(self, n: int) -> None:
        self.admitted, self.first, self.last = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
        self.durations: list[float] = []
        self.tokens: list[TokenEvent] = []

    def admit(self, r: int, now: float) -> None:
        """A request is admitted, perhaps not for the first time."""
        self.admitted[r] = now if np.isnan(self.admitted[r]) else self.admitted[r]

    def give(self, r: int, new: int, now: float) -> None:
        """A request gets tokens."""
        self.tokens.append(TokenEvent(now, r, new))
        self.first[r] = now if np.isnan(self.first[r]) else self.first[r]
        self.last[r] = now


def run_stepwise(
    plan: RequestPlan,
    costs: StepCosts,
    limits: Limits,
    settings: ClientSettings,
    *,
    acceptance: AcceptanceLike = ASSUMED,
) -> StepwiseRun:
    """Run the plan; the arguments are those of ``run_fast``.

    Raises:
        RuntimeError: the first waiting request can never be admitted.
    """
    n, same = len(plan), block_identities(plan)
    scheduler, client, notes = Scheduler(limits), VirtualClient(plan, settings), Notes(n)
    table = acceptances(limits.speculative_tokens, acceptance)
    draw = (lambda s: accepted_at(table, s.id, s.generated)) if limits.speculative_tokens else None
    sequences = [_sequence(plan, r, same.names(r, int(plan.prompt_tokens[r]) // BLOCK_TOKENS)) for r in range(n)]
    inbox: list[int] = []
    clock = 0.0
    while clock < settings.end_s:
        if scheduler.idle and not inbox:
            due = client.next_event()
            if due >= settings.end_s:
                break
            clock = max(clock, due)
            inbox += client.send(clock, freed=False)
            if not inbox:
                continue
        late = limits.async_scheduling and not scheduler.idle
        if not late:
            _add(scheduler, sequences, inbox)
        step = scheduler.schedule()
        if late:
            _add(scheduler, sequences, inbox)
        if not step.scheduled:
            raise RuntimeError("the first waiting request can never be admitted")
        for s in step.admitted:
            notes.admit(s.id, clock)
        notes.durations.append(costs.seconds(step.shape))
        clock += notes.durations[-1]
        inbox += client.send(clock, freed=False)
        for s, new in scheduler.advance(step, draw):
            notes.give(s.id, new, clock)
            if s.finished:
                client.ended(s.id, clock)
        inbox += client.send(clock, freed=True)
    return _run(client, scheduler, sequences, notes, clock)


def _run(
    client: VirtualClient, scheduler: Scheduler, sequences: list[EngineRequest], notes: Notes, end_s: float
) -> StepwiseRun:
    def column(name: str) -> npt.NDArray[np.int64]:
        return np.array([getattr(s, name) for s in sequences], np.int64)

    return StepwiseRun(
        due_s=client.due_s,
        sent_s=client.sent_s,
        admitted_s=notes.admitted,
        first_s=notes.first + client.settings.path.outbound_s,
        last_s=notes.last + client.settings.path.outbound_s,
        generated=column("generated"),
        preempted=column("preemptions"),
        cached=column("cached"),
        end_s=end_s,
        prefix_queries=scheduler.prefix_queries,
        prefix_hits=scheduler.prefix_hits,
        durations=notes.durations,
        tokens=notes.tokens,
    )


def _sequence(plan: RequestPlan, r: int, hashes: list[int]) -> EngineRequest:
    return EngineRequest(r, int(plan.prompt_tokens[r]), int(plan.output_tokens[r]), hashes)


def _add(scheduler: Scheduler, sequences: list[EngineRequest], inbox: list[int]) -> None:
    for r in inbox:
        scheduler.add(sequences[r])
    inbox.clear()
