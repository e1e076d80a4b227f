"""How fast the clock of a simulated server may run while its capacity is measured over HTTP."""

from __future__ import annotations

import numpy as np

from rooftune.capacity.context import fitted
from rooftune.capacity.reference_server import reference_server
from rooftune.capacity.units import per_of, whole_users
from rooftune.engines.target import Target
from rooftune.hardware.host import cores
from rooftune.simulator.virtual.capacity import SHORT, capacity, sample
from rooftune.simulator.virtual.predict import EmulatedEngine
from rooftune.simulator.virtual.users import run_users, users_capacity, users_sample
from rooftune.workloads.spec import Workload

CHUNKS_PER_CORE = 3_000.0
"""Chunks/s of real time that client and server pass on per core without being late."""
CHUNKS_PER_CORE_AT_MOST = 10_000.0
"""The same where trials are audited for a late client or clock, and repeated if one was: the most that both keep up
with on an idle machine."""
JITTER_S = 0.002
"""Lateness of a busy machine in real time, which the clock multiplies."""
JITTER_SHARE = 0.1
"""Share of a TTFT or E2EL limit that this lateness may reach."""


def time_scale_for(target: Target, workload: Workload) -> float:
    """The clock's speed for a target: at most the target's own, and 1 at least."""
    found = target.time_scale
    limits = [limit / 1000 for name, limit in workload.slo.limits_ms().items() if name != "tpot_ms"]
    if limits:
        found = min(found, JITTER_SHARE * min(limits) / JITTER_S)
    target = fitted(target, workload).target
    engine = reference_server(target, target.flags, target.gpu or "").engine()
    tokens_per_s = _users_tokens(engine, workload) if per_of(workload) == "users" else _tokens(engine, workload)
    if tokens_per_s > 0:
        found = min(found, CHUNKS_PER_CORE * cores() / tokens_per_s)
    return max(1.0, round(found, 1))


def _tokens(engine: EmulatedEngine, workload: Workload) -> float:
    """Output tokens/s at the capacity, about."""
    drawn = sample(workload, SHORT)
    rate = capacity(engine, drawn, tolerance=0.2).rate_per_s
    turns = len(drawn.plan) / max(1, int((drawn.plan.turn == 0).sum()))
    return rate * turns * float(np.mean(drawn.plan.output_tokens))


def _users_tokens(engine: EmulatedEngine, workload: Workload) -> float:
    """The same for users of a closed loop."""
    drawn = users_sample(workload, SHORT)
    users = max(1, whole_users(users_capacity(engine, drawn, tolerance=0.2).users))
    return run_users(engine, drawn, users).rate_per_s * float(np.mean(drawn.plan(users).output_tokens))
