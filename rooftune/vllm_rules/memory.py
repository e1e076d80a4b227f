"""How many tokens the KV cache holds: the accelerator's memory without weights, activations and CUDA graphs.

Read in ``v1/worker/gpu_worker.py`` (determine_available_memory: 0.11.0 line 222, 0.15.1 284, 0.19.1 332, 0.23.0 372,
0.29.0 513, 0.32.0 634, 0.33.0 641) and ``v1/worker/cpu_worker.py``; the sizes of activations are fitted.
"""

from __future__ import annotations

from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import weight_bytes
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.defaults import GIB
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.vllm_rules.versions import Releases

BLOCK_TOKENS = 16
"""Tokens of one block of the simulated KV cache (vLLM's default on CUDA)."""
OVERHEAD_BYTES = 0.05 * GIB
"""What the weights take beyond their own bytes (3.67 GiB in the log of the T4 run, 3.62 GiB by arithmetic)."""
FIXED_ACTIVATION_BYTES = 0.215 * GIB
"""Workspaces and buffers; set, with the logits below, by the two logs of the T4 run: 18,608 and 18,640 tokens."""
GRAPHS_ARE_SUBTRACTED = Releases(since="0.21")
"""The memory of CUDA graphs is subtracted ("default since v0.21.0", as the log of 0.29 says); before, graphs came on
top of the utilisation."""
CPU_SHARE = Releases(since="0.23")
"""A CPU engine takes gpu_memory_utilization of the memory; 0.15 and 0.19 take half of it, 0.11 takes 4 GiB."""
CPU_HALF = Releases(since="0.15")
NO_MEMORY = (
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
)


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
            f"{r.max_model_len * per_token / GIB:.2f} GiB KV cache is needed, which is larger than the available KV "
            f"cache memory ({space / GIB:.2f} GiB). Based on the available memory, the estimated maximum model length "
            f"is {tokens}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the "
            "engine.",
            "max_model_len",
        )
    return tokens


def kv_bytes_of_one_gpu(facts: ModelFacts, r: Resolved) -> float:
    """Bytes of KV cache per token on one GPU: heads are split, at least one stays on each."""
    return facts.kv_bytes_per_token(r.kv_bytes_per_value, r.tensor_parallel)


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
            f"CUDA out of memory. Tried to allocate {facts.hidden_size * facts.intermediate_size * 4 / 2**20:.2f} MiB. "
            f"GPU 0 has a total capacity of {gpu.memory_bytes / GIB:.2f} GiB of which 0 bytes is free. The weights of "
            f"{facts.name} take {weights / GIB:.1f} GiB on each of {r.tensor_parallel} GPU.",
            "oom",
        )
    if gpu.kind == "cpu":
        return _cpu_bytes(gpu, r, weights)
    left = r.gpu_memory_utilization * gpu.memory_bytes - weights - activation_bytes(facts, r) - graph_bytes(facts, r)
    if left <= 0:
        raise EngineError(NO_MEMORY, "no kv memory")
    return left


def activation_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Peak of activations while vLLM profiles: hidden and MLP states of a full budget, logits of all sequences."""
    width = 2 * facts.hidden_size + 2 * facts.intermediate_size * facts.experts_per_token
    logits = 2.0 * facts.vocab_size * r.max_num_seqs
    return r.max_num_batched_tokens * 2.0 * width / r.tensor_parallel + logits + FIXED_ACTIVATION_BYTES


def graph_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Memory of the CUDA graphs where the version subtracts it: some MiB for each captured size and layer."""
    if not GRAPHS_ARE_SUBTRACTED.has(r.version):
        return 0.0
    return len(r.capture_sizes) * facts.layers * 0.25 * 2**20


def _cpu_bytes(gpu: Accelerator, r: Resolved, weights: float) -> float:
    """The KV cache of a CPU engine without VLLM_CPU_KVCACHE_SPACE, on a machine with one memory node."""
    if CPU_SHARE.has(r.version):
        left = r.gpu_memory_utilization * gpu.memory_bytes - weights
    else:
        left = 0.5 * gpu.memory_bytes if CPU_HALF.has(r.version) else 4.0 * GIB
    if left <= 0:
        raise EngineError(NO_MEMORY, "no kv memory")
    return left
