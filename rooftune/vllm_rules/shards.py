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
    for layers in facts.attention:
        _check_heads(layers.heads, layers.kv_heads, n)
    experts_are_whole = config.other_flags.get("enable_expert_parallel") is True
    for mlp in facts.mlp:
        widths = [mlp.width, mlp.shared_width, *([] if experts_are_whole else [mlp.expert_width])]
        for width in filter(None, widths):
            _check_width(width, n)
            _check_scales(facts, width // n, experts=width == mlp.expert_width)


def _check_heads(heads: int, kv_heads: int, n: int) -> None:
    if heads % n:
        raise StartRefused(
            "attention-heads",
            f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({n}).",
        )
    if kv_heads % n and n % kv_heads:
        raise StartRefused(
            "kv-heads",
            f"AssertionError: {kv_heads} KV heads are neither divisible by tensor parallel size ({n}) nor divide it.",
        )


def _check_width(width: int, n: int) -> None:
    if width % n:
        raise StartRefused("shards", f"AssertionError: {width} is not divisible by {n}")


def _check_scales(facts: ModelFacts, width: int, *, experts: bool) -> None:
    """Check the scales of the weights: one GPU has whole blocks or groups of the MLP's width."""
    group, block = facts.group_size, facts.fp8_block
    if facts.quantization in ("awq", "gptq") and group > 0 and width % group:
        raise StartRefused(
            "quantization-group",
            "The input size is not aligned with the quantized weight shape. This can be caused by too large tensor "
            f"parallel size ({width} is not a multiple of the group size {group}).",
        )
    if facts.quantization == "fp8" and block and width % block:
        what = "The output_size of gate's and up's weight" if experts else "Weight output_partition_size"
        raise StartRefused("fp8-block", f"{what} = {width} is not divisible by weight quantization block_n = {block}.")
