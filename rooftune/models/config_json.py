"""Model facts from a Hugging Face ``config.json``: dense models and mixtures, any head layout, any common quantisation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rooftune.errors import InputError
from rooftune.models.facts import ModelFacts

KEYS: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model", "n_embed"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
    "intermediate": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "position": ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_sequence_length"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "experts_per_token", "moe_topk"),
}
"""Names of one fact in the configurations of different architectures."""
PLAIN_MLP = {"gpt2", "gpt_bigcode", "gpt_neox", "gptj", "opt", "falcon", "phi", "starcoder2", "bloom", "mpt"}
"""Architectures whose MLP has two matrices; all others have a gate as a third."""
TIED = {
    "gpt2",
    "gpt_bigcode",
    "opt",
    "falcon",
    "bloom",
    "mpt",
    "starcoder2",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "cohere",
    "cohere2",
}
"""Architectures whose LM head is the embedding when config.json does not say."""
METHODS = {
    "awq": "awq",
    "gptq": "gptq",
    "auto-round": "gptq",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "int8": "int8",
    "mxfp4": "mxfp4",
}
METHODS |= {"bitsandbytes": "bitsandbytes", "experts_int8": "int8"}


def from_config(path: Path) -> ModelFacts:
    """Facts from a ``config.json`` or the folder that holds one.

    Raises:
        InputError: no such file, not JSON, a key is missing, or an architecture whose costs are not modelled.
    """
    file = path / "config.json" if path.is_dir() else path
    name = path.resolve().name if path.is_dir() else path.stem
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return from_mapping(config, name)
    except FileNotFoundError:
        raise InputError(f"{path} has no config.json; name the folder of a Hugging Face model.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not a valid config.json ({error}).") from None
    except KeyError as error:
        raise InputError(f"{file} has no {error}; rooftune knows decoder-only transformers.") from None


def from_mapping(config: dict[str, Any], name: str) -> ModelFacts:
    """Facts from the content of a config.json; of a multimodal model its language part."""
    c = {**config, **(config.get("text_config") or {})}
    _refuse(c, name)
    heads, hidden = int(_get(c, "heads")), int(_get(c, "hidden"))
    kind = str(c.get("model_type", ""))
    window, sliding = _window(c)
    return ModelFacts(
        name=name,
        architecture=(config.get("architectures") or ["unknown"])[0],
        layers=int(_get(c, "layers")),
        hidden_size=hidden,
        heads=heads,
        kv_heads=_kv_heads(c, heads),
        head_dim=int(c.get("head_dim") or c.get("kv_channels") or hidden // heads),
        vocab_size=int(_get(c, "vocab")),
        max_position=int(_get(c, "position", 2048)),
        tied_embeddings=bool(config.get("tie_word_embeddings", c.get("tie_word_embeddings", kind in TIED))),
        sliding_window=window,
        sliding_layers=sliding,
        gated_mlp=kind not in PLAIN_MLP,
        dtype=str(c.get("torch_dtype") or c.get("dtype") or "float16"),
        source="config.json",
        **_mlp(c, hidden),
        **quantization_of(config.get("quantization_config") or c.get("quantization_config"), name),
    )


def _get(c: dict[str, Any], fact: str, default: Any = None) -> Any:
    for key in KEYS[fact]:
        if c.get(key) is not None:
            return c[key]
    if default is None:
        raise KeyError(KEYS[fact][0])
    return default


def _refuse(c: dict[str, Any], name: str) -> None:
    """Refuse what would be costed wrongly."""
    layer_types = set(c.get("layer_types") or [])
    if c.get("kv_lora_rank"):
        why = "multi-head latent attention"
    elif c.get("is_encoder_decoder"):
        why = "an encoder beside its decoder"
    elif layer_types - {"full_attention", "sliding_attention", "chunked_attention"}:
        why = f"layers that are not attention ({', '.join(sorted(layer_types - {'full_attention', 'sliding_attention'}))})"
    elif any(a.endswith(("ForMaskedLM", "ForSequenceClassification")) for a in c.get("architectures") or []):
        why = f"no text generation ({c['architectures'][0]})"
    else:
        return
    raise InputError(f"{name} has {why}, whose costs rooftune does not model; use a decoder-only transformer.")


def _kv_heads(c: dict[str, Any], heads: int) -> int:
    if c.get("model_type") == "falcon" and not c.get("new_decoder_architecture"):
        return 1 if c.get("multi_query", True) else heads
    if c.get("multi_query") and not any(c.get(k) for k in KEYS["kv_heads"]):
        return 1
    return int(_get(c, "kv_heads", heads))


def _window(c: dict[str, Any]) -> tuple[int | None, int | None]:
    """(sliding window, number of layers that have it; None = all)."""
    window = c.get("sliding_window") if c.get("use_sliding_window", True) else None
    if not window:
        return None, None
    types = c.get("layer_types")
    if types:
        count = types.count("sliding_attention")
        return (int(window), count) if count else (None, None)
    layers = int(_get(c, "layers"))
    if c.get("model_type") == "gemma2":
        return int(window), layers // 2
    pattern = c.get("sliding_window_pattern")
    return int(window), layers - layers // int(pattern) if pattern else None


def _mlp(c: dict[str, Any], hidden: int) -> dict[str, Any]:
    """The fields of ModelFacts that describe the MLP."""
    experts = int(_get(c, "experts", 1))
    wide = int(_get(c, "intermediate", 4 * hidden))
    if experts == 1:
        return {"intermediate_size": wide}
    width = int(c.get("moe_intermediate_size") or wide)
    shared = int(c.get("shared_expert_intermediate_size") or (c.get("n_shared_experts") or 0) * width)
    return {
        "intermediate_size": width,
        "experts": experts,
        "experts_per_token": int(_get(c, "experts_per_token", 1)),
        "shared_expert_intermediate_size": shared,
        "dense_layers": int(c.get("first_k_dense_replace") or len(c.get("mlp_only_layers") or [])),
        "dense_intermediate_size": wide,
    }


def quantization_of(q: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """The fields of ModelFacts that a ``quantization_config`` tells: quantization, group_size, weight_bits.

    Raises:
        InputError: a method whose weights rooftune cannot size.
    """
    if not q:
        return {}
    method = str(q.get("quant_method", "")).lower()
    if method in ("compressed-tensors", "compressed_tensors"):
        return _compressed_tensors(q, name)
    if method == "modelopt" or "quant_algo" in q:
        method = "nvfp4" if "FP4" in str(q.get("quant_algo", "")).upper() else "fp8"
        return {"quantization": method, "group_size": 16 if method == "nvfp4" else 128}
    if method not in METHODS:
        raise InputError(
            f"{name} is quantised with {method or 'an unnamed method'}, which rooftune cannot size; known: {', '.join(METHODS)}, "
            "compressed-tensors, modelopt."
        )
    fields: dict[str, Any] = {"quantization": METHODS[method], "group_size": int(q.get("group_size") or 128)}
    if method == "bitsandbytes":
        fields |= {"group_size": 64, "weight_bits": 8 if q.get("load_in_8bit") or q.get("_load_in_8bit") else 4}
    elif method == "mxfp4":
        fields["group_size"] = 32
    elif q.get("bits"):
        fields["weight_bits"] = int(q["bits"])
    return fields


def _compressed_tensors(q: dict[str, Any], name: str) -> dict[str, Any]:
    groups = list((q.get("config_groups") or {}).values())
    if not groups:
        raise InputError(
            f"{name} has a compressed-tensors quantisation without config_groups; rooftune cannot size its weights."
        )
    weights = groups[0].get("weights") or {}
    bits, kind = int(weights.get("num_bits") or 8), str(weights.get("type") or "int")
    group = int(weights.get("group_size") or -1)
    if kind == "float":
        return {"quantization": "fp8" if bits == 8 else "nvfp4", "group_size": group}
    if groups[0].get("input_activations") and bits == 8:
        return {"quantization": "int8", "group_size": group}
    return {"quantization": "gptq", "group_size": group, "weight_bits": bits}
