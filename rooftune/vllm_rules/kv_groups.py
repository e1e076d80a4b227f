"""How vLLM shares one pool of KV blocks between layers that keep different tokens (hybrid KV cache manager).

Read in ``v1/core/kv_cache_utils.py`` and ``v1/kv_cache_interface.py``. Layers that keep the same tokens form groups of
equal size, each with a separate block table; a block of the pool holds its tokens for all layers of one group. A
layer with a sliding window gives its blocks back once the window has passed them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.speculation import draft_facts
from rooftune.vllm_rules.versions import Releases

Floats = npt.NDArray[np.float64]
NEARLY_EQUAL = 1.5
"""Where the largest kind has fewer layers than this many times the smallest, all groups get the size of the largest."""
OLDER_NEARLY_EQUAL = 1.25
TO_THE_LARGEST = Releases(since="0.15")
"""Pull request 29303; before, all groups had the size of the smallest kind."""
FARTHER_TO_THE_LARGEST = Releases(since="0.23")
TOKENS_BY_CONCURRENCY = Releases(since="0.23")
"""The logged tokens are those of requests of the maximum length; before, blocks were divided evenly between groups."""
REQUEST_BY_GROUPS = Releases(since="0.23")
"""The check of the longest request counts the layers that fill up groups; before, each layer was counted once."""
STEPS_IN_FLIGHT = Releases(since="0.26")
"""A window's blocks are kept until the step that may read them has ended, so with asynchronous scheduling two steps'
tokens are held (pull request 47728, issue 49878)."""


class KvGroup(BaseModel):
    """Layers with one block table."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    layers: int
    block_tokens: int = Field(description="tokens of one block; more where a token takes less in these layers")
    window: int | None = Field(default=None, description="tokens that the layers look back at most; None = all")

    def reserved_blocks(self, tokens: int, in_flight: int) -> int:
        """Blocks that vLLM sets aside for one request of this length."""
        if self.window is None:
            return -(-tokens // self.block_tokens)
        return -(-min(tokens, self.window - 1 + in_flight) // self.block_tokens) + 1

    def held_blocks(self, contexts: Floats) -> Floats:
        """Blocks that a sequence holds while it decodes at this context."""
        whole = np.ceil(contexts / self.block_tokens)
        if self.window is None:
            return whole
        return np.minimum(whole, ceil((self.window - 1) / self.block_tokens) + 1)


class KvPool(BaseModel):
    """The KV cache of one GPU: blocks of one size that all groups share."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    groups: tuple[KvGroup, ...] = Field(min_length=1)
    bytes_per_block: float
    in_flight_tokens: int = Field(description="tokens of the steps that may be under way at once")

    @property
    def has_windows(self) -> bool:
        """Whether some layers give blocks back."""
        return any(g.window for g in self.groups)

    def reserved_blocks(self, tokens: int) -> int:
        """Blocks that vLLM sets aside for one request of this length."""
        return sum(g.reserved_blocks(tokens, self.in_flight_tokens) for g in self.groups)

    def tokens_per_block(self, contexts: Floats, weights: Floats | None = None) -> float:
        """Tokens of context for each block of the pool, while sequences decode at these contexts.

        Args:
            weights: how long each context is held, relative to the others.
        """
        share = np.ones(len(contexts)) if weights is None else weights
        held = np.sum([g.held_blocks(contexts) for g in self.groups], axis=0)
        return float((share * contexts).sum() / (share * held).sum())

    def logged_tokens(self, blocks: int, max_model_len: int, r: Resolved) -> int:
        """The size of the KV cache as that version logs it."""
        if not self.has_windows:
            return blocks * BLOCK_TOKENS
        if TOKENS_BY_CONCURRENCY.has(r.version):
            return int(blocks / self.reserved_blocks(max_model_len) * max_model_len)
        return blocks // len(self.groups) * min(g.block_tokens for g in self.groups)


def draft_beside(r: Resolved) -> ModelFacts | None:
    """The draft model that runs beside the model; None without one, and where it is not known."""
    return draft_facts(r.speculative_model or "") if r.speculative_method == "draft_model" else None


class _Kind(NamedTuple):
    """What layers must share to be of one kind: the bytes of a token in one of them, and the window."""

    token_bytes: float
    window: int | None


def kv_pool(facts: ModelFacts, r: Resolved) -> KvPool:
    """The pool and its groups, as vLLM forms them for a model and the draft model beside it.

    The KV cache of a draft model is in the same blocks: an H200 logged 160 KiB for each token of an 8B model
    (128) with a draft of 1B (32).
    """
    kinds: dict[_Kind, int] = defaultdict(int)
    draft = draft_beside(r)
    for a in (*facts.attention, *(draft.attention if draft else ())):
        if a.holds_kv:
            window = a.window if r.windows_are_freed else None
            kinds[_Kind(a.kv_bytes(r.kv_bytes_per_value, r.tensor_parallel) / a.count, window)] += a.count
    steps = 2 if STEPS_IN_FLIGHT.has(r.version) and r.async_scheduling else 1
    in_flight = steps * r.max_num_batched_tokens
    if len({kind.window for kind in kinds}) == 1:
        layers, window = sum(kinds.values()), next(iter(kinds)).window
        size = BLOCK_TOKENS * sum(kind.token_bytes * n for kind, n in kinds.items())
        group = KvGroup(layers=layers, block_tokens=BLOCK_TOKENS, window=window)
        return KvPool(groups=(group,), bytes_per_block=size, in_flight_tokens=in_flight)
    return _hybrid(kinds, r, in_flight)


def _hybrid(kinds: dict[_Kind, int], r: Resolved, in_flight: int) -> KvPool:
    """Groups of one size; a kind whose tokens take less has longer blocks, or padded ones where that is not whole."""
    page = BLOCK_TOKENS * max(kind.token_bytes for kind in kinds)
    size = _layers_of_a_group(kinds.values(), r)
    groups = []
    for kind, layers in kinds.items():
        ratio = page / (BLOCK_TOKENS * kind.token_bytes)
        block = BLOCK_TOKENS * round(ratio) if abs(ratio - round(ratio)) < 1e-9 else BLOCK_TOKENS
        for at in range(number := -(-layers // size)):
            own = len(range(at, layers, number))
            groups.append(KvGroup(layers=own, block_tokens=block, window=kind.window))
    return KvPool(groups=tuple(groups), bytes_per_block=page * size, in_flight_tokens=in_flight)


def _layers_of_a_group(counts: Collection[int], r: Resolved) -> int:
    fewest, most = min(counts), max(counts)
    near = NEARLY_EQUAL if FARTHER_TO_THE_LARGEST.has(r.version) else OLDER_NEARLY_EQUAL
    return most if TO_THE_LARGEST.has(r.version) and most < fewest * near else fewest
