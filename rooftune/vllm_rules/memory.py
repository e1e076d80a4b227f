"""How many tokens the KV cache holds: what is left of the accelerator's memory after weights, activations and graphs."""

from __future__ import annotations

from packaging.version import Version

from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import weight_bytes
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import GIB, Resolved, capture_sizes, resolve

BLOCK_TOKENS = 16
"""Tokens of one KV block (vLLM's default on CUDA)."""
OVERHEAD_BYTES = 0.05 * GIB
"""What the weights take beyond their own bytes (3.67 GiB in the log of the T4 run against 3.62 counted)."""
FIXED_ACTIVATION_BYTES = 0.215 * GIB
"""Workspaces and buffers; set, with the logits below, by the two logs of the T4 run: 18,608 and 18,640 tokens."""
GRAPHS_COUNT = Version("0.21")
"""From here on vLLM counts CUDA graphs in its memory profile; before, they came on top of the utilisation."""
CPU_KV_BYTES = 4 * GIB
"""vLLM's default of VLLM_CPU_KVCACHE_SPACE."""


def kv_cache_tokens(
    gpu: Accelerator, facts: ModelFacts, config: EngineConfig | Resolved, engine_version: str | None = None
) -> int:
    """Tokens of the KV cache, a whole number of blocks.

    Raises:
        EngineError: the weights do not fit, nothing is left, or less than one sequence of ``max_model_len``.
    """
    r = resolve(gpu, facts, config, engine_version or "0.32.0") if isinstance(config, EngineConfig) else config
    per_token = kv_bytes_of_one_gpu(facts, r)
    if r.kv_blocks_override:
        tokens, space = r.kv_blocks_override * BLOCK_TOKENS, r.kv_blocks_override * BLOCK_TOKENS * per_token
    else:
        space = kv_cache_bytes(gpu, facts, r)
        tokens = int(space / (per_token * BLOCK_TOKENS)) * BLOCK_TOKENS
    if tokens < r.max_model_len:
        raise EngineError(
            f"To serve at least one request with the model's max seq len ({r.max_model_len}), "
            f"{r.max_model_len * per_token / GIB:.2f} GiB KV cache is needed, which is larger than the available KV cache memory "
            f"({space / GIB:.2f} GiB). Based on the available memory, the estimated maximum model length is {tokens}. Try "
            "increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
            "max_model_len",
        )
    return tokens


def kv_bytes_of_one_gpu(facts: ModelFacts, r: Resolved) -> float:
    """Bytes of KV cache per token on one GPU: heads are split, at least one stays on each."""
    return facts.kv_bytes_per_token(r.kv_bytes_per_value) * max(1 / facts.kv_heads, 1 / r.tensor_parallel)


def kv_cache_bytes(gpu: Accelerator, facts: ModelFacts, r: Resolved) -> float:
    """Bytes for the KV cache of one GPU.

    Raises:
        EngineError: the weights do not fit into memory, or leave nothing.
    """
    if r.kv_cache_memory_bytes:
        return float(r.kv_cache_memory_bytes)
    weights = weight_bytes(facts, r.tensor_parallel) + OVERHEAD_BYTES
    if weights > gpu.memory_bytes:
        raise EngineError(
            f"CUDA out of memory. Tried to allocate {facts.hidden_size * facts.intermediate_size * 4 / 2**20:.2f} MiB. GPU 0 has "
            f"a total capacity of {gpu.memory_bytes / GIB:.2f} GiB of which 0 bytes is free. The weights of {facts.name} take "
            f"{weights / GIB:.1f} GiB on each of {r.tensor_parallel} GPU.",
            "oom",
        )
    if gpu.kind == "cpu":
        return float(CPU_KV_BYTES)
    left = r.gpu_memory_utilization * gpu.memory_bytes - weights - activation_bytes(facts, r) - graph_bytes(facts, r)
    if left <= 0:
        raise EngineError(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
            "no kv memory",
        )
    return left


def activation_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Peak of activations while vLLM profiles: hidden and MLP states of a full budget, logits of all sequences."""
    width = 2 * facts.hidden_size + 2 * facts.intermediate_size * facts.experts_per_token
    logits = 2.0 * facts.vocab_size * r.max_num_seqs
    return r.max_num_batched_tokens * 2.0 * width / r.tensor_parallel + logits + FIXED_ACTIVATION_BYTES


def graph_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Memory of the CUDA graphs where the version counts it: some MiB for each captured size and layer."""
    if r.version < GRAPHS_COUNT:
        return 0.0
    return len(capture_sizes(r)) * facts.layers * 0.25 * 2**20
