"""The memory of one GPU, part by part."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.formatting import number
from rooftune.vllm_rules.defaults import GIB


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
    kv_bytes_per_token: float
    kv_cache_tokens: int = Field(description="a whole number of blocks")
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
    def used_bytes(self) -> int:
        """All parts inside the limit."""
        return self.weights_bytes + self.activations_bytes + self.graphs_bytes + self.kv_cache_bytes

    @property
    def free_bytes(self) -> int:
        """What is free before the engine takes anything."""
        return self.total_bytes - self.context_bytes - self.communication_bytes
