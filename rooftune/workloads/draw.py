"""Draws every request of a workload from its seed: arrivals, lengths, prefixes, conversations.

Each purpose has a random stream of its own, so that a change of one (the rate, say) does not shift the others.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from rooftune.workloads import spec
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def draw(workload: Workload, *, seed: int | None = None) -> RequestPlan:
    """All requests of one run. The same workload and seed give the same plan.

    Raises:
        InputError: a trace file is missing or cannot be read.
    """
    seed = workload.seed if seed is None else seed
    if isinstance(workload.arrivals, spec.Trace):
        from rooftune.workloads.traces import draw_trace

        return draw_trace(workload, workload.arrivals, seed)
    arrival = arrival_times(workload, stream(seed, "arrivals"))
    if workload.conversations:
        return _conversations(workload, arrival, seed)
    return _independent(workload, arrival, seed)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of one purpose."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])))


def arrival_times(workload: Workload, rng: np.random.Generator) -> Floats:
    """Seconds of the arrivals in [0, warm-up + duration), in order."""
    a, total = workload.arrivals, workload.total_s
    if isinstance(a, spec.Closed):
        # More than can be served: the loop sends the next when one ends, and stops with the window.
        return np.zeros(min(2_000_000, int(a.concurrency * max(50, total * 20))))
    if isinstance(a, spec.Constant):
        return np.arange(0, total, 1 / a.rate_per_s)
    if isinstance(a, spec.Ramp):
        top = max(a.from_rate_per_s, a.to_rate_per_s)
        times = _gaps(rng, top, 1.0, total)
        rate = a.from_rate_per_s + (a.to_rate_per_s - a.from_rate_per_s) * times / total
        kept: Floats = times[rng.random(len(times)) * top < rate]
        return kept
    if isinstance(a, spec.Burst):
        base = _gaps(rng, a.rate_per_s, 1.0, total)
        bursts = np.repeat(np.arange(a.burst_every_s, total, a.burst_every_s), a.burst_size)
        return np.sort(np.concatenate([base, bursts]), kind="stable")
    assert isinstance(a, (spec.Poisson, spec.Gamma))
    return _gaps(rng, a.rate_per_s, a.burstiness if isinstance(a, spec.Gamma) else 1.0, total)


def _gaps(rng: np.random.Generator, rate: float, burstiness: float, total: float) -> Floats:
    count = int(total * rate + 10 * math.sqrt(total * rate / burstiness) + 20)
    times = np.cumsum(rng.gamma(burstiness, 1 / (rate * burstiness), count))
    within: Floats = times[times < total]
    return within


def lengths(what: Any, n: int, rng: np.random.Generator) -> Ints:
    """``n`` lengths in tokens of a distribution of the spec."""
    if isinstance(what, spec.Fixed):
        values: Any = np.full(n, what.value)
    elif isinstance(what, spec.Uniform):
        values = rng.integers(what.low, what.high + 1, n)
    elif isinstance(what, spec.Empirical):
        values = rng.choice(np.asarray(what.values), n)
    elif isinstance(what, spec.Normal):
        values = np.clip(np.rint(rng.normal(what.mean, what.stddev, n)), what.low, what.high)
    else:
        mu = math.log(what.mean) - what.sigma**2 / 2
        values = np.clip(np.rint(rng.lognormal(mu, what.sigma, n)), what.low, what.high)
    return np.asarray(values, dtype=np.int32)


def _independent(workload: Workload, arrival: Floats, seed: int) -> RequestPlan:
    n = len(arrival)
    parts = workload.parts or [
        spec.Part(weight=1, prompt_tokens=workload.prompt_tokens, output_tokens=workload.output_tokens,  # type: ignore[arg-type]
                  shared_prefix=workload.shared_prefix)
    ]  # fmt: skip
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
    concurrency = workload.arrivals.concurrency if isinstance(workload.arrivals, spec.Closed) else None
    return RequestPlan(
        arrival, prompt, output, prefix_id, prefix_tokens, prompt_seeds(seed, n), np.full(n, -1, np.int32), np.zeros(n, np.int32),
        np.zeros(n), part, concurrency, seed,
    )  # fmt: skip


def prompt_seeds(seed: int, n: int) -> npt.NDArray[np.int64]:
    """Distinct prompt seeds: a counter under the run's own high bits, so that two prompts are never equal by accident."""
    base = np.random.SeedSequence([seed, zlib.crc32(b"prompts")]).generate_state(1)[0] % (1 << 30)
    return (np.int64(base) << np.int64(32)) + np.arange(n, dtype=np.int64)


def _conversations(workload: Workload, arrival: Floats, seed: int) -> RequestPlan:
    c = workload.conversations
    assert c is not None
    turns = lengths(c.turns, len(arrival), stream(seed, "turns"))
    n = int(turns.sum())
    conversation = np.repeat(np.arange(len(arrival), dtype=np.int32), turns)
    starts = np.repeat(np.cumsum(turns) - turns, turns)
    turn = (np.arange(n) - starts).astype(np.int32)
    said = lengths(workload.prompt_tokens, n, stream(seed, "prompt0"))
    output = lengths(workload.output_tokens, n, stream(seed, "output0"))
    grown = np.cumsum(said + output)
    before = np.where(turn > 0, grown - (said + output) - np.repeat((grown - said - output)[turn == 0], turns), 0)
    think = np.where(turn > 0, stream(seed, "think").exponential(c.think_s, n), 0.0)
    prompt = (said + before).astype(np.int32)
    return RequestPlan(
        np.repeat(arrival, turns), prompt, output, np.full(n, -1, np.int32), np.zeros(n, np.int32), prompt_seeds(seed, n),
        conversation, turn, think, np.zeros(n, np.int16), None, seed,
    )  # fmt: skip
