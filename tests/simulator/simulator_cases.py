"""Generated cases for the simulator: invented step times, small engines, plans with every kind of load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from rooftune.metrics.window import Window
from rooftune.simulator.engine.scheduler import Limits
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.fastpath.loop import step_seconds
from rooftune.simulator.runs import ClientSettings, ServerPath
from rooftune.speculation.acceptance import AcceptanceLike, StepDrafts
from rooftune.workloads.request_plan import RequestPlan


class MadeStepTime:
    """Step costs from invented tables, for the fast path and the stepwise one."""

    def __init__(
        self,
        budget: int,
        seqs: int,
        *,
        seed: int = 0,
        window: int = 0,
        floor: float = 0.0,
        host: float = 0.0,
        full: float = 0.0,
    ):
        rng = np.random.default_rng(seed)
        host *= (
            1 + rng.random() / 10
        )  # no round number: the end of a step never falls on an arrival by a rounding error
        self.linear_decode = 0.004 + 0.003 * rng.random(budget + 1) + 1e-4 * np.arange(budget + 1)
        self.linear_mixed = 0.005 + 0.003 * rng.random(budget + 1) + 2e-4 * np.arange(budget + 1)
        self.head = 1e-5 * np.arange(seqs + 1)
        self.host_decode = host + 1e-5 * np.arange(seqs + 1)
        self.host_mixed = host + 2e-5 * np.arange(seqs + 1)
        self.cost = [3e-6, floor, float(window), 1e-8, 2e-6, 5e-4, full, full / 2, 7e-4, 0.4]

    def seconds(self, s: StepShape) -> float:
        return float(
            step_seconds(
                self.linear_decode,
                self.linear_mixed,
                self.head,
                self.host_decode,
                self.host_mixed,
                self.cost,
                s.decode_seqs,
                s.decode_tokens,
                s.decode_context,
                s.prefill_tokens,
                s.prefill_pairs,
                s.prefill_context,
                s.sampled,
            )
        )


@dataclass(frozen=True)
class Case:
    """A plan, an engine and a client."""

    plan: RequestPlan
    limits: Limits
    step_time: Any
    client: ClientSettings
    acceptance: AcceptanceLike


def plan_of(
    arrival_s: Any, prompt: Any, output: Any, *, seeds: Any = None, prefix: Any = None, concurrency: int | None = None
) -> RequestPlan:
    """A plan of single requests; ``prefix``: (group, tokens) for each, group -1 = none."""
    n = len(arrival_s)
    groups = np.full(n, -1) if prefix is None else np.array([g for g, _ in prefix])
    tokens = np.zeros(n) if prefix is None else np.array([t if g >= 0 else 0 for g, t in prefix])
    return RequestPlan(
        arrival_s=np.asarray(arrival_s, np.float64),
        prompt_tokens=np.asarray(prompt, np.int32),
        output_tokens=np.asarray(output, np.int32),
        prefix_id=groups.astype(np.int32),
        prefix_tokens=np.minimum(tokens, np.asarray(prompt) - 1).astype(np.int32),
        prompt_seed=np.arange(n) if seeds is None else np.asarray(seeds, np.int64),
        conversation=np.full(n, -1, np.int32),
        turn=np.zeros(n, np.int32),
        think_s=np.zeros(n),
        part=np.zeros(n, np.int16),
        concurrency=concurrency,
        seed=0,
    )


@st.composite
def plans(draw: st.DrawFn) -> RequestPlan:
    """Open and closed loops, shared prefixes, repeated prompts, conversations; arrivals apart, together and at once."""
    n = draw(st.integers(1, 24))
    lengths = st.integers(1, draw(st.sampled_from([12, 50, 150])))
    gaps = draw(st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.31]), min_size=n, max_size=n))
    prompt = draw(st.lists(lengths, min_size=n, max_size=n))
    output = draw(st.lists(st.integers(1, 70), min_size=n, max_size=n))
    kind = draw(st.sampled_from(["open", "closed", "conversations", "trace"]))
    seeds = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)) if draw(st.booleans()) else list(range(n))
    prefix = draw(st.lists(st.tuples(st.integers(-1, 1), st.sampled_from([16, 32, 40])), min_size=n, max_size=n))
    if kind == "conversations":
        users = draw(st.none() | st.integers(1, 6))
        arrivals = np.zeros(n) if users else np.cumsum(gaps)
        return replace(_conversations(arrivals, prompt, output, draw(st.integers(1, 4))), concurrency=users)
    if kind == "trace":
        return _named(np.cumsum(gaps), prompt, output, draw(st.integers(1, 3)))
    closed = kind == "closed"
    arrivals = np.zeros(n) if closed else np.cumsum(gaps)
    concurrency = draw(st.integers(1, 6)) if closed else None
    fixed = [(g, 32 if g else 48) for g, _ in prefix]
    plan = plan_of(arrivals, prompt, output, seeds=seeds, prefix=fixed, concurrency=concurrency)
    pauses = draw(st.lists(st.sampled_from([0.0, 0.013, 0.21]), min_size=n, max_size=n)) if closed else [0.0] * n
    return replace(plan, think_s=np.array(pauses))


@st.composite
def strangers(draw: st.DrawFn) -> RequestPlan:
    """Requests that share nothing, with longer answers: most of the time all that run decode in step."""
    n = draw(st.integers(1, 24))
    gaps = draw(st.lists(st.sampled_from([0.0, 0.001, 0.03, 0.11, 0.31]), min_size=n, max_size=n))
    prompt = draw(st.lists(st.integers(1, 60), min_size=n, max_size=n))
    output = draw(st.lists(st.integers(1, 180), min_size=n, max_size=n))
    concurrency = draw(st.sampled_from([None, None, 3]))
    return plan_of(np.zeros(n) if concurrency else np.cumsum(gaps), prompt, output, concurrency=concurrency)


def _conversations(arrivals: Any, said: list[int], output: list[int], turns: int) -> RequestPlan:
    n = len(said)
    turn = np.arange(n) % turns
    talk = np.arange(n) // turns
    prompt = np.zeros(n, np.int64)
    for i in range(n):
        prompt[i] = said[i] + (prompt[i - 1] + output[i - 1] if turn[i] else 0)
    plan = plan_of(np.asarray(arrivals)[talk * turns], prompt, output, seeds=np.arange(n))
    think = np.where(turn > 0, 0.05 * (np.arange(n) % 3), 0.0)
    return replace(plan, conversation=talk.astype(np.int32), turn=turn.astype(np.int32), think_s=think)


def _named(arrivals: Any, prompt: list[int], output: list[int], branches: int) -> RequestPlan:
    """Prompts made of named blocks of 32 tokens that branch like a tree, as in a trace of prefix hashes."""
    blocks = tuple(
        tuple(j * 100 + i % (1 + branches * (j > 0) + j) for j in range(-(-p // 32))) for i, p in enumerate(prompt)
    )
    return replace(plan_of(arrivals, prompt, output), blocks=blocks, block_tokens=32)


@st.composite
def cases(draw: st.DrawFn, of: st.SearchStrategy[RequestPlan] | None = None, most_spare_blocks: int = 12) -> Case:
    """Engines of all kinds under such a plan; every request fits the model, and one alone fits the KV cache."""
    plan = draw(plans() if of is None else of)
    longest = int((plan.prompt_tokens + plan.output_tokens).max())
    spec = draw(st.sampled_from([0, 0, 0, 1, 3]))
    least = -(-(longest + spec + 1) // 16)
    watermark = draw(st.sampled_from([0.0, 0.0, 0.1]))
    chunked = draw(st.booleans()) or draw(st.booleans())
    seqs = draw(st.integers(1, 12))
    budget = max(seqs * (1 + spec), draw(st.integers(16, 200)), 0 if chunked else longest)
    limits = Limits(
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        max_model_len=longest + 1 + draw(st.integers(0, 50)),
        kv_blocks=int(least * (1 + 2 * watermark)) + 1 + draw(st.integers(0, most_spare_blocks)),
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 24])) if chunked else 0,
        enable_chunked_prefill=chunked,
        enable_prefix_caching=draw(st.booleans()),
        whole_prompt_must_fit=draw(st.booleans()),
        watermark=watermark,
        priority=draw(st.booleans()),
        speculative_tokens=spec,
        speculative_lengths=tuple(draw(st.sampled_from([(), range(spec, -1, -1)]))) if spec else (),
        async_scheduling=draw(st.booleans()),
    )
    step_time = MadeStepTime(
        budget,
        seqs,
        seed=draw(st.integers(0, 5)),
        window=draw(st.sampled_from([0, 0, 40])),
        full=draw(st.sampled_from([0.0, 0.5])),
        floor=draw(st.sampled_from([0.0, 4e-4])),
        host=draw(st.sampled_from([0.0, 8e-3])),
    )
    end = draw(st.sampled_from([float("inf"), float("inf"), 0.8]))
    marks = (0.1, 0.25, 0.4)
    client = ClientSettings(
        connections=draw(st.sampled_from([None, None, 3])),
        users=plan.concurrency,
        send_until_s=draw(st.sampled_from([float("inf"), 0.5])),
        end_s=end,
        marks_s=marks,
        window=Window(start_s=0.1, end_s=0.4),
        path=draw(st.sampled_from([ServerPath(), ServerPath(0.00213, 0.00337, 1.19e-5, 0.00171)])),
    )
    drafts = StepDrafts(tuple(0.7**i for i in range(1, spec + 1)), 0.8 * spec)
    return Case(plan, limits, step_time, client, draw(st.sampled_from([0.0, 0.6, 1.0, drafts])))
