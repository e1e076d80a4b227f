"""What a model costs: bytes to hold and to read, floating point operations to compute."""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

from rooftune.models.facts import PARTS, ModelFacts, Part

Floats = npt.NDArray[np.float64]

WEIGHT_BITS = {None: 16, "fp8": 8, "int8": 8, "awq": 4, "gptq": 4, "mxfp4": 4, "nvfp4": 4, "bitsandbytes": 4}
WEIGHT_BITS |= {"mxfp8": 8, "torchao": 8}
"""Bits of a weight in a layer's matrix by quantisation, where ``ModelFacts.weight_bits`` does not say otherwise."""
SCALE_BYTES = {"awq": 2.5, "gptq": 2.5, "mxfp4": 1.0, "nvfp4": 1.0, "mxfp8": 1.0, "bitsandbytes": 4.0}
"""Bytes for each group of weights: AWQ and GPTQ have an FP16 scale and a 4-bit zero point, the others a scale. FP8 and
INT8 have one scale per row or matrix, which is left out."""


def bytes_per_linear_weight(facts: ModelFacts) -> float:
    """Bytes of one weight in a layer's matrix, with its share of scales and zero points."""
    bits = facts.weight_bits or WEIGHT_BITS.get(facts.quantization, 16)
    group = facts.group_size if facts.group_size > 0 else facts.hidden_size
    return bits / 8 + SCALE_BYTES.get(facts.quantization or "", 0.0) / group


def part_bytes(facts: ModelFacts, part: Part, *, active_only: bool = False) -> float:
    """Bytes of one kind of matrices over all layers, each as it is stored; routers are never quantised."""
    weights = facts.weights(part, active_only=active_only)
    if part == "router":
        return weights * 2.0
    apart = [a for a in facts.stored_apart if a.part == part]
    rest = 1 - sum(a.share for a in apart)
    return weights * (rest * bytes_per_linear_weight(facts) + sum(a.share * a.bits / 8 for a in apart))


def linear_bytes(facts: ModelFacts, active_only: bool = False) -> float:
    """Bytes of the layers' matrices."""
    return sum(part_bytes(facts, part, active_only=active_only) for part in PARTS)


@overload
def touched_linear_bytes(facts: ModelFacts, tokens: float) -> float: ...
@overload
def touched_linear_bytes(facts: ModelFacts, tokens: npt.NDArray[np.int64]) -> Floats: ...
def touched_linear_bytes(facts: ModelFacts, tokens: float | npt.NDArray[np.int64]) -> float | Floats:
    """Bytes of the layers' matrices that a step with this many tokens reads: of a mixture only the experts in use.

    Experts are taken as chosen evenly and independently.
    """
    every = linear_bytes(facts)
    idle = part_bytes(facts, "experts") * np.power(1 - facts.experts_per_token / facts.experts, tokens)
    left = every - (idle if facts.experts > 1 else 0.0 * idle)
    return float(left) if np.ndim(tokens) == 0 else np.asarray(left, dtype=np.float64)


def lm_head_bytes(facts: ModelFacts) -> float:
    """Bytes of the LM head: 16 bits, unless the checkpoint quantises it."""
    apart = [a for a in facts.stored_apart if a.part == "lm_head"]
    bits = 16.0 - sum(a.share * (16.0 - a.bits) for a in apart)
    return facts.embedding_parameters * bits / 8


def weight_bytes(facts: ModelFacts, tensor_parallel: int = 1) -> float:
    """Bytes of all weights on one GPU: matrices as quantised, tables and the vision tower in 16 bits."""
    tables = facts.lookup_parameters + facts.vision_parameters
    if not facts.tied_embeddings:
        tables += facts.embedding_parameters
    return (linear_bytes(facts) + lm_head_bytes(facts) + 2.0 * tables) / tensor_parallel


def attention_flops(facts: ModelFacts, query_key_pairs: float) -> float:
    """FLOPs of attention over all layers, each with this number of query-key pairs (QK and PV)."""
    return sum(a.flops_per_pair() for a in facts.attention) * query_key_pairs


def full_kv_share(facts: ModelFacts) -> float:
    """Share of the KV bytes that is read in layers without a sliding window."""
    whole = sum(a.kv_bytes(1.0) for a in facts.attention)
    return sum(a.kv_bytes(1.0) for a in facts.attention if not a.window) / whole


def full_arithmetic_share(facts: ModelFacts) -> float:
    """Share of attention's FLOPs per query-key pair that is in layers without a sliding window."""
    return sum(a.flops_per_pair() for a in facts.attention if not a.window) / attention_flops(facts, 1.0)


def flops_per_token(facts: ModelFacts, context: float, *, lm_head: bool = True) -> float:
    """FLOPs of one token at a context length: two per weight that it goes through, and attention."""
    weights = facts.active_linear_parameters + (facts.embedding_parameters if lm_head else 0)
    return 2.0 * weights + sum(a.flops_per_pair() * a.attended(context) for a in facts.attention)


def kv_read_bytes(
    facts: ModelFacts, batch: float, context: float, kv_bytes_per_value: float = 2.0, tensor_parallel: int = 1
) -> float:
    """Bytes of KV cache that one decode step reads on one GPU: of every sequence what its layers look back at."""
    read = (a.attended(context) * a.kv_bytes(kv_bytes_per_value, tensor_parallel) for a in facts.attention)
    return batch * sum(read)


def decode_bytes(facts: ModelFacts, batch: float, context: float, kv_bytes_per_value: float = 2.0) -> float:
    """Bytes that one decode step must read: weights once, LM head once, the KV cache of every sequence."""
    weights = touched_linear_bytes(facts, batch) + lm_head_bytes(facts)
    return weights + kv_read_bytes(facts, batch, context, kv_bytes_per_value)


def prefill_flops(facts: ModelFacts, tokens: float) -> float:
    """FLOPs of the prefill of one prompt: layers for every token, causal attention, LM head for the last token."""
    linear = 2.0 * facts.active_linear_parameters * tokens
    attention = sum(a.flops_per_pair() * a.causal_pairs(tokens) for a in facts.attention)
    return linear + attention + 2.0 * facts.embedding_parameters


def prefill_bytes(facts: ModelFacts, tokens: float, kv_bytes_per_value: float = 2.0) -> float:
    """Bytes that the prefill of this many tokens in one step must move: weights and LM head once, KV written once."""
    written = tokens * facts.kv_bytes_per_token(kv_bytes_per_value)
    return touched_linear_bytes(facts, tokens) + lm_head_bytes(facts) + written
