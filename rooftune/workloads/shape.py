"""The shape of a workload's requests: quantiles of lengths, arrivals over time, and what prompts share."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.workloads.request_plan import RequestPlan

Floats = npt.NDArray[np.float64]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 50
"""Stretches of time, and classes of lengths, that are counted apart."""
BRANCH = 0.9
"""A shared beginning ends where less than this share of its prompts goes on together."""
MOST_PREFIXES = 8
"""Shared beginnings that are listed."""


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens of the prompts or the answers."""

    mean: float
    least: int
    most: int
    quantiles: Mapping[float, float]
    edges: Floats
    """Borders of the classes, evenly spaced in the logarithm."""
    counts: Floats
    """Requests in each class."""


@dataclass(frozen=True)
class ArrivalShape:
    """When requests arrive."""

    requests: int
    span_s: float
    rate_per_s: float
    variation: float
    """Standard deviation of the gaps over their mean: 1 as in a Poisson process, above 1 burstier."""
    edges_s: Floats
    per_s: Floats
    """Requests per second in each stretch."""
    most_per_s: float
    """Requests in the busiest second."""


@dataclass(frozen=True)
class SharedBeginning:
    """A beginning that several prompts have in common."""

    requests: int
    tokens: int


@dataclass(frozen=True)
class Sharing:
    """What prompts have in common with earlier ones."""

    requests: int
    """Requests whose prompt begins like an earlier one, or carries the history of its conversation."""
    tokens_share: float
    """Share of all prompt tokens that an unlimited prefix cache would have seen before."""
    beginnings: Sequence[SharedBeginning]
    """The most frequent ones."""
    conversations: int
    turns: float
    """Mean turns of a conversation."""


@dataclass(frozen=True)
class WorkloadShape:
    """Everything that is drawn of a workload."""

    prompt: Lengths
    output: Lengths
    arrivals: ArrivalShape | None
    """None: a closed loop, in which the server sets the rate."""
    users: int | None
    sharing: Sharing
    notes: Sequence[str]


def shape_of(plan: RequestPlan, total_s: float, *, sample: int = 20_000) -> WorkloadShape:
    """The shape of a plan.

    Args:
        total_s: length of the load.
        sample: requests of a closed loop that are looked at; its plan has more than are ever sent.
    """
    kept = slice(0, sample if plan.concurrency is not None else len(plan))
    return WorkloadShape(
        prompt=_lengths(plan.prompt_tokens[kept]),
        output=_lengths(plan.output_tokens[kept]),
        arrivals=None if plan.concurrency is not None else _arrivals(plan, total_s),
        users=plan.concurrency,
        sharing=_sharing(plan, min(len(plan), kept.stop)),
        notes=plan.notes,
    )


def _lengths(values: npt.NDArray[np.int32]) -> Lengths:
    low, high = (int(values.min()), int(values.max())) if len(values) else (1, 1)
    edges = np.geomspace(max(1, low), max(high, low + 1) + 1, BINS + 1)
    edges[0] = low
    counts, _ = np.histogram(values, edges)
    quantiles = {q: float(np.quantile(values, q)) if len(values) else 0.0 for q in LEVELS}
    mean = float(values.mean()) if len(values) else 0.0
    return Lengths(mean, low, high, quantiles, edges, counts.astype(np.float64))


def _arrivals(plan: RequestPlan, total_s: float) -> ArrivalShape:
    """Arrivals of single requests and of conversations; later turns follow their answers."""
    times = np.sort(plan.arrival_s[(plan.conversation < 0) | (plan.turn == 0)])
    edges = np.linspace(0, total_s, BINS + 1)
    counts, _ = np.histogram(times, edges)
    gaps = np.diff(times)
    mean = float(gaps.mean()) if len(gaps) else 0.0
    seconds = np.bincount(times.astype(np.int64)) if len(times) else np.zeros(1)
    return ArrivalShape(
        requests=len(times),
        span_s=total_s,
        rate_per_s=len(times) / total_s,
        variation=float(gaps.std() / mean) if mean > 0 else 0.0,
        edges_s=edges,
        per_s=counts / np.diff(edges),
        most_per_s=float(seconds.max()),
    )


def _sharing(plan: RequestPlan, n: int) -> Sharing:
    """Tokens that each prompt has in common with earlier ones, and the beginnings that most have."""
    common = _history(plan, n)
    beginnings = (_of_prefixes if plan.blocks is None else _of_blocks)(plan, n, common)
    found = [SharedBeginning(count, tokens) for (_, tokens), count in beginnings.most_common() if count > 1]
    talks = plan.conversation[:n]
    several = np.unique(talks[talks >= 0])
    total = float(plan.prompt_tokens[:n].astype(np.float64).sum())
    return Sharing(
        requests=int((common > 0).sum()),
        tokens_share=float(common.sum()) / total if total else 0.0,
        beginnings=found[:MOST_PREFIXES],
        conversations=len(several),
        turns=float((talks >= 0).sum() / len(several)) if len(several) else 0.0,
    )


def _history(plan: RequestPlan, n: int) -> Floats:
    """Tokens of the history that each later turn of a conversation carries."""
    common = np.zeros(n)
    later = np.flatnonzero((plan.conversation[:n] >= 0) & (plan.turn[:n] > 0))
    common[later] = plan.prompt_tokens[later - 1].astype(np.float64) + plan.output_tokens[later - 1]
    return np.minimum(common, plan.prompt_tokens[:n])


def _of_prefixes(plan: RequestPlan, n: int, common: Floats) -> Counter[tuple[int, int]]:
    """Fill in what each prompt has in common by its named prefix; count the prefixes."""
    found: Counter[tuple[int, int]] = Counter()
    for i in np.flatnonzero((plan.conversation[:n] < 0) & (plan.prefix_tokens[:n] > 0)).tolist():
        key = (int(plan.prefix_id[i]), int(plan.prefix_tokens[i]))
        common[i] = key[1] if key in found else 0
        found[key] += 1
    return found


def _of_blocks(plan: RequestPlan, n: int, common: Floats) -> Counter[tuple[int, int]]:
    """Fill in what each prompt has in common by its blocks; count the beginnings that branch off or end."""
    assert plan.blocks is not None
    uses: Counter[int] = Counter()
    depth: dict[int, int] = {}
    seen: set[int] = set()
    for i in range(n):
        blocks = plan.blocks[i]
        known = next((k for k, b in enumerate(blocks) if b not in seen), len(blocks))
        common[i] = max(common[i], min(known * plan.block_tokens, int(plan.prompt_tokens[i])))
        seen.update(blocks)
        for k, block in enumerate(blocks):
            uses[block] += 1
            depth[block] = k + 1
    together: Counter[int] = Counter()  # by block: the most prompts that go on with the same next block
    for blocks in plan.blocks[:n]:
        for block, after in itertools.pairwise(blocks):
            together[block] = max(together[block], uses[after])
    return Counter(
        {(b, depth[b] * plan.block_tokens): k for b, k in uses.items() if k > 1 and together[b] < BRANCH * k}
    )
