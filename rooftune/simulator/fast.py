"""Runs a plan through the fast path in virtual time."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from rooftune.simulator.compiled import kernel
from rooftune.simulator.contents import BLOCK_TOKENS, Contents, contents, next_turns, openings
from rooftune.simulator.outcome import Outcome, Session
from rooftune.simulator.scheduler import Limits
from rooftune.simulator.steptime import StepTime, parameters
from rooftune.workloads.requests import RequestPlan

GAP_BINS = 12000
FEW = 200
"""Below so many requests plain Python is done before numba is loaded."""
ACCEPTANCES = 9973


def run_fast(
    plan: RequestPlan,
    step_time: StepTime,
    limits: Limits,
    session: Session,
    *,
    acceptance: float = 0.6,
    compile: bool | None = None,
) -> Outcome:
    """Run every request of ``plan`` to its end, or to ``session.end_s``.

    Args:
        acceptance: share of speculative tokens that are accepted, each after the one before it.
        compile: True and False force the compiled and the plain form; None chooses by size.
    """
    module, compiled = kernel() if (compile is None and len(plan) > FEW) or compile else (_plain(), False)
    state = _state(module, plan, contents(plan), step_time, limits, session, acceptance=acceptance)
    if not compiled:
        state = state._replace(**{k: v.tolist() for k, v in state._asdict().items() if isinstance(v, np.ndarray)})
    module.run(state)
    return _outcome(module, state)


def _plain() -> ModuleType:
    from rooftune.simulator import kernel as plain

    return plain


def _state(
    k: Any,
    plan: RequestPlan,
    same: Contents,
    step_time: StepTime,
    limits: Limits,
    session: Session,
    *,
    acceptance: float,
) -> Any:
    n, blocks = len(plan), limits.kv_blocks
    longest = int((plan.prompt_tokens + plan.output_tokens).max(initial=0)) + limits.speculative_tokens + 1
    stride = -(-min(longest, limits.max_model_len + limits.speculative_tokens + 1) // BLOCK_TOKENS) + 1
    slots = min(limits.max_num_seqs, max(n, 1))
    table = 2 * blocks + 8
    ring = np.arange(blocks + 1, dtype=np.int64)
    marks = np.asarray(session.marks_s, np.float64)
    window = session.window_s
    if not all(edge in session.marks_s or np.isinf(edge) for edge in window):
        raise ValueError("the edges of the window must be among the marks")
    values = _requests(plan, same) | parameters(step_time)
    if limits.speculative_tokens:
        values["shared"][:] = 1
    counters, clock = np.zeros(k.COUNTERS, np.int64), np.zeros(4, np.float64)
    counters[k.FREE], counters[k.SLOTS] = blocks, slots
    return k.State(
        **values,
        waiting=np.zeros(n + 1, np.int64),
        running=np.zeros(slots + 1, np.int64),
        slots=np.arange(slots, dtype=np.int64),
        slot_blocks=np.zeros(slots * stride, np.int64),
        newer=np.roll(ring, -1),
        older=np.roll(ring, 1),
        owners=np.zeros(blocks, np.int64),
        key=np.full(blocks, -1, np.int64),
        table_key=np.full(table, -1, np.int64),
        table_block=np.zeros(table, np.int64),
        heap_s=np.zeros(n + 1, np.float64),
        heap_request=np.zeros(n + 1, np.int64),
        marks=marks,
        counts=np.zeros((len(marks) + 1) * k.KINDS, np.int64),
        levels=np.zeros((len(marks) + 1) * k.LEVELS, np.float64),
        gaps=np.zeros(GAP_BINS, np.float64),
        accept=acceptances(limits.speculative_tokens, acceptance),
        c=counters,
        x=clock,
        blocks=blocks,
        stride=stride,
        max_seqs=limits.max_num_seqs,
        budget=limits.max_num_batched_tokens,
        max_len=limits.max_model_len,
        threshold=limits.long_prefill_token_threshold,
        chunked=int(limits.enable_chunked_prefill),
        caching=int(limits.enable_prefix_caching),
        whole=int(limits.whole_prompt_must_fit),
        spare=int(limits.watermark * blocks),
        early=int(limits.async_scheduling),
        spec=limits.speculative_tokens,
        connections=session.connections or 0,
        send_until=min(session.send_until_s, k.FAR),
        end=min(session.end_s, k.FAR),
        window_from=window[0],
        window_to=window[1],
    )


def _requests(plan: RequestPlan, same: Contents) -> dict[str, Any]:
    n = len(plan)
    never = np.full(n, -1.0)
    zeros = np.zeros(n, np.int64)
    return {
        "opening": openings(plan),
        "due": plan.arrival_s.astype(np.float64).copy(),
        "prompt": plan.prompt_tokens.astype(np.int64),
        "output": plan.output_tokens.astype(np.int64),
        "prefix_chain": same.prefix_chain,
        "prefix_blocks": same.prefix_blocks,
        "prompt_chain": same.prompt_chain,
        "shared": same.shared.copy(),
        "next_turn": next_turns(plan),
        "think": plan.think_s.astype(np.float64),
        **{name: never.copy() for name in ("sent", "admitted", "first", "last", "stream_first", "stream_last")},
        **{
            name: zeros.copy()
            for name in ("computed", "generated", "cached", "preemptions", "held", "slot", "chunk", "stream_tokens")
        },
    }


def acceptances(tokens: int, acceptance: float) -> Any:
    """Accepted speculative tokens of many draws: each is accepted with the same chance after those before it."""
    draws = np.random.Generator(np.random.PCG64(7)).random((ACCEPTANCES, max(tokens, 1))) < acceptance
    return np.cumprod(draws, axis=1).sum(axis=1).astype(np.int64) if tokens else np.zeros(ACCEPTANCES, np.int64)


def accepted_at(table: Any, request: int, generated: int) -> int:
    """The draw that belongs to a request and position: the same in the fast path and step by step."""
    return int(table[(request * 7919 + generated) % len(table)])


def _outcome(k: Any, state: Any) -> Outcome:
    def column(name: str, kind: Any = np.float64) -> Any:
        return np.asarray(getattr(state, name), kind)

    generated, output = column("generated", np.int64), column("output", np.int64)
    whole = (generated >= output) | (column("prompt") + generated >= state.max_len)
    ended = (generated > 0) & whole
    counts = column("counts", np.int64).reshape(-1, k.KINDS)
    levels = column("levels").reshape(-1, k.LEVELS)
    return Outcome(
        due_s=column("due"),
        sent_s=_or_nan(column("sent")),
        admitted_s=_or_nan(column("admitted")),
        first_s=_or_nan(column("first")),
        last_s=_or_nan(column("last")),
        generated=generated,
        ended=ended,
        cached=column("cached", np.int64),
        preempted=column("preemptions", np.int64),
        end_s=float(state.x[k.CLOCK]),
        tokens=counts[:, k.OUT],
        prompt_tokens=counts[:, k.PROMPT],
        computed_tokens=counts[:, k.COMPUTED],
        completed=counts[:, k.ENDED],
        prefix_queries=counts[:, k.IN_QUERIES],
        prefix_hits=counts[:, k.IN_HITS],
        preemptions=counts[:, k.IN_PREEMPTED],
        steps=counts[:, k.IN_STEPS],
        running_s=levels[:, k.RUNNING_S],
        waiting_s=levels[:, k.WAITING_S],
        kv_usage_s=levels[:, k.KV_S],
        busy_s=levels[:, k.BUSY_S],
        gaps=column("gaps"),
        stream_first_s=_or_nan(column("stream_first")),
        stream_last_s=_or_nan(column("stream_last")),
        stream_tokens=column("stream_tokens", np.int64),
        extra_tokens=int(state.c[k.EXTRA]),
        mixed_steps=int(state.c[k.MIXED_STEPS]),
        mixed_s=float(state.x[k.MIXED]),
        decoded=int(state.c[k.DECODED]),
        context=float(state.x[k.CONTEXT]),
    )


def _or_nan(values: Any) -> Any:
    return np.where(values < 0, np.nan, values)
