"""Runs a plan through the fast path in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rooftune.machine_code import wanted
from rooftune.simulator.engine.prefixes import BlockIdentities, block_identities, next_turns, openings
from rooftune.simulator.engine.scheduler import Limits
from rooftune.simulator.engine.shape import StepCosts
from rooftune.simulator.fastpath import state as layout
from rooftune.simulator.fastpath.compilation import fast_path, is_cached, is_loaded, plain_path
from rooftune.simulator.runs import ClientSettings, Floats, Ints, SimulatedRun
from rooftune.speculation.acceptance import ASSUMED, AcceptanceLike, step_drafts
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan

Column = npt.NDArray[Any] | Sequence[float]
GAP_BINS = 12000
FEW = 200
"""Up to this many requests plain Python finishes before numba is loaded."""
MANY = 5_000
"""Above this many requests in one run numba compiles (about twenty seconds, once); plain Python takes a second or two
for fewer."""
MANY_TOGETHER = 20_000
"""The same for several runs of about one size together, as in a sweep."""
ACCEPTANCES = 9973


def run_fast(
    plan: RequestPlan,
    costs: StepCosts,
    limits: Limits,
    client: ClientSettings,
    *,
    acceptance: AcceptanceLike = ASSUMED,
    compile: bool | None = None,
    runs: int = 1,
) -> SimulatedRun:
    """Run every request of ``plan`` to its end, or to ``client.end_s``.

    Args:
        costs: duration of the engine's steps.
        acceptance: how drafts fare, or the probability that a drafted token is accepted if those before it are.
        compile: True and False force the compiled and the plain form; None chooses by size (:func:`pays_to_compile`).
        runs: runs of about this size that the caller makes one after another, this one included. It only decides
            whether compiling pays; the result does not depend on it.
    """
    chosen = pays_to_compile(len(plan), runs) if compile is None else compile
    return _played(_state(plan, costs, limits, client, acceptance), len(plan), chosen)


@dataclass(frozen=True)
class LaidOut:
    """A plan in the columns of the fast path. It can run many times, as it is or with its requests at other times."""

    state: layout.State
    """The state before the first step; no run changes it."""
    requests: int

    def run(self, *, compile: bool, moved: RequestPlan | None = None) -> SimulatedRun:
        """Run every request to its end, or to the end that the client has set.

        Args:
            moved: the same requests with other arrivals and think times, in the same order: a sample at another rate.
        """
        before, n = self.state, self.requests
        state = before._replace(q=before.q.copy(), f=before.f.copy(), c=before.c.copy(), x=before.x.copy())
        if moved is not None:
            if state.users:
                raise ValueError("the users of a closed loop begin by their think times; lay the moved plan out anew")
            state.f[state.due : state.due + n] = moved.arrival_s
            state.f[state.think : state.think + n] = moved.think_s
        return _played(state, n, compile)


def _played(state: layout.State, requests: int, compile: bool) -> SimulatedRun:
    """Run a state to its end."""
    path = fast_path() if compile else plain_path()
    if not path.compiled:
        state = state._replace(**{name: getattr(state, name).tolist() for name in ("q", "f", "c", "x")})
    path.run(state)
    return _simulated_run(state, requests)


def lay_out(
    plan: RequestPlan,
    costs: StepCosts,
    limits: Limits,
    client: ClientSettings,
    *,
    acceptance: AcceptanceLike = ASSUMED,
) -> LaidOut:
    """Lay a plan out for the fast path; takes about half as long as a run of a thousand requests."""
    return LaidOut(_state(plan, costs, limits, client, acceptance), len(plan))


def pays_to_compile(requests: int, runs: int = 1) -> bool:
    """Whether to use compiled code: by the size of the work, or because this process or an earlier one has compiled it
    already."""
    if not wanted():
        return False
    if requests <= FEW:
        return is_loaded()
    return requests > MANY or requests * runs > MANY_TOGETHER or is_cached()


def _state(
    plan: RequestPlan, costs: StepCosts, limits: Limits, client: ClientSettings, acceptance: AcceptanceLike
) -> layout.State:
    same = block_identities(plan)
    whole, fractions = _requests(plan, same)
    if limits.speculative_tokens:
        whole["shared"] = np.ones(len(plan), np.int64)
    whole |= _engine(plan, limits)
    whole["accept"] = acceptances(limits.speculative_tokens, acceptance)
    whole["lengths"] = np.asarray(limits.speculative_lengths, np.int64)
    fractions |= _cost_tables(costs)
    marks = np.asarray(client.marks_s, np.float64)
    if not all(edge in client.marks_s or np.isinf(edge) for edge in (client.window.start_s, client.window.end_s)):
        raise ValueError("the edges of the window must be infinite or among the marks")
    whole["counts"] = np.zeros((len(marks) + 1) * layout.KINDS, np.int64)
    fractions |= {"marks": marks, "levels": np.zeros((len(marks) + 1) * layout.LEVELS), "gaps": np.zeros(GAP_BINS)}
    begun = _users_begin(client.users or 0, whole, fractions)
    q, q_places = _packed(whole, np.int64)
    f, f_places = _packed(fractions, np.float64)
    counters, times = np.zeros(layout.COUNTERS, np.int64), np.zeros(layout.TIMES)
    counters[layout.FREE], counters[layout.SLOTS], counters[layout.GROUP_END] = (
        limits.kv_blocks,
        len(whole["slots"]),
        layout.NEVER,
    )
    counters[layout.CURSOR] = counters[layout.HEAP] = begun
    counters[layout.DRAFT] = limits.speculative_tokens
    sizes = {f"n_{name}": len(whole[name]) for name in ("opening", "table_key", "accept", "lengths")}
    sizes |= {"n_requests": len(plan), "trace_block_size": same.trace.size}
    sizes |= {f"n_{name}": len(fractions[name]) for name in ("marks", "gaps")}
    settings = _settings(plan, limits, client)
    return layout.State(q=q, f=f, c=counters, x=times, **q_places, **f_places, **sizes, **settings)


def _users_begin(users: int, whole: dict[str, Column], fractions: dict[str, Column]) -> int:
    """Put the first request of each user of a closed loop into the heap; returns how many there are."""
    first, think = np.asarray(whole["opening"])[:users], np.asarray(fractions["think"])
    first = first[np.lexsort((first, think[first]))]
    requests, seconds = np.asarray(whole["heap_request"]).copy(), np.asarray(fractions["heap_s"]).copy()
    requests[: len(first)], seconds[: len(first)] = first, think[first]  # sorted, so a heap
    whole["heap_request"], fractions["heap_s"] = requests, seconds
    return len(first)


def _packed(columns: Mapping[str, Column], kind: type[np.generic]) -> tuple[npt.NDArray[Any], dict[str, int]]:
    """One flat array of all columns, and where each begins."""
    begins = np.cumsum([0, *(len(c) for c in columns.values())])
    flat = np.concatenate([np.asarray(c, kind) for c in columns.values()])
    return flat, {name: int(at) for name, at in zip(columns, begins, strict=False)}


def _requests(plan: RequestPlan, same: BlockIdentities) -> tuple[dict[str, Column], dict[str, Column]]:
    """Columns by request: whole numbers, and seconds."""
    n = len(plan)
    counted = ("computed", "generated", "cached", "preemptions", "held", "slot", "chunk", "stream_from", "stream_to", "since", "after",
               "before")  # fmt: skip
    whole: dict[str, Column] = {
        "opening": openings(plan),
        "prompt": plan.prompt_tokens,
        "output": plan.output_tokens,
        "prefix_chain": same.prefix_chain,
        "prefix_blocks": same.prefix_blocks,
        "prompt_chain": same.prompt_chain,
        "trace_chains": same.trace.chains,
        "trace_start": same.trace.start,
        "trace_blocks": same.trace.covered,
        "shared": same.shared.copy(),
        "next_turn": next_turns(plan),
        "waiting": np.zeros(n + 1, np.int64),
        "heap_request": np.zeros(n + 1, np.int64),
        "finish": np.full(n, -1, np.int64),
        **{name: np.zeros(n, np.int64) for name in counted},
    }
    moments = ("sent", "arrives", "admitted", "first", "last", "stream_first", "stream_last")
    fractions: dict[str, Column] = {
        "due": plan.arrival_s,
        "think": plan.think_s,
        "heap_s": np.zeros(n + 1),
        **{name: np.full(n, -1.0) for name in moments},
    }
    return whole, fractions


def _engine(plan: RequestPlan, limits: Limits) -> dict[str, Column]:
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


def _settings(plan: RequestPlan, limits: Limits, client: ClientSettings) -> dict[str, Any]:
    return {
        "blocks": limits.kv_blocks,
        "stride": _stride(plan, limits),
        "max_seqs": limits.max_num_seqs,
        "budget": limits.max_num_batched_tokens,
        "max_len": limits.max_model_len,
        "threshold": limits.long_prefill_token_threshold,
        "spared": int(limits.threshold_spares_a_lone_request),
        "chunked": int(limits.enable_chunked_prefill),
        "caching": int(limits.enable_prefix_caching),
        "whole": int(limits.whole_prompt_must_fit),
        "spare": int(limits.watermark * limits.kv_blocks),
        "early": int(limits.async_scheduling),
        "spec": limits.speculative_tokens,
        "connections": client.connections or 0,
        "users": client.users or 0,
        "send_until": min(client.send_until_s, layout.FAR),
        "end": min(client.end_s, layout.FAR),
        "window_from": client.window.start_s,
        "window_to": client.window.end_s,
        "path_in": client.path.inbound_s,
        "path_request": client.path.request_s,
        "path_token": client.path.prompt_token_s,
        "path_out": client.path.outbound_s,
    }


def _cost_tables(costs: StepCosts) -> dict[str, Column]:
    """The tables and scalars of the step costs, as columns of the state."""
    names = ("linear_decode", "linear_mixed", "head", "host_decode", "host_mixed", "cost")
    return {name: getattr(costs, name) for name in names}


def acceptances(tokens: int, acceptance: AcceptanceLike) -> Ints:
    """Accepted tokens of many steps with drafts of this many tokens."""
    shares = np.asarray(step_drafts(acceptance, tokens).accepted)
    draws = np.random.Generator(np.random.PCG64(7)).random((ACCEPTANCES, 1))
    return np.asarray((draws < shares).sum(axis=1), np.int64)


def accepted_at(table: Ints, request: int, generated: int) -> int:
    """The draw for a request and position: the same in the fast path and step by step."""
    return int(table[(request * 7919 + generated) % len(table)])


def _simulated_run(state: layout.State, n: int) -> SimulatedRun:
    q, f = np.asarray(state.q, np.int64), np.asarray(state.f, np.float64)

    def count(name: str) -> Ints:
        at = getattr(state, name)
        return q[at : at + n].copy()

    def moment(name: str) -> Floats:
        at = getattr(state, name)
        return np.where(f[at : at + n] < 0, np.nan, f[at : at + n])

    generated = count("generated")
    whole = (generated >= count("output")) | (count("prompt") + generated >= state.max_len)
    streamed = moment("stream_first")
    return SimulatedRun(
        due_s=f[state.due : state.due + n].copy(),
        sent_s=moment("sent"),
        admitted_s=moment("admitted"),
        first_s=moment("first") + state.path_out,
        last_s=moment("last") + state.path_out,
        generated=generated,
        ended=(generated > 0) & whole,
        cached=count("cached"),
        preempted=count("preemptions"),
        end_s=float(state.x[layout.CLOCK]),
        gaps=f[state.gaps : state.gaps + state.n_gaps].copy(),
        stream_first_s=streamed,
        stream_last_s=np.where(np.isnan(streamed), np.nan, moment("stream_last")),
        stream_tokens=np.where(np.isnan(streamed), 0, count("stream_to") - count("stream_from")),
        extra_tokens=int(state.c[layout.EXTRA]),
        mixed_steps=int(state.c[layout.MIXED_STEPS]),
        mixed_s=float(state.x[layout.MIXED]),
        decoded=int(state.c[layout.DECODED]),
        context=float(state.x[layout.CONTEXT]),
        **_totals(state, q, f),
    )


def _totals(state: layout.State, q: Ints, f: Floats) -> dict[str, Any]:
    """Fields of a run with one entry per interval."""
    intervals = state.n_marks + 1
    counts = q[state.counts : state.counts + intervals * layout.KINDS].reshape(-1, layout.KINDS)
    levels = f[state.levels : state.levels + intervals * layout.LEVELS].reshape(-1, layout.LEVELS)
    return {
        "tokens": counts[:, layout.OUT],
        "prompt_tokens": counts[:, layout.PROMPT],
        "computed_tokens": counts[:, layout.COMPUTED],
        "completed": counts[:, layout.ENDED],
        "prefix_queries": counts[:, layout.IN_QUERIES],
        "prefix_hits": counts[:, layout.IN_HITS],
        "preemptions": counts[:, layout.IN_PREEMPTED],
        "steps": counts[:, layout.IN_STEPS],
        "running_s": levels[:, layout.RUNNING_S],
        "waiting_s": levels[:, layout.WAITING_S],
        "kv_usage_s": levels[:, layout.KV_S],
        "busy_s": levels[:, layout.BUSY_S],
    }
