"""Weights of the vision tower of a multimodal model, as far as its config.json gives the sizes."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.errors import InputError
from rooftune.models.keys import Json, Keys

GATED = ("pixtral", "qwen2_5_vl", "gemma4_vision", "glm4v_vision", "kimi_vl")
"""Towers whose MLP has a gate."""
DEPTH = ("num_hidden_layers", "depth", "vt_num_hidden_layers", "layers")
WIDTH = ("embed_dim", "hidden_size", "vt_hidden_size", "width")
INTERMEDIATE = ("intermediate_size", "vt_intermediate_size")


@dataclass(frozen=True)
class Tower:
    """Weights of a vision tower with its projector, and what could not be sized."""

    parameters: int = 0
    notes: tuple[str, ...] = ()


def vision_tower(config: Json, text_hidden: int, name: str) -> Tower:
    """The vision tower of a whole config.json; empty where the model has none.

    Towers are sized by their layers; where the projector into the language model is known, by that too.
    """
    multimodal = any(str(a).endswith("ForConditionalGeneration") for a in _list(config.get("architectures")))
    vision = next((config[key] for key in ("vision_config", "vit_config") if isinstance(config.get(key), dict)), None)
    notes = tuple(
        f"the {key.removesuffix('_config')} part of the model is left out of the weights"
        for key in ("audio_config", "speech_config", "talker_config", "code2wav_config")
        if isinstance(config.get(key), dict)
    )
    if vision is None or not isinstance(vision, dict) or not vision:
        if multimodal and not notes:
            notes = ("config.json does not size the vision tower, so its weights are left out",)
        return Tower(0, notes)
    try:
        parameters = _parameters(Keys(vision, f"{name}, vision_config"), str(config.get("model_type")), text_hidden)
    except InputError:
        return Tower(0, ("vision_config does not size the vision tower, so its weights are left out", *notes))
    return Tower(parameters, notes)


def _parameters(k: Keys, family: str, text_hidden: int) -> int:
    kind = k.text("model_type") or ""
    depth, hidden = k.needed(*DEPTH), k.needed(*WIDTH[:1]) if k.holds("embed_dim") else k.needed(*WIDTH[1:])
    wide = k.number(*INTERMEDIATE) or hidden * (k.number("mlp_ratio") or 4)
    matrices = 3 if any(kind.startswith(g) or family.startswith(g) for g in GATED) else 2
    patches = k.number("patch_size", "spatial_patch_size") or 0
    stem = (k.number("in_channels", "num_channels", "in_chans") or 3) * patches * patches * hidden
    stem += 2 * hidden * (k.number("position_embedding_size") or 0)
    return depth * (4 * hidden * hidden + matrices * hidden * wide) + stem + _projector(k, family, hidden, text_hidden)


def _projector(k: Keys, family: str, hidden: int, text: int) -> int:
    """Matrices between tower and language model; 0 where they are not known."""
    if family.startswith(("qwen2_vl", "qwen2_5_vl", "qwen3_vl")):
        merged = hidden * (k.number("spatial_merge_size") or 2) ** 2
        deep = k.numbers("deepstack_visual_indexes") or []
        return (1 + len(deep)) * (merged * merged + merged * (k.number("out_hidden_size") or text))
    if family == "llama4":
        read, wide = k.number("projector_input_dim") or 0, k.number("projector_output_dim") or 0
        return (k.number("intermediate_size") or 0) * read + wide * wide + (k.number("vision_output_dim") or 0) * text
    if family.startswith("llava"):
        return hidden * text + text * text
    if family == "mistral3":
        return hidden * text + text * text + 4 * hidden * hidden
    return hidden * text if family.startswith(("gemma3", "gemma4")) else 0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
