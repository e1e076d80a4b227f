"""Draws every request of a workload from its seed: arrivals, lengths, prefixes, conversations.

Each purpose has its own random stream, so that changing one (the rate, for example) does not shift the others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.workloads import spec
from rooftune.workloads.adapters import with_adapters
from rooftune.workloads.arrivals import arrival_times
from rooftune.workloads.lengths import Ints, lengths
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.seeds import prompt_seeds, stream
from rooftune.workloads.spec import Workload
from rooftune.workloads.strict import MOST_REQUESTS, MOST_TOKENS
from rooftune.workloads.texts.plan import AnswerLimits, draw_prompts
from rooftune.workloads.texts.prompt_set import prompt_set
from rooftune.workloads.texts.prompts_file import Prompts
from rooftune.workloads.traces.plan import draw_trace

Floats = npt.NDArray[np.float64]


def draw(workload: Workload, *, seed: int | None = None) -> RequestPlan:
    """All requests of one run. The same workload and seed give the same plan.

    Raises:
        InputError: the load has too many requests, or a trace file is missing or cannot be read.
    """
    seed = workload.seed if seed is None else seed
    return with_adapters(_drawn(workload, seed), workload.lora, seed)


def _drawn(workload: Workload, seed: int) -> RequestPlan:
    """The requests without their adapters."""
    if isinstance(workload.arrivals, spec.Trace):
        recorded = draw_trace(workload, workload.arrivals, seed)
        return recorded if not workload.prompts else _with_texts(workload, workload.prompts, _begins(recorded), seed)
    arrival = arrival_times(workload, stream(seed, "arrivals"))
    if workload.prompts:
        return _with_texts(workload, workload.prompts, arrival, seed)
    if workload.conversations:
        return _conversations(workload, arrival, seed)
    return _independent(workload, arrival, seed)


def _independent(workload: Workload, arrival: Floats, seed: int) -> RequestPlan:
    n = len(arrival)
    parts = workload.parts or [workload.whole()]
    weights = np.array([p.weight for p in parts])
    part = stream(seed, "parts").choice(len(parts), n, p=weights / weights.sum()).astype(np.int16)
    prompt, output = np.ones(n, np.int32), np.ones(n, np.int32)
    prefix_id, prefix_tokens = np.full(n, -1, np.int32), np.zeros(n, np.int32)
    groups_before = 0
    for i, p in enumerate(parts):
        mine = part == i
        prompt[mine] = lengths(p.prompt_tokens, n, stream(seed, f"prompt{i}"))[mine]
        output[mine] = lengths(p.output_tokens, n, stream(seed, f"output{i}"))[mine]
        if p.shared_prefix:
            rng = stream(seed, f"prefix{i}")
            shared = mine & (rng.random(n) < p.shared_prefix.share)
            group = rng.integers(0, p.shared_prefix.groups, n) + groups_before
            prefix_id[shared] = group[shared]
            prefix_tokens[shared] = p.shared_prefix.tokens
            prompt[shared] = np.maximum(prompt[shared], p.shared_prefix.tokens + 1)
            groups_before += p.shared_prefix.groups
    closed = workload.arrivals if isinstance(workload.arrivals, spec.Closed) else None
    return RequestPlan(
        arrival_s=arrival,
        prompt_tokens=prompt,
        output_tokens=output,
        prefix_id=prefix_id,
        prefix_tokens=prefix_tokens,
        prompt_seed=prompt_seeds(seed, n),
        conversation=np.full(n, -1, np.int32),
        turn=np.zeros(n, np.int32),
        think_s=_pauses(closed, n, seed),
        part=part,
        concurrency=closed.concurrency if closed else None,
        seed=seed,
    )


def _conversations(workload: Workload, arrival: Floats, seed: int) -> RequestPlan:
    c, whole = workload.conversations, workload.whole()
    assert c is not None
    turns = lengths(c.turns, len(arrival), stream(seed, "turns"))
    n = int(turns.sum(dtype=np.int64))
    if n > MOST_REQUESTS:
        raise InputError(f"{workload.name} has {n:,} turns, and at most {MOST_REQUESTS:,} can be drawn; lower turns.")
    conversation = np.repeat(np.arange(len(arrival), dtype=np.int32), turns)
    starts = np.repeat(np.cumsum(turns) - turns, turns)
    turn = (np.arange(n) - starts).astype(np.int32)
    said = lengths(whole.prompt_tokens, n, stream(seed, "prompt0"))
    output = lengths(whole.output_tokens, n, stream(seed, "output0"))
    grown = np.cumsum(said.astype(np.int64) + output)
    before = np.where(turn > 0, grown - (said + output) - np.repeat((grown - said - output)[turn == 0], turns), 0)
    closed = workload.arrivals if isinstance(workload.arrivals, spec.Closed) else None
    think = np.where(turn > 0, stream(seed, "think").exponential(c.think_s, n), _pauses(closed, n, seed))
    prompt = said + before
    if n and prompt.max() > MOST_TOKENS:
        raise InputError(
            f"a conversation of {workload.name} grows to {prompt.max():,} tokens, and a prompt has at most "
            f"{MOST_TOKENS:,}; lower turns, prompt_tokens or output_tokens."
        )
    return RequestPlan(
        arrival_s=np.repeat(arrival, turns),
        prompt_tokens=prompt.astype(np.int32),
        output_tokens=output,
        prefix_id=np.full(n, -1, np.int32),
        prefix_tokens=np.zeros(n, np.int32),
        prompt_seed=prompt_seeds(seed, n),
        conversation=conversation,
        turn=turn,
        think_s=think,
        part=np.zeros(n, np.int16),
        concurrency=closed.concurrency if closed else None,
        seed=seed,
    )


def _with_texts(workload: Workload, prompts: Prompts, arrival: Floats, seed: int) -> RequestPlan:
    def drawn(n: int) -> Ints:
        assert workload.output_tokens is not None
        return lengths(workload.output_tokens, n, stream(seed, "output0"))

    closed = workload.arrivals if isinstance(workload.arrivals, spec.Closed) else None
    limits = AnswerLimits(workload.natural_ends, workload.max_tokens, drawn if workload.output_tokens else None)
    source = prompt_set(prompts, chat=workload.chat)
    plan = draw_prompts(prompts, source, limits, arrival, _pauses(closed, len(arrival), seed), seed)
    return replace(plan, concurrency=closed.concurrency if closed else None)


def _begins(recorded: RequestPlan) -> Floats:
    """When the requests and conversations of a trace begin."""
    found: Floats = recorded.arrival_s[recorded.turn == 0]
    return found


def _pauses(closed: spec.Closed | None, n: int, seed: int) -> Floats:
    """Pauses of the users of a closed loop before single requests and before new conversations."""
    if closed is None or closed.think_s == 0:
        return np.zeros(n)
    return stream(seed, "pause").exponential(closed.think_s, n)
