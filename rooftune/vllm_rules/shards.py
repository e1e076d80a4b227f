"""Whether a model can be split over the GPUs of tensor parallelism: heads, widths, blocks and groups of weights.

Read in ``config/model.py``, ``distributed/utils.py`` and the ``create_weights`` of the quantisation methods.
"""

from __future__ import annotations

from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.refusals import StartRefused


def check_shards(facts: ModelFacts, config: EngineConfig) -> None:
    """Check that every GPU gets whole heads and whole groups.

    Raises:
        StartRefused: what cannot be split over ``tensor_parallel_size`` GPUs.
    """
    n = config.tensor_parallel_size or 1
    if n == 1:
        return
    if facts.heads % n:
        raise StartRefused(
            "attention-heads",
            f"Total number of attention heads ({facts.heads}) must be divisible by tensor parallel size ({n}).",
        )
    if facts.kv_heads % n and n % facts.kv_heads:
        raise StartRefused(
            "kv-heads",
            f"AssertionError: {facts.kv_heads} KV heads are neither divisible by tensor parallel size ({n}) nor divide "
            "it.",
        )
    whole_experts = facts.experts > 1 and config.other_flags.get("enable_expert_parallel") is True
    if whole_experts:
        return
    width = facts.intermediate_size
    if width % n:
        raise StartRefused("shards", f"AssertionError: {width} is not divisible by {n}")
    _check_groups(facts, width // n)


def _check_groups(facts: ModelFacts, width: int) -> None:
    """Check the scales of the weights: one GPU has whole blocks or groups of the MLP's width."""
    size = facts.group_size
    if facts.quantization in ("awq", "gptq") and size > 0 and width % size:
        raise StartRefused(
            "quantization-group",
            "The input size is not aligned with the quantized weight shape. This can be caused by too large tensor "
            f"parallel size ({width} is not a multiple of the group size {size}).",
        )
