"""LoRA adapters: the flags that a server needs for those of a workload, the adapters that flags name, and their memory.

vLLM reserves every slot at the highest rank for all matrices that may have an adapter: A (rank x input) and B (output x
rank) for each. Of matrices that are split by output A is whole on each GPU, of those that are split by input B is
(``lora/layers`` and ``lora/model_manager.py`` of vLLM 0.32.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rooftune.models.facts import ModelFacts
from rooftune.models.layers import AttentionLayers, MlpLayers
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.adapters import LoraAdapter

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of ``max_lora_rank`` (config/lora.py of vLLM 0.32.0)."""
DEFAULT_RANK = 16
BYTES = 2.0
"""Of a value: ``lora_dtype`` follows the model, which has 16 bits."""
WITH_EMBEDDING = {
    "ApertusForCausalLM", "CohereForCausalLM", "ExaoneForCausalLM", "Exaone4ForCausalLM", "GraniteForCausalLM",
    "GraniteMoeForCausalLM", "LlamaForCausalLM", "MiniCPMForCausalLM", "MistralForCausalLM", "MixtralForCausalLM",
    "NemotronForCausalLM", "PhiMoEForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "SolarForCausalLM",
}  # fmt: skip
"""Architectures with ``embedding_modules``: adapters may change their embedding and LM head as well."""


def adapter_flags(adapters: Sequence[LoraAdapter]) -> dict[str, FlagValue]:
    """The flags with which a server has these adapters, all of them in one batch. One without a path is its name."""
    if not adapters:
        return {}
    flags: dict[str, FlagValue] = {"enable_lora": True, "max_loras": len(adapters)}
    rank = max(a.rank or DEFAULT_RANK for a in adapters)
    if rank > DEFAULT_RANK:
        flags["max_lora_rank"] = next(r for r in RANKS if r >= rank)
    flags["lora_modules"] = " ".join(f"{a.name}={a.path or a.name}" for a in adapters)
    return flags


def adapter_names(flags: Mapping[str, FlagValue]) -> list[str]:
    """The names of the adapters that ``lora_modules`` has."""
    return [word.partition("=")[0] for word in str(flags.get("lora_modules") or "").split() if "=" in word]


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
