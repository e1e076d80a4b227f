"""Which prompts begin with the same text, block by block: the identities that the prefix cache works with.

A block's content is identified by a chain and a position in it. A shared prefix has a chain. The rest of a prompt is
in the chain of its seed, which repeated prompts and the turns of a conversation have in common. What a request
generates is in a chain that no other request has. Where a trace names the (larger) blocks of its prompts, each name
has a chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan

Ints = npt.NDArray[np.int64]
CHAIN = 1 << 20
"""Most blocks of one chain: the name of block i of chain c is c * CHAIN + i."""


@dataclass(frozen=True)
class TraceBlocks:
    """The blocks that a trace names, for all requests one after another."""

    chains: Ints
    """Chain of each named block."""
    start: Ints
    """By request: index of its first named block."""
    covered: Ints
    """By request: blocks of ``BLOCK_TOKENS`` of its prompt that its named blocks cover."""
    size: int
    """Blocks of ``BLOCK_TOKENS`` in one block of the trace."""


@dataclass(frozen=True)
class BlockIdentities:
    """Chains of all requests of a plan; chain r < n is what request r generates."""

    prefix_chain: Ints
    prefix_blocks: Ints
    prompt_chain: Ints
    shared: Ints
    """1: another request may hold the same blocks."""
    trace: TraceBlocks

    def names(self, r: int, blocks: int) -> list[int]:
        """Names of the first ``blocks`` blocks of the prompt of request ``r``."""
        trace, within = self.trace, int(self.prefix_blocks[r])
        prefix, prompt = int(self.prefix_chain[r]) * CHAIN, int(self.prompt_chain[r]) * CHAIN
        covered, start, size = min(int(trace.covered[r]), blocks), int(trace.start[r]), trace.size
        named = [int(trace.chains[start + i // size]) * CHAIN + i % size for i in range(covered)]
        return named + [(prefix if i < within else prompt) + i for i in range(len(named), blocks)]


def block_identities(plan: RequestPlan) -> BlockIdentities:
    """Chains of a plan. Only full blocks count; equal seeds under equal prefixes are equal text."""
    n = len(plan)
    first_turn = np.arange(n) - plan.turn
    seed = np.where(plan.conversation >= 0, plan.prompt_seed[first_turn], plan.prompt_seed)
    prefix = np.where(plan.prefix_tokens > 0, plan.prefix_id, -1).astype(np.int64)
    group = _groups(seed, prefix, plan.prefix_tokens)
    sizes = np.bincount(group, minlength=1) if n else np.zeros(1, np.int64)
    prefix_blocks = np.where(prefix >= 0, plan.prefix_tokens // BLOCK_TOKENS, 0).astype(np.int64)
    groups = int(group.max()) + 1 if n else 0
    trace = _trace_blocks(plan, n + groups + int(prefix.max(initial=-1)) + 1)
    prefix_blocks[trace.covered > 0] = 0
    return BlockIdentities(
        prefix_chain=n + groups + np.maximum(prefix, 0),
        prefix_blocks=prefix_blocks,
        prompt_chain=n + group,
        shared=((sizes[group] > 1) | (prefix_blocks > 0) | (trace.covered > 0)).astype(np.int64),
        trace=trace,
    )


def _groups(*columns: npt.NDArray[np.integer]) -> Ints:
    """A number for each row, the same for rows that are equal in all columns."""
    n = len(columns[0])
    ordered = np.lexsort(columns[::-1])
    changed = np.zeros(n, dtype=bool)
    for column in columns:
        changed[1:] |= column[ordered][1:] != column[ordered][:-1]
    group = np.empty(n, np.int64)
    group[ordered] = np.cumsum(changed)
    return group


def _trace_blocks(plan: RequestPlan, first_chain: int) -> TraceBlocks:
    """The named blocks of a plan; their chains are numbered from ``first_chain``."""
    n, size = len(plan), max(plan.block_tokens // BLOCK_TOKENS, 1)
    if plan.blocks is None:
        return TraceBlocks(np.zeros(1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64), size)
    counts = np.array([len(b) for b in plan.blocks], np.int64)
    flat = np.fromiter((b for blocks in plan.blocks for b in blocks), np.int64, int(counts.sum()))
    _, chains = np.unique(flat, return_inverse=True)
    covered = np.minimum(counts * (plan.block_tokens // BLOCK_TOKENS), plan.prompt_tokens // BLOCK_TOKENS)
    chains = np.append(first_chain + chains.astype(np.int64), 0)
    return TraceBlocks(chains, np.cumsum(counts) - counts, covered, size)


def next_turns(plan: RequestPlan) -> Ints:
    """Index of the request that follows each one in its conversation; -1 = none. Turns of a conversation are
    adjacent."""
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
