"""The memory of one GPU, part by part."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rooftune.formatting import number
from rooftune.vllm_rules.defaults import GIB
from rooftune.vllm_rules.kv_cache import BLOCK_TOKENS
from rooftune.vllm_rules.kv_groups import Floats, KvPool


class MemoryBudget(BaseModel):
    """What the memory of one GPU holds when the engine has started, in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    total_bytes: int = Field(description="memory of the device that torch sees")
    context_bytes: int = Field(description="CUDA context and driver, outside of what the engine takes")
    communication_bytes: int = Field(description="buffers of NCCL, outside of what the engine takes")
    limit_bytes: int = Field(description="what the engine takes: the utilisation, or what a size of the cache comes to")
    weights_bytes: int
    activations_bytes: int = Field(description="peak while vLLM profiles, with workspaces and the sampler")
    sampler_bytes: int = Field(description="warm-up of the sampler, part of the activations")
    graphs_bytes: int = Field(description="CUDA graphs that the engine subtracts from its limit")
    graphs_beyond_limit_bytes: int = Field(description="CUDA graphs that come on top of the limit (before vLLM 0.21)")
    kv_cache_bytes: int
    kv_bytes_per_token: float = Field(description="of all layers, while no window has passed the token")
    kv_cache_tokens: int = Field(description="as the engine logs them")
    kv_cache_blocks: int
    pool: KvPool
    longest_request_tokens: int = Field(description="max_model_len: one such request must fit")
    longest_request_bytes: int = Field(description="KV cache of one such request; layers with a window stop growing")

    @property
    def sentence(self) -> str:
        """The parts in GiB, without a full stop."""
        graphs = self.graphs_bytes + self.graphs_beyond_limit_bytes
        parts = {
            "weights": self.weights_bytes,
            "activations": self.activations_bytes,
            "CUDA graphs": graphs,
            "NCCL": self.communication_bytes,
            "KV cache": self.kv_cache_bytes,
        }
        named = ", ".join(f"{number(size / GIB)} {name}" for name, size in parts.items() if size)
        return f"memory of one GPU in GiB: {named}; {number(self.total_bytes / GIB)} in all"

    @property
    def max_concurrency(self) -> float:
        """Requests of the maximum length that the KV cache holds, as the engine logs it."""
        return self.kv_cache_blocks / self.pool.reserved_blocks(self.longest_request_tokens)

    def scheduled_tokens(self, contexts: Floats | None = None, weights: Floats | None = None) -> int:
        """The pool in tokens, as the simulated scheduler counts them: a whole number of blocks of 16.

        The scheduler gives every token the same room. Where windows give blocks back, that room is the mean over the
        contexts at which sequences run; without these, sequences are taken to be shorter than every window.
        """
        if not self.pool.has_windows:
            return self.kv_cache_blocks * BLOCK_TOKENS
        seen = np.array([BLOCK_TOKENS], np.float64) if contexts is None or not len(contexts) else contexts
        tokens = int(self.kv_cache_blocks * self.pool.tokens_per_block(seen, weights)) // BLOCK_TOKENS
        longest = -(-self.longest_request_tokens // BLOCK_TOKENS) + 1
        return max(tokens, longest) * BLOCK_TOKENS

    @property
    def used_bytes(self) -> int:
        """All parts inside the limit."""
        return self.weights_bytes + self.activations_bytes + self.graphs_bytes + self.kv_cache_bytes

    @property
    def free_bytes(self) -> int:
        """What is free before the engine takes anything."""
        return self.total_bytes - self.context_bytes - self.communication_bytes
