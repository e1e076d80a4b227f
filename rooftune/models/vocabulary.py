"""Which keys of a config.json are understood: what nothing reads and looks structural is refused, never passed over."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from rooftune.errors import InputError
from rooftune.models.families import Family
from rooftune.models.keys import Keys
from rooftune.models.refusals import not_modelled, not_understood

STRUCTURAL = re.compile(
    r"layer|head|expert|attn|attention|mlp|ffn|ssm|mamba|conv|linear|state|window|sliding|chunk|quant|latent|lora|rank"
    r"|hidden|intermediate|block|router|moe|kv|swa|gate|gating|index|topk|top_k|recurr|rnn|lru|delta|kda|mtp|nextn"
    r"|altup|laurel|gram|hc_|sparse|compress|share|pattern|interleave|interval|proj|width|depth|loop|memory|cross"
    r"|encoder|multi_query|d_model|d_ff|d_kv"
)
"""Names of keys that may say what a layer costs."""
NOT_STRUCTURAL = re.compile(
    r"token_id$|token_index$|_token$|^id2label$|^label2id$|^auto_map$|rope_(scaling|parameters|theta)$"
    r"|template|conversation|tokenizer|processor|version$|_name$|_path$"
)
WITHOUT_EFFECT = re.compile(
    r"^(mamba|linear|ssm|conv|time_step|attn_layer|use_mamba)_|^(full_attention_interval|conv_L_cache)$"
    r"|^prefix_dense_sliding_window_pattern$"
)
"""Keys that have no effect where a list of layers says that every layer is attention, and where it has a window."""
LISTS = ("layer_types", "layers_block_type", "attn_type_list")


class _Lists(BaseModel):
    """``data/keys.yaml``: keys by reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    neutral: dict[str, list[str]]
    not_modelled: dict[str, list[str]]


def check_layers(k: Keys, family: Family | None) -> None:
    """Refuse what is refused without reading a list of layers: encoders, latent attention, families of other layers.

    Raises:
        InputError: a key says so.
    """
    if k.flag("is_encoder_decoder"):
        raise not_modelled(k.model, "is_encoder_decoder", "an encoder beside the decoder")
    if k.holds("kv_lora_rank"):
        raise not_modelled(k.model, "kv_lora_rank", _latent_attention(k))
    if not any(k.holds(key) for key in LISTS):
        check_other_layers(k)
        if family and family.not_modelled:
            raise not_modelled(k.model, f"model_type {family.name!r}", family.not_modelled)


def check_other_layers(k: Keys) -> None:
    """Refuse layers that are not modelled, by the key that says so.

    Raises:
        InputError: such a key is stated. Keys of recurrent layers have no effect where a list has attention alone.
    """
    listed = any(k.holds(key) for key in LISTS)
    for meaning, keys in _lists().not_modelled.items():
        for key in keys:
            if k.holds(key) and not (listed and WITHOUT_EFFECT.match(key)):
                raise not_modelled(k.model, key, meaning)


def check_understood(k: Keys) -> None:
    """Refuse a key that nothing has read and that may say what a layer costs.

    Raises:
        InputError: there is one.
    """
    known = k.understood | _neutral()
    listed = any(k.holds(key) for key in LISTS)
    for key, value in k.stated.items():
        if key in known or not k.holds(key) or NOT_STRUCTURAL.search(key) or (listed and WITHOUT_EFFECT.match(key)):
            continue
        if STRUCTURAL.search(key):
            raise not_understood(k.model, key, value)


def _latent_attention(k: Keys) -> str:
    """What is known of multi-head latent attention by its sizes."""
    known = "multi-head latent attention (MLA)"
    if k.holds("linear_attn_config") or k.holds("index_topk"):
        return known
    try:
        layers, latent, rope = (
            k.needed("num_hidden_layers"),
            k.needed("kv_lora_rank"),
            k.number("qk_rope_head_dim") or 0,
        )
    except InputError:
        return known
    each = 2 * layers * (latent + rope)
    return f"multi-head latent attention (MLA; in 16 bits its KV cache takes {each:,} bytes per token)"


@cache
def _lists() -> _Lists:
    text = files("rooftune.models").joinpath("data/keys.yaml").read_text(encoding="utf-8")
    return _Lists.model_validate(YAML(typ="safe").load(text))


@cache
def _neutral() -> frozenset[str]:
    return frozenset(key for keys in _lists().neutral.values() for key in keys)
