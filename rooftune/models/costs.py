"""What a model costs: bytes to hold and to read, floating point operations to compute."""

from __future__ import annotations

from rooftune.models.facts import ModelFacts

BYTES_PER_WEIGHT = {None: 2.0, "fp8": 1.0, "int8": 1.0, "awq": 0.5, "gptq": 0.5}


def bytes_per_linear_weight(facts: ModelFacts) -> float:
    """Bytes of one weight in a layer's matrix, with scales and zero points.

    AWQ and GPTQ hold 4 bits, an FP16 scale and a 4-bit zero point per group; FP8 and INT8 one scale per row (left out).
    """
    bits = BYTES_PER_WEIGHT.get(facts.quantization, 2.0)
    if facts.quantization in ("awq", "gptq"):
        bits += 2.5 / facts.group_size
    elif facts.quantization is None and facts.dtype in ("float32", "float"):
        bits = 2.0
    return bits


def linear_bytes(facts: ModelFacts, active_only: bool = False) -> float:
    """Bytes of the layers' matrices."""
    count = facts.active_linear_parameters if active_only else facts.linear_parameters
    return count * bytes_per_linear_weight(facts)


def lm_head_bytes(facts: ModelFacts) -> float:
    """Bytes of the LM head (16 bits, never quantised)."""
    return facts.embedding_parameters * 2.0


def weight_bytes(facts: ModelFacts, tensor_parallel: int = 1) -> float:
    """Bytes of all weights on one GPU: matrices as quantised, embedding and LM head in 16 bits."""
    tables = 1 if facts.tied_embeddings else 2
    return (linear_bytes(facts) + tables * lm_head_bytes(facts)) / tensor_parallel


def attention_flops(facts: ModelFacts, query_key_pairs: float) -> float:
    """FLOPs of attention for so many query-key pairs: 4 · heads · head_dim per pair and layer (QK and PV)."""
    return 4.0 * facts.layers * facts.heads * facts.head_dim * query_key_pairs


def flops_per_token(facts: ModelFacts, context: float, *, lm_head: bool = True) -> float:
    """FLOPs of one token at a context length: two per weight, and attention."""
    weights = facts.active_linear_parameters + (facts.embedding_parameters if lm_head else 0)
    return 2.0 * weights + attention_flops(facts, context)


def decode_bytes(facts: ModelFacts, batch: int, context: float, kv_bytes_per_value: float = 2.0) -> float:
    """Bytes that one decode step must read: weights once, LM head once, the KV cache of every sequence."""
    active = linear_bytes(facts, active_only=facts.experts > 1 and batch * facts.experts_per_token < facts.experts)
    return active + lm_head_bytes(facts) + batch * context * facts.kv_bytes_per_token(kv_bytes_per_value)


def prefill_flops(facts: ModelFacts, tokens: int) -> float:
    """FLOPs of the prefill of one prompt (LM head for its last token)."""
    linear = 2.0 * facts.active_linear_parameters * tokens
    return linear + attention_flops(facts, tokens * tokens / 2) + 2.0 * facts.embedding_parameters
