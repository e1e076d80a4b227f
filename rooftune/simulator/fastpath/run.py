"""Runs a plan through the fast path in virtual time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from rooftune.simulator.engine.prefixes import Contents, contents, next_turns, openings
from rooftune.simulator.engine.scheduler import Limits
from rooftune.simulator.fastpath import state as k
from rooftune.simulator.fastpath.compilation import is_cached, kernel, plain, wanted
from rooftune.simulator.steptime.model import StepTime, parameters
from rooftune.simulator.virtual.outcome import Outcome, Session
from rooftune.vllm_rules.memory import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan

GAP_BINS = 12000
FEW = 200
"""Up to so many requests plain Python is done before numba is loaded."""
MANY = 5_000
"""Above so many requests numba compiles (some twenty seconds, once); up to them plain Python takes a second or two."""
PATIENCE_S = 6.0
"""A process that has spent so long in plain Python compiles too: many short runs are one long one."""
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
    module, compiled = kernel() if _compile(compile, len(plan)) else (plain(), False)
    state = _state(plan, step_time, limits, session, acceptance)
    began = time.perf_counter()
    if not compiled:
        state = state._replace(**{name: getattr(state, name).tolist() for name in ("q", "f", "c", "x")})
    module.run(state)
    if not compiled:
        _patience[0] -= time.perf_counter() - began
    return _outcome(state, len(plan))


_patience = [PATIENCE_S]


def _compile(asked: bool | None, requests: int) -> bool:
    if asked is not None:
        return asked
    return requests > FEW and wanted() and (requests > MANY or _patience[0] < 0 or is_cached())


def _state(plan: RequestPlan, step_time: StepTime, limits: Limits, session: Session, acceptance: float) -> k.State:
    same = contents(plan)
    whole, fractions = _requests(plan, same)
    if limits.speculative_tokens:
        whole["shared"][:] = 1
    whole |= _engine(plan, limits)
    whole["accept"] = acceptances(limits.speculative_tokens, acceptance)
    fractions |= parameters(step_time)
    marks = np.asarray(session.marks_s, np.float64)
    if not all(edge in session.marks_s or np.isinf(edge) for edge in session.window_s):
        raise ValueError("the edges of the window must be among the marks")
    whole["counts"] = np.zeros((len(marks) + 1) * k.KINDS, np.int64)
    fractions |= {"marks": marks, "levels": np.zeros((len(marks) + 1) * k.LEVELS), "gaps": np.zeros(GAP_BINS)}
    q, q_places = _packed(whole, np.int64)
    f, f_places = _packed(fractions, np.float64)
    counters, times = np.zeros(k.COUNTERS, np.int64), np.zeros(k.TIMES)
    counters[k.FREE], counters[k.SLOTS], counters[k.GROUP_END] = limits.kv_blocks, len(whole["slots"]), k.NEVER
    sizes = {f"n_{name}": len(whole[name]) for name in ("opening", "table_key", "accept")}
    sizes |= {"n_requests": len(plan), "told_size": same.told_size}
    sizes |= {f"n_{name}": len(fractions[name]) for name in ("marks", "gaps")}
    settings = _settings(plan, limits, session)
    return k.State(q=q, f=f, c=counters, x=times, **q_places, **f_places, **sizes, **settings)


def _packed(columns: dict[str, Any], kind: Any) -> tuple[Any, dict[str, int]]:
    """One flat array of all columns, and where each begins."""
    begins = np.cumsum([0, *(len(c) for c in columns.values())])
    flat = np.concatenate([np.asarray(c, kind) for c in columns.values()])
    return flat, {name: int(at) for name, at in zip(columns, begins, strict=False)}


def _requests(plan: RequestPlan, same: Contents) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns by request: whole numbers, and seconds."""
    n = len(plan)
    counted = ("computed", "generated", "cached", "preemptions", "held", "slot", "chunk", "stream_from", "stream_to", "since", "after",
               "before")  # fmt: skip
    whole = {
        "opening": openings(plan),
        "prompt": plan.prompt_tokens,
        "output": plan.output_tokens,
        "prefix_chain": same.prefix_chain,
        "prefix_blocks": same.prefix_blocks,
        "prompt_chain": same.prompt_chain,
        "told": same.told,
        "told_at": same.told_at,
        "told_blocks": same.told_blocks,
        "shared": same.shared.copy(),
        "next_turn": next_turns(plan),
        "waiting": np.zeros(n + 1, np.int64),
        "heap_request": np.zeros(n + 1, np.int64),
        "finish": np.full(n, -1, np.int64),
        **{name: np.zeros(n, np.int64) for name in counted},
    }
    moments = ("sent", "admitted", "first", "last", "stream_first", "stream_last")
    fractions = {
        "due": plan.arrival_s,
        "think": plan.think_s,
        "heap_s": np.zeros(n + 1),
        **{name: np.full(n, -1.0) for name in moments},
    }
    return whole, fractions


def _engine(plan: RequestPlan, limits: Limits) -> dict[str, Any]:
    """Columns by place, by block and by entry of the hash table."""
    blocks, places = limits.kv_blocks, min(limits.max_num_seqs, max(len(plan), 1))
    ring = np.arange(blocks + 1, dtype=np.int64)
    table = 2 * blocks + 8
    return {
        "phase": np.full(BLOCK_TOKENS, -1, np.int64),
        "running": np.zeros(places + 1, np.int64),
        "slots": np.arange(places, dtype=np.int64),
        "slot_blocks": np.zeros(places * _stride(plan, limits), np.int64),
        "newer": np.roll(ring, -1),
        "older": np.roll(ring, 1),
        "owners": np.zeros(blocks, np.int64),
        "key": np.full(blocks, -1, np.int64),
        "table_key": np.full(table, -1, np.int64),
        "table_block": np.zeros(table, np.int64),
    }


def _stride(plan: RequestPlan, limits: Limits) -> int:
    """Most blocks that one request holds."""
    longest = int((plan.prompt_tokens + plan.output_tokens).max(initial=0))
    return -(-(min(longest, limits.max_model_len) + limits.speculative_tokens + 1) // BLOCK_TOKENS) + 1


def _settings(plan: RequestPlan, limits: Limits, session: Session) -> dict[str, Any]:
    return {
        "blocks": limits.kv_blocks,
        "stride": _stride(plan, limits),
        "max_seqs": limits.max_num_seqs,
        "budget": limits.max_num_batched_tokens,
        "max_len": limits.max_model_len,
        "threshold": limits.long_prefill_token_threshold,
        "chunked": int(limits.enable_chunked_prefill),
        "caching": int(limits.enable_prefix_caching),
        "whole": int(limits.whole_prompt_must_fit),
        "spare": int(limits.watermark * limits.kv_blocks),
        "early": int(limits.async_scheduling),
        "spec": limits.speculative_tokens,
        "connections": session.connections or 0,
        "send_until": min(session.send_until_s, k.FAR),
        "end": min(session.end_s, k.FAR),
        "window_from": float(session.window_s[0]),
        "window_to": float(session.window_s[1]),
    }


def acceptances(tokens: int, acceptance: float) -> Any:
    """Accepted speculative tokens of many draws: each is accepted with the same chance after those before it."""
    draws = np.random.Generator(np.random.PCG64(7)).random((ACCEPTANCES, max(tokens, 1))) < acceptance
    return np.cumprod(draws, axis=1).sum(axis=1).astype(np.int64) if tokens else np.zeros(ACCEPTANCES, np.int64)


def accepted_at(table: Any, request: int, generated: int) -> int:
    """The draw that belongs to a request and position: the same in the fast path and step by step."""
    return int(table[(request * 7919 + generated) % len(table)])


def _outcome(state: k.State, n: int) -> Outcome:
    q, f = np.asarray(state.q, np.int64), np.asarray(state.f, np.float64)

    def count(name: str) -> Any:
        at = getattr(state, name)
        return q[at : at + n].copy()

    def moment(name: str) -> Any:
        at = getattr(state, name)
        return np.where(f[at : at + n] < 0, np.nan, f[at : at + n])

    generated = count("generated")
    whole = (generated >= count("output")) | (count("prompt") + generated >= state.max_len)
    streamed = moment("stream_first")
    intervals = state.n_marks + 1
    counts = q[state.counts : state.counts + intervals * k.KINDS].reshape(-1, k.KINDS)
    levels = f[state.levels : state.levels + intervals * k.LEVELS].reshape(-1, k.LEVELS)
    return Outcome(
        due_s=f[state.due : state.due + n].copy(),
        sent_s=moment("sent"),
        admitted_s=moment("admitted"),
        first_s=moment("first"),
        last_s=moment("last"),
        generated=generated,
        ended=(generated > 0) & whole,
        cached=count("cached"),
        preempted=count("preemptions"),
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
        gaps=f[state.gaps : state.gaps + state.n_gaps].copy(),
        stream_first_s=streamed,
        stream_last_s=np.where(np.isnan(streamed), np.nan, moment("stream_last")),
        stream_tokens=np.where(np.isnan(streamed), 0, count("stream_to") - count("stream_from")),
        extra_tokens=int(state.c[k.EXTRA]),
        mixed_steps=int(state.c[k.MIXED_STEPS]),
        mixed_s=float(state.x[k.MIXED]),
        decoded=int(state.c[k.DECODED]),
        context=float(state.x[k.CONTEXT]),
    )
