"""The most that a server can serve of a workload: requests per second while the queue is never empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rooftune.simulator.engine.scheduler import Limits
from rooftune.simulator.engine.shape import StepCosts
from rooftune.simulator.fastpath.run import run_fast
from rooftune.simulator.runs import ClientSettings
from rooftune.speculation.acceptance import AcceptanceLike
from rooftune.workloads.request_plan import RequestPlan

GENERATIONS = 5
"""Requests to run, as a multiple of those that fit into a batch: enough for their ends to spread out."""
MOST = 20_000


def saturated_rate(
    plan: RequestPlan, costs: StepCosts, limits: Limits, acceptance: AcceptanceLike, *, runs: int = 1
) -> float | None:
    """Requests/s that end in the middle half of a run in which all are there from the beginning; None without
    requests."""
    if not len(plan):
        return None
    longest = float((plan.prompt_tokens + plan.output_tokens / 2).mean())
    beside = min(limits.max_num_seqs, max(1, int(limits.kv_blocks * 16 / longest)))
    wanted = min(MOST, max(200, GENERATIONS * beside))
    chosen = np.arange(wanted) % len(plan)
    taken = replace(
        plan,
        arrival_s=np.zeros(wanted),
        turn=np.zeros(wanted, np.int32),
        conversation=np.full(wanted, -1, np.int32),
        think_s=np.zeros(wanted),
        prompt_seed=plan.prompt_seed[chosen] + (np.arange(wanted) // len(plan) << 40),
        **{
            n: getattr(plan, n)[chosen]
            for n in ("prompt_tokens", "output_tokens", "prefix_id", "prefix_tokens", "part")
        },
        concurrency=None,
        blocks=None,
        texts=None,
    )
    run = run_fast(taken, costs, limits, ClientSettings(), acceptance=acceptance, runs=runs)
    ends = np.sort(run.last_s[run.ended])
    first, last = ends[len(ends) // 4], ends[(3 * len(ends)) // 4]
    between = (3 * len(ends)) // 4 - len(ends) // 4
    return float(between / (last - first)) if last > first else None
