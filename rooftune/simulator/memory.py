"""How many tokens the KV cache holds: what is left of the GPU's memory after weights and activations."""

from __future__ import annotations

from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import weight_bytes
from rooftune.models.facts import ModelFacts
from rooftune.simulator.blocks import BLOCK_TOKENS
from rooftune.simulator.resolve import GIB, Resolved

OVERHEAD_BYTES = 0.05 * GIB
"""What the weights take beyond their own bytes (3.67 GiB in the log of the T4 run against 3.62 counted)."""


def kv_cache_bytes(gpu: Accelerator, facts: ModelFacts, r: Resolved) -> float:
    """Bytes left for the KV cache of one GPU.

    The activation peak grows with the token budget and, for the sampler's logits, with ``max_num_seqs``; its two constants are
    set by the two T4 logs: 18,608 tokens by default and 18,640 with ``--max-num-seqs 8``.
    """
    weights = weight_bytes(facts, r.tensor_parallel) + OVERHEAD_BYTES
    graphs = 0.3 * GIB if r.cuda_graphs else 0.0
    return r.gpu_memory_utilization * gpu.memory_bytes - weights - activation_bytes(facts, r) - graphs


def activation_bytes(facts: ModelFacts, r: Resolved) -> float:
    """Peak of activations while vLLM profiles: hidden and MLP states of a full budget, logits of all sequences."""
    per_token = 2.0 * (2 * facts.hidden_size + 2 * facts.intermediate_size) / r.tensor_parallel
    logits = 2.0 * facts.vocab_size * r.max_num_seqs
    return r.max_num_batched_tokens * per_token + logits + 0.215 * GIB


def kv_cache_tokens(gpu: Accelerator, facts: ModelFacts, r: Resolved) -> int:
    """Tokens of the KV cache, a whole number of blocks.

    Raises:
        EngineError: nothing is left, or less than one sequence of ``max_model_len``.
    """
    space = kv_cache_bytes(gpu, facts, r)
    per_token = facts.kv_bytes_per_token(r.kv_bytes_per_value) / r.tensor_parallel
    if space <= 0:
        raise EngineError(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
            "no KV memory",
        )
    tokens = int(space / (per_token * BLOCK_TOKENS)) * BLOCK_TOKENS
    if tokens < r.max_model_len:
        raise EngineError(
            f"To serve at least one request with the model's max seq len ({r.max_model_len}), "
            f"({r.max_model_len * per_token / GIB:.2f} GiB KV cache is needed, which is larger than the available KV cache memory "
            f"({space / GIB:.2f} GiB). Based on the available memory, the estimated maximum model length is {tokens}.",
            "max_model_len",
        )
    return tokens
