"""What a model costs: bytes to hold and to read, floating point operations to compute."""

from __future__ import annotations

from rooftune.models.facts import ModelFacts

WEIGHT_BITS = {None: 16, "fp8": 8, "int8": 8, "awq": 4, "gptq": 4, "mxfp4": 4, "nvfp4": 4, "bitsandbytes": 4}
"""Bits of a weight in a layer's matrix by quantisation, where ``ModelFacts.weight_bits`` does not say otherwise."""
SCALE_BYTES = {"awq": 2.5, "gptq": 2.5, "mxfp4": 1.0, "nvfp4": 1.0, "bitsandbytes": 4.0}
"""Bytes for each group of weights: AWQ and GPTQ have an FP16 scale and a 4-bit zero point, the others a scale. FP8 and
INT8 have one scale per row or matrix, which is left out."""


def bytes_per_linear_weight(facts: ModelFacts) -> float:
    """Bytes of one weight in a layer's matrix, with its share of scales and zero points."""
    bits = facts.weight_bits or WEIGHT_BITS.get(facts.quantization, 16)
    group = facts.group_size if facts.group_size > 0 else facts.hidden_size
    return bits / 8 + SCALE_BYTES.get(facts.quantization or "", 0.0) / group


def linear_bytes(facts: ModelFacts, active_only: bool = False) -> float:
    """Bytes of the layers' matrices."""
    count = facts.active_linear_parameters if active_only else facts.linear_parameters
    return count * bytes_per_linear_weight(facts)


def touched_linear_bytes(facts: ModelFacts, tokens: float) -> float:
    """Bytes of the layers' matrices that a step with this many tokens reads: of a mixture only the experts in use.

    Experts are taken as chosen evenly and independently.
    """
    if facts.experts == 1:
        return linear_bytes(facts)
    chosen: float = 1 - (1 - facts.experts_per_token / facts.experts) ** tokens
    always = facts.active_linear_parameters - _expert_weights(facts, facts.experts_per_token)
    weights = always + chosen * _expert_weights(facts, facts.experts)
    return weights * bytes_per_linear_weight(facts)


def _expert_weights(facts: ModelFacts, experts: int) -> int:
    per_expert = (3 if facts.gated_mlp else 2) * facts.hidden_size * facts.intermediate_size
    return (facts.layers - facts.dense_layers) * experts * per_expert


def lm_head_bytes(facts: ModelFacts) -> float:
    """Bytes of the LM head (16 bits, not quantised)."""
    return facts.embedding_parameters * 2.0


def weight_bytes(facts: ModelFacts, tensor_parallel: int = 1) -> float:
    """Bytes of all weights on one GPU: matrices as quantised, embedding and LM head in 16 bits."""
    tables = 1 if facts.tied_embeddings else 2
    return (linear_bytes(facts) + tables * lm_head_bytes(facts)) / tensor_parallel


def attention_flops(facts: ModelFacts, query_key_pairs: float) -> float:
    """FLOPs of attention for this many query-key pairs: 4 · heads · head_dim per pair and layer (QK and PV)."""
    return 4.0 * facts.layers * facts.heads * facts.head_dim * query_key_pairs


def full_kv_share(facts: ModelFacts) -> float:
    """Share of the KV bytes that is in layers without a sliding window."""
    return 1 - facts.windowed_layers / facts.layers


def full_arithmetic_share(facts: ModelFacts) -> float:
    """Share of attention's FLOPs per query-key pair that is in layers without a sliding window."""
    return 1 - facts.windowed_layers / facts.layers


def flops_per_token(facts: ModelFacts, context: float, *, lm_head: bool = True) -> float:
    """FLOPs of one token at a context length: two per weight that it goes through, and attention."""
    weights = facts.active_linear_parameters + (facts.embedding_parameters if lm_head else 0)
    return 2.0 * weights + attention_flops(facts, facts.attended(context))


def kv_read_bytes(facts: ModelFacts, batch: float, context: float, kv_bytes_per_value: float = 2.0) -> float:
    """Bytes of KV cache that one decode step reads: of every sequence what its layers look back at."""
    return batch * facts.attended(context) * facts.kv_bytes_per_token(kv_bytes_per_value)


def decode_bytes(facts: ModelFacts, batch: float, context: float, kv_bytes_per_value: float = 2.0) -> float:
    """Bytes that one decode step must read: weights once, LM head once, the KV cache of every sequence."""
    weights = touched_linear_bytes(facts, batch) + lm_head_bytes(facts)
    return weights + kv_read_bytes(facts, batch, context, kv_bytes_per_value)


def prefill_flops(facts: ModelFacts, tokens: float) -> float:
    """FLOPs of the prefill of one prompt: layers for every token, causal attention, LM head for the last token."""
    linear = 2.0 * facts.active_linear_parameters * tokens
    return linear + attention_flops(facts, causal_pairs(facts, tokens)) + 2.0 * facts.embedding_parameters


def causal_pairs(facts: ModelFacts, tokens: float) -> float:
    """Query-key pairs of a prompt under causal attention, as the mean over the layers."""
    whole = tokens * tokens / 2
    window = facts.sliding_window
    if not window or tokens <= window:
        return whole
    share = facts.windowed_layers / facts.layers
    return share * (tokens * window - window * window / 2) + (1 - share) * whole


def prefill_bytes(facts: ModelFacts, tokens: float, kv_bytes_per_value: float = 2.0) -> float:
    """Bytes that the prefill of this many tokens in one step must move: weights and LM head once, KV written once."""
    written = tokens * facts.kv_bytes_per_token(kv_bytes_per_value)
    return touched_linear_bytes(facts, tokens) + lm_head_bytes(facts) + written
