"""Runs a plan through the plain scheduler, one step after another: slow, readable, and what the fast path must equal."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from rooftune.simulator.engine.prefixes import contents, next_turns, openings
from rooftune.simulator.engine.scheduler import Limits, Scheduler, Sequence_
from rooftune.simulator.fastpath.run import acceptances, accepted_at
from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.virtual.outcome import Session
from rooftune.vllm_rules.memory import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan


class Client:
    """Sends requests when they are due, as far as connections are free."""

    def __init__(self, plan: RequestPlan, session: Session) -> None:
        self.plan, self.session = plan, session
        self.pending = [(float(plan.arrival_s[r]), at, int(r)) for at, r in enumerate(openings(plan))]
        heapq.heapify(self.pending)
        self.after = next_turns(plan)
        self.in_flight = 0
        self.due_s = plan.arrival_s.astype(np.float64).copy()
        self.sent_s = np.full(len(plan), np.nan)

    def next_due(self) -> float:
        """When the next request is sent if none ends before."""
        full = self.session.connections is not None and self.in_flight >= self.session.connections
        due = self.pending[0][0] if self.pending and not full else float("inf")
        return due if due < self.session.send_until_s else float("inf")

    def send(self, now: float, *, freed: bool) -> list[int]:
        """Requests that are sent up to now; with ``freed``, on connections that became free just now."""
        sent = []
        while self.next_due() <= now:
            due, _, r = heapq.heappop(self.pending)
            self.due_s[r] = due
            self.sent_s[r] = now if freed else due
            self.in_flight += 1
            sent.append(r)
        return sent

    def ended(self, r: int, now: float) -> None:
        """A request ended: its connection is free, and its conversation goes on after the think time."""
        self.in_flight -= 1
        following = int(self.after[r])
        if following >= 0:
            due = now + float(self.plan.think_s[following])
            heapq.heappush(self.pending, (due, len(self.plan) + following, following))


class Notes:
    """What happened to each request, and every token."""

    def __init__(self, n: int) -> None:
        self.admitted, self.first, self.last = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
        self.durations: list[float] = []
        self.tokens: list[tuple[float, int, int]] = []
        """Time, request, tokens."""

    def admit(self, r: int, now: float) -> None:
        """A request is admitted, perhaps not for the first time."""
        self.admitted[r] = now if np.isnan(self.admitted[r]) else self.admitted[r]

    def give(self, r: int, new: int, now: float) -> None:
        """A request gets tokens."""
        self.tokens.append((now, r, new))
        self.first[r] = now if np.isnan(self.first[r]) else self.first[r]
        self.last[r] = now


def run_stepwise(
    plan: RequestPlan,
    step_time: StepTime,
    limits: Limits,
    session: Session,
    *,
    acceptance: float = 0.6,
) -> dict[str, Any]:
    """Run the plan; the same arguments as ``run_fast``. Returns the columns that the two have in common."""
    n, same = len(plan), contents(plan)
    scheduler, client, notes = Scheduler(limits), Client(plan, session), Notes(n)
    table = acceptances(limits.speculative_tokens, acceptance)
    draw = (lambda s: accepted_at(table, s.id, s.generated)) if limits.speculative_tokens else None
    sequences = [_sequence(plan, r, same.names(r, int(plan.prompt_tokens[r]) // BLOCK_TOKENS)) for r in range(n)]
    inbox: list[int] = []
    clock = 0.0
    while clock < session.end_s:
        if scheduler.idle and not inbox:
            due = client.next_due()
            if due >= session.end_s:
                break
            clock = max(clock, due)
            inbox += client.send(clock, freed=False)
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
        notes.durations.append(step_time.seconds(step.shape))
        clock += notes.durations[-1]
        inbox += client.send(clock, freed=False)
        for s, new in scheduler.advance(step, draw):
            notes.give(s.id, new, clock)
            if s.finished:
                client.ended(s.id, clock)
        inbox += client.send(clock, freed=True)
    return _columns(client, scheduler, sequences, notes, clock)


def _columns(
    client: Client, scheduler: Scheduler, sequences: list[Sequence_], notes: Notes, end_s: float
) -> dict[str, Any]:
    return {
        "due_s": client.due_s,
        "sent_s": client.sent_s,
        "admitted_s": notes.admitted,
        "first_s": notes.first,
        "last_s": notes.last,
        "generated": np.array([s.generated for s in sequences], np.int64),
        "preempted": np.array([s.preemptions for s in sequences], np.int64),
        "cached": np.array([s.cached for s in sequences], np.int64),
        "steps": len(notes.durations),
        "end_s": end_s,
        "prefix_queries": scheduler.prefix_queries,
        "prefix_hits": scheduler.prefix_hits,
        "durations": notes.durations,
        "tokens": notes.tokens,
    }


def _sequence(plan: RequestPlan, r: int, hashes: list[int]) -> Sequence_:
    return Sequence_(r, int(plan.prompt_tokens[r]), int(plan.output_tokens[r]), hashes)


def _add(scheduler: Scheduler, sequences: list[Sequence_], inbox: list[int]) -> None:
    for r in inbox:
        scheduler.add(sequences[r])
    inbox.clear()
