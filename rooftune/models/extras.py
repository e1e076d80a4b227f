"""Weights beside attention and MLP: Gemma's inputs per layer and its extra residual streams."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.models.keys import Keys
from rooftune.models.refusals import not_modelled


@dataclass(frozen=True)
class OtherWeights:
    """Numbers of weights."""

    tables: int = 0
    """Of which a token reads one row."""
    matrices: int = 0


def other_weights(k: Keys, hidden: int, layers: int) -> OtherWeights:
    """Weights of per-layer inputs (Gemma 3n and 4) and of alternating updates and low-rank residuals (Gemma 3n)."""
    each, words = k.number("hidden_size_per_layer_input") or 0, k.number("vocab_size_per_layer_input") or 0
    rank, streams = k.number("laurel_rank") or 0, k.number("altup_num_inputs") or 1
    for key in ("altup_active_idx", "altup_coef_clip", "altup_correct_scale", "altup_lr_multiplier"):
        k.understood.add(key)
    projected = k.number("word_embed_proj_dim")
    if projected and projected != hidden:
        raise not_modelled(k.model, "word_embed_proj_dim", "embeddings that are projected to the width of the layers")
    gates = layers * 2 * hidden * each
    projections = hidden * layers * each + layers * 2 * hidden * rank + 2 * (streams - 1) * hidden * hidden
    return OtherWeights(words * layers * each, gates + projections)
