"""Model facts from a Hugging Face ``config.json``: dense models and mixtures, any head layout and quantisation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from rooftune.errors import InputError
from rooftune.models.facts import ModelFacts

if TYPE_CHECKING:
    from typing_extensions import Required

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


MOST = 2**40
"""Largest count that a config.json may name: more than any model has of anything."""


@dataclass(frozen=True)
class Config:
    """One mapping of a config.json, read key by key with an error that names the key."""

    name: str
    """Of the model, for errors."""
    values: Mapping[str, object]

    def count(self, keys: Sequence[str], default: int | None = None, *, least: int = 1) -> int:
        """The first of these keys that is set, as a whole number.

        Raises:
            InputError: none is set and there is no default, or the value is not a count.
        """
        key = next((k for k in keys if self.values.get(k) is not None), None)
        if key is None:
            if default is None:
                raise InputError(
                    f"the config.json of {self.name} has no {keys[0]}; rooftune models decoder-only transformers."
                )
            return default
        value = self.values[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or value != value
            or not least <= value <= MOST
        ):
            raise self.invalid(key, f"a whole number of {least} or more")
        return int(value)

    def text(self, key: str) -> str:
        """A text; empty where the key is missing or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.invalid(key, "a text")
        return value or ""

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty where the key is missing or null."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.invalid(key, "a list of texts")
        return value

    def inner(self, key: str) -> Config | None:
        """A mapping inside this one; None where the key is missing, null or empty."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.invalid(key, "a JSON object")
        return Config(self.name, value) if value else None

    def invalid(self, key: str, expected: str) -> InputError:
        """The error for a value of another kind."""
        found = repr(self.values[key])
        shown = found if len(found) <= 60 else f"{found[:57]}..."
        return InputError(f"{key} in the config.json of {self.name} is {shown}, not {expected}.")


@dataclass(frozen=True)
class SlidingWindow:
    """How far a layer looks back; None = through the whole context."""

    tokens: int | None = None
    layers: int | None = None
    """Layers that have the window; None = all."""


def from_config(path: Path) -> ModelFacts:
    """Facts from a ``config.json`` or the folder that has one.

    Raises:
        InputError: no such file, not JSON, a key is missing or wrong, or an architecture whose costs are not modelled.
    """
    file = path / "config.json" if path.is_dir() else path
    name = file.resolve().parent.name if file.name == "config.json" else file.stem
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} has no config.json; name the folder of a Hugging Face model.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not a valid config.json ({error}).") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from None
    if not isinstance(config, dict):
        raise InputError(f"{file} is not a valid config.json (it is not a JSON object).")
    return from_mapping(config, name)


def from_mapping(config: Mapping[str, object], name: str) -> ModelFacts:
    """Facts from the content of a config.json; of a multimodal model its language part.

    Raises:
        InputError: a key is missing or wrong, or an architecture whose costs are not modelled.
    """
    whole = Config(name, config)
    language = whole.inner("text_config")
    c = Config(name, {**config, **(language.values if language else {})})
    _refuse(c)
    heads, hidden = c.count(KEYS["heads"]), c.count(KEYS["hidden"])
    if not c.values.get("head_dim") and not c.values.get("kv_channels") and hidden < heads:
        raise InputError(f"the config.json of {name} has more attention heads ({heads}) than hidden units ({hidden}).")
    kind = c.text("model_type")
    window = _window(c)
    tied = config.get("tie_word_embeddings", c.values.get("tie_word_embeddings", kind in TIED))
    return ModelFacts(
        name=name,
        architecture=(whole.texts("architectures") or ["unknown"])[0],
        layers=c.count(KEYS["layers"]),
        hidden_size=hidden,
        heads=heads,
        kv_heads=_kv_heads(c, heads),
        head_dim=c.count(("head_dim", "kv_channels"), 0, least=0) or hidden // heads,
        vocab_size=c.count(KEYS["vocab"]),
        max_position=c.count(KEYS["position"], 2048),
        tied_embeddings=bool(tied),
        sliding_window=window.tokens,
        sliding_layers=window.layers,
        gated_mlp=kind not in PLAIN_MLP,
        dtype=c.text("torch_dtype") or c.text("dtype") or "float16",
        source="config.json",
        **_mlp(c, hidden),
        **quantization_of(whole.inner("quantization_config") or c.inner("quantization_config")),
    )


def _refuse(c: Config) -> None:
    """Refuse what would be costed wrongly.

    Raises:
        InputError: the architecture is not a decoder-only transformer with ordinary attention.
    """
    other_layers = set(c.texts("layer_types")) - {"full_attention", "sliding_attention", "chunked_attention"}
    if c.values.get("kv_lora_rank"):
        why = "multi-head latent attention"
    elif c.values.get("is_encoder_decoder"):
        why = "an encoder beside its decoder"
    elif other_layers:
        why = f"layers that are not attention ({', '.join(sorted(other_layers))})"
    elif any(a.endswith(("ForMaskedLM", "ForSequenceClassification")) for a in c.texts("architectures")):
        why = f"no text generation ({c.texts('architectures')[0]})"
    else:
        return
    raise InputError(f"{c.name} has {why}, whose costs rooftune does not model; use a decoder-only transformer.")


def _kv_heads(c: Config, heads: int) -> int:
    if c.values.get("model_type") == "falcon" and not c.values.get("new_decoder_architecture"):
        return 1 if c.values.get("multi_query", True) else heads
    if c.values.get("multi_query") and not any(c.values.get(k) for k in KEYS["kv_heads"]):
        return 1
    return c.count(KEYS["kv_heads"], heads)


def _window(c: Config) -> SlidingWindow:
    window = c.count(("sliding_window",), 0, least=0) if c.values.get("use_sliding_window", True) else 0
    if not window:
        return SlidingWindow()
    types = c.texts("layer_types")
    if types:
        count = types.count("sliding_attention")
        return SlidingWindow(window, count) if count else SlidingWindow()
    layers = c.count(KEYS["layers"])
    if c.values.get("model_type") == "gemma2":
        return SlidingWindow(window, layers // 2)
    pattern = c.count(("sliding_window_pattern",), 0, least=0)
    return SlidingWindow(window, layers - layers // pattern if pattern else None)


class MlpFields(TypedDict, total=False):
    """The fields of ModelFacts that describe the MLP."""

    intermediate_size: Required[int]
    experts: int
    experts_per_token: int
    shared_expert_intermediate_size: int
    dense_layers: int
    dense_intermediate_size: int


def _mlp(c: Config, hidden: int) -> MlpFields:
    experts = c.count(KEYS["experts"], 1, least=0)
    wide = c.count(KEYS["intermediate"], 4 * hidden)
    if experts <= 1:
        return {"intermediate_size": wide}
    width = c.count(("moe_intermediate_size",), wide)
    shared = c.count(("shared_expert_intermediate_size",), 0, least=0)
    plain_layers = c.values.get("mlp_only_layers")
    if plain_layers is not None and not isinstance(plain_layers, list):
        raise c.invalid("mlp_only_layers", "a list of layers")
    return {
        "intermediate_size": width,
        "experts": experts,
        "experts_per_token": c.count(KEYS["experts_per_token"], 1),
        "shared_expert_intermediate_size": shared or c.count(("n_shared_experts",), 0, least=0) * width,
        "dense_layers": c.count(("first_k_dense_replace",), 0, least=0) or len(plain_layers or []),
        "dense_intermediate_size": wide,
    }


class QuantizationFields(TypedDict, total=False):
    """The fields of ModelFacts that describe quantised weights."""

    quantization: str
    group_size: int
    weight_bits: int


def quantization_of(q: Config | None) -> QuantizationFields:
    """What a ``quantization_config`` says about the weights.

    Raises:
        InputError: a method whose weights rooftune cannot size.
    """
    if q is None:
        return {}
    method, algorithm = q.text("quant_method").lower(), q.text("quant_algo").upper()
    if method in ("compressed-tensors", "compressed_tensors"):
        return _compressed_tensors(q)
    if method == "modelopt" or "quant_algo" in q.values:
        method = "nvfp4" if "FP4" in algorithm else "fp8"
        return {"quantization": method, "group_size": 16 if method == "nvfp4" else 128}
    if method not in METHODS:
        raise InputError(
            f"{q.name} is quantised with {method or 'an unnamed method'}, which rooftune cannot size; "
            f"known: {', '.join(METHODS)}, compressed-tensors, modelopt."
        )
    found: QuantizationFields = {"quantization": METHODS[method], "group_size": _group_size(q) or 128}
    if method == "bitsandbytes":
        eight = bool(q.values.get("load_in_8bit") or q.values.get("_load_in_8bit"))
        return {**found, "group_size": 64, "weight_bits": 8 if eight else 4}
    if method == "mxfp4":
        return {**found, "group_size": 32}
    bits = q.count(("bits",), 0, least=0)
    return {**found, "weight_bits": bits} if bits else found


def _group_size(q: Config) -> int:
    """Weights that share a scale; -1 = a whole column, 0 = not said."""
    return q.count(("group_size",), 0, least=-1)


def _compressed_tensors(q: Config) -> QuantizationFields:
    groups = q.inner("config_groups")
    first = groups.inner(next(iter(groups.values))) if groups else None
    if first is None:
        raise InputError(
            f"{q.name} has a compressed-tensors quantisation without config_groups; rooftune cannot size its weights."
        )
    weights = first.inner("weights") or Config(q.name, {})
    bits, kind = weights.count(("num_bits",), 8), weights.text("type") or "int"
    group = _group_size(weights) or -1
    if kind == "float":
        return {"quantization": "fp8" if bits == 8 else "nvfp4", "group_size": group}
    if first.values.get("input_activations") and bits == 8:
        return {"quantization": "int8", "group_size": group}
    return {"quantization": "gptq", "group_size": group, "weight_bits": bits}
