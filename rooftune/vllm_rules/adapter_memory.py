"""What LoRA adapters hold on one GPU: vLLM reserves every slot at the highest rank for all matrices that may have one.

Read in ``lora/layers`` and ``lora/model_manager.py`` of vLLM 0.32.0. A slot has for each matrix A (rank x input) and B
(output x rank). Of matrices that are split by output A is whole on each GPU, of those that are split by input B is.
"""

from __future__ import annotations

from rooftune.models.facts import ModelFacts
from rooftune.models.layers import AttentionLayers, MlpLayers

BYTES = 2.0
"""Of a value: ``lora_dtype`` follows the model, which has 16 bits."""
WITH_EMBEDDING = frozenset(
    [
        "ApertusForCausalLM",
        "CohereForCausalLM",
        "ExaoneForCausalLM",
        "Exaone4ForCausalLM",
        "GraniteForCausalLM",
        "GraniteMoeForCausalLM",
        "LlamaForCausalLM",
        "MiniCPMForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "NemotronForCausalLM",
        "PhiMoEForCausalLM",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "SolarForCausalLM",
    ]
)
"""Architectures with ``embedding_modules``: adapters may change their embedding and LM head as well."""


def adapter_bytes(facts: ModelFacts, slots: int, rank: int, tensor_parallel: int = 1) -> float:
    """Bytes of all slots on one GPU."""
    if not slots:
        return 0.0
    h, n = facts.hidden_size, tensor_parallel
    widths = sum(a.count * _attention(a, h, n) for a in facts.attention)
    widths += sum(m.count * _mlp(m, h, n) for m in facts.mlp)
    if facts.architecture in WITH_EMBEDDING:
        widths += 2 * (facts.vocab_size + h)
    return BYTES * slots * rank * widths


def _attention(a: AttentionLayers, hidden: int, n: int) -> float:
    """Inputs and outputs of the projections of a layer, summed."""
    heads = a.heads / n
    key_value = max(a.kv_heads / n, 1) * (0, a.head_dim, a.head_dim + a.v_dim)[a.kv_projections]
    return (1 + a.kv_projections) * hidden + heads * a.head_dim + key_value + heads * a.v_dim + hidden


def _mlp(m: MlpLayers, hidden: int, n: int) -> float:
    """The same of an MLP: a plain one, shared experts, a router, and each expert."""

    def one(width: float) -> float:
        return m.matrices * (hidden + width / n) if width else 0.0

    return (
        one(m.width) + one(m.shared_width) + m.experts * one(m.expert_width) + (hidden + m.experts if m.experts else 0)
    )
