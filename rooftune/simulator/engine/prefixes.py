"""Which prompts begin with the same text, block by block: the identities that the prefix cache works with.

A block's content is named by a chain and its place in it. The blocks of a shared prefix are in the prefix's chain; the rest of a
prompt is in the chain of its seed, which a repeated prompt and the turns of a conversation have in common; what a
request generates is in a chain of its own. A trace that names the (larger) blocks of its prompts gives each of those a chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.vllm_rules.memory import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan

Ints = npt.NDArray[np.int64]
CHAIN = 1 << 20
"""Blocks that one chain may have: the name of block i of chain c is c * CHAIN + i."""


@dataclass(frozen=True)
class Contents:
    """Chains of all requests of a plan; chain r < n is what request r generates."""

    prefix_chain: Ints
    prefix_blocks: Ints
    prompt_chain: Ints
    shared: Ints
    """1: another request may hold the same blocks."""
    told: Ints
    """Chains of the blocks that a trace names, all requests one after another."""
    told_at: Ints
    """Where those of a request begin."""
    told_blocks: Ints
    """How many blocks of ``BLOCK_TOKENS`` of its prompt they cover."""
    told_size: int
    """Blocks of ``BLOCK_TOKENS`` in one block of the trace."""

    def names(self, r: int, blocks: int) -> list[int]:
        """Names of the first ``blocks`` blocks of the prompt of request ``r``."""
        within = int(self.prefix_blocks[r])
        prefix, prompt = int(self.prefix_chain[r]) * CHAIN, int(self.prompt_chain[r]) * CHAIN
        told, at, size = int(self.told_blocks[r]), int(self.told_at[r]), self.told_size
        named = [int(self.told[at + i // size]) * CHAIN + i % size for i in range(min(told, blocks))]
        return named + [(prefix if i < within else prompt) + i for i in range(len(named), blocks)]


def contents(plan: RequestPlan) -> Contents:
    """Chains of a plan. Only full blocks count; equal seeds under equal prefixes are equal text."""
    n = len(plan)
    first_turn = np.arange(n) - plan.turn
    seed = np.where(plan.conversation >= 0, plan.prompt_seed[first_turn], plan.prompt_seed)
    prefix = np.where(plan.prefix_tokens > 0, plan.prefix_id, -1).astype(np.int64)
    ordered = np.lexsort((plan.prefix_tokens, prefix, seed))
    changed = np.zeros(n, dtype=bool)
    for column in (seed, prefix, plan.prefix_tokens):
        changed[1:] |= column[ordered][1:] != column[ordered][:-1]
    group = np.empty(n, np.int64)
    group[ordered] = np.cumsum(changed)
    sizes = np.bincount(group, minlength=1) if n else np.zeros(1, np.int64)
    prefix_blocks = np.where(prefix >= 0, plan.prefix_tokens // BLOCK_TOKENS, 0).astype(np.int64)
    groups = int(group.max()) + 1 if n else 0
    told, told_at, told_blocks = _told(plan, n + groups + int(prefix.max(initial=-1)) + 1)
    prefix_blocks[told_blocks > 0] = 0
    return Contents(
        prefix_chain=n + groups + np.maximum(prefix, 0),
        prefix_blocks=prefix_blocks,
        prompt_chain=n + group,
        shared=((sizes[group] > 1) | (prefix_blocks > 0) | (told_blocks > 0)).astype(np.int64),
        told=told,
        told_at=told_at,
        told_blocks=told_blocks,
        told_size=max(plan.block_tokens // BLOCK_TOKENS, 1),
    )


def _told(plan: RequestPlan, first_chain: int) -> tuple[Ints, Ints, Ints]:
    """(chains, where each request's begin, blocks covered) of the blocks that a trace names; nothing without names."""
    n = len(plan)
    if plan.blocks is None:
        return np.zeros(1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    sizes = np.array([len(b) for b in plan.blocks], np.int64)
    flat = np.fromiter((b for blocks in plan.blocks for b in blocks), np.int64, int(sizes.sum()))
    _, chains = np.unique(flat, return_inverse=True)
    covered = np.minimum(sizes * (plan.block_tokens // BLOCK_TOKENS), plan.prompt_tokens // BLOCK_TOKENS)
    return np.append(first_chain + chains.astype(np.int64), 0), np.cumsum(sizes) - sizes, covered


def next_turns(plan: RequestPlan) -> Ints:
    """Index of the request that follows each one in its conversation; -1 = none. Turns of a conversation lie side by side."""
    n = len(plan)
    after = np.full(n, -1, np.int64)
    if n > 1:
        same = (plan.conversation[1:] >= 0) & (plan.conversation[1:] == plan.conversation[:-1])
        after[:-1] = np.where(same, np.arange(1, n), -1)
    return after


def openings(plan: RequestPlan) -> Ints:
    """Requests that wait for no earlier turn, in order of arrival."""
    first = np.flatnonzero(plan.turn == 0)
    return first[np.argsort(plan.arrival_s[first], kind="stable")].astype(np.int64)
