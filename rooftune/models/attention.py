"""Attention of every layer, from the keys of a config.json: which layers have a window, how many heads each has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rooftune.errors import InputError
from rooftune.models.families import Family
from rooftune.models.keys import Keys
from rooftune.models.layers import AttentionLayers
from rooftune.models.refusals import not_modelled

Item = TypeVar("Item")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "kv_n_heads", "num_attention_groups")
HEAD_DIM = ("head_dim", "kv_channels", "attention_head_dim")
WINDOW = ("sliding_window", "sliding_window_size")
POSITION = (
    "max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_sequence_length", "model_max_length",
)  # fmt: skip
MOST_LAYERS = 2000
LAYER_LISTS = ("layer_types", "layers_block_type", "attention_types", "attn_types")
FULL_WORDS = {"full_attention", "attention", "full", "global", "global_attention"}
WINDOW_WORDS = {"sliding_attention", "sliding", "local", "local_attention", "sliding_window", "chunked_attention"}
EVERY_NTH_IS_FULL = (
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "global_attn_every_n_layers",
    "layer_switch",
    "full_attn_mod",
)
OTHER_LAYERS = {
    "linear_attention": "linear attention",
    "mamba": "Mamba layers",
    "conv": "convolution layers",
    "recurrent": "recurrent layers",
    "indexed_attention": "sparse attention through an indexer",
    "deepseek_sparse_attention": "sparse attention through an indexer",
    "moe": "layers that hold experts alone",
}
"""What a word in a list of layers means."""


def layer_count(k: Keys) -> int:
    """Number of layers.

    Raises:
        InputError: none is stated, or more than any model has.
    """
    layers = k.needed(*LAYERS)
    if layers > MOST_LAYERS:
        raise InputError(f"{k.model}: {LAYERS[0]} is {layers}; no model has more than {MOST_LAYERS:,} layers.")
    return layers


def attention_layers(k: Keys, family: Family | None, hidden: int) -> tuple[AttentionLayers, ...]:
    """The attention of all layers, in groups of layers with the same shape.

    Raises:
        InputError: a layer that is not attention, or keys that do not fit together.
    """
    for name in LAYER_LISTS:
        for kind in k.words(name) or ():
            _has_window(k, name, kind)
    layers = layer_count(k)
    windows = _windows(k, family, layers)
    shapes = [_shape(k, family, hidden, i, windows) for i in range(layers)]
    return tuple(shape.model_copy(update={"count": n}) for shape, n in Counter(shapes).items())


def _windows(k: Keys, family: Family | None, layers: int) -> list[int | None]:
    """How far each layer looks back; None = all tokens."""
    window, chunk = k.number(*WINDOW), k.number("attention_chunk_size")
    listed = _listed(k, layers)
    k.understood.update(EVERY_NTH_IS_FULL)
    use = k.flag("use_sliding_window", default=True)
    in_chunks = "chunked_attention" in (k.words("layer_types") or ())
    chunked = chunk if in_chunks or (family and family.name == "llama4_text") else None
    if chunk and not chunked and chunk != window:
        raise not_modelled(k.model, "attention_chunk_size", "attention in chunks, for a family where it is not known")
    limit = chunked or (window if use else None)
    if listed and any(listed) and not limit and use:
        raise InputError(
            f"{k.model}: a list of layers says that some have a window, and no key says how long it is; state "
            "sliding_window."
        )
    if not limit or limit >= (k.number(*POSITION) or limit + 1):
        return [None] * layers
    flags = listed if listed is not None else _pattern(k, family, layers, chunked is not None)
    return [limit if has else None for has in flags]


def _listed(k: Keys, layers: int) -> list[bool] | None:
    """Whether each layer has a window, where a key lists the layers one by one."""
    for name in LAYER_LISTS:
        kinds = k.words(name)
        if kinds:
            return [_has_window(k, name, kind) for kind in _as_long(k, name, kinds, layers)]
    kinds_by_number = k.numbers("attn_type_list")
    if kinds_by_number is not None:
        if any(kind != 1 for kind in _as_long(k, "attn_type_list", kinds_by_number, layers)):
            raise not_modelled(k.model, "attn_type_list", "linear attention in the layers that it marks 0")
        return [False] * layers
    windowed = k.numbers("hybrid_layer_pattern")
    if windowed is not None:
        return [kind == 1 for kind in _as_long(k, "hybrid_layer_pattern", windowed, layers)]
    return None


def _has_window(k: Keys, name: str, kind: str) -> bool:
    if kind in FULL_WORDS:
        return False
    if kind in WINDOW_WORDS:
        return True
    meaning = OTHER_LAYERS.get(kind, "a kind of layer that is not attention over all tokens or over a window")
    raise not_modelled(k.model, f"{name} with {kind!r}", meaning)


def _as_long(k: Keys, name: str, items: Sequence[Item], layers: int) -> Sequence[Item]:
    """The items of the model's own layers; some files list the layers for token prediction behind them."""
    more = k.number("num_nextn_predict_layers", "num_mtp_layers") or 0
    if len(items) not in (layers, layers + more):
        raise InputError(
            f"{k.model}: {name} has {len(items)} entries for {layers} layers; correct {name} or num_hidden_layers."
        )
    return items[:layers]


def _pattern(k: Keys, family: Family | None, layers: int, chunked: bool) -> list[bool]:
    """Whether each layer has a window, where a rule says so; by default all of them have."""
    rope, every = k.numbers("no_rope_layers"), k.number("no_rope_layer_interval")
    if chunked:
        if rope:
            return [bool(flag) for flag in _as_long(k, "no_rope_layers", rope, layers)]
        return [(i + 1) % (every or 4) != 0 for i in range(layers)]
    letters = k.text(EVERY_NTH_IS_FULL[0])
    if letters and set(letters) <= set("LG"):
        return [letters[i % len(letters)] == "L" for i in range(layers)]
    nth = None if letters else k.number(*EVERY_NTH_IS_FULL)
    if nth:
        first = 0 if family and family.full_layer_first else nth - 1
        return [i % nth != first for i in range(layers)]
    start = k.number("max_window_layers") if k.stated.get("use_sliding_window") else None
    return [start is None or i >= start for i in range(layers)]


@dataclass(frozen=True)
class _Heads:
    """Heads of one layer."""

    query: int
    key_value: int | None
    """None: as many as query heads."""
    key_dim: int
    value_dim: int | None


def _shape(k: Keys, family: Family | None, hidden: int, i: int, windows: Sequence[int | None]) -> AttentionLayers:
    layers, window = len(windows), windows[i]
    heads = _heads(k, hidden, i, windows)
    kv_heads = heads.query if heads.key_value is None else heads.key_value
    if not kv_heads or heads.query % kv_heads:
        raise InputError(
            f"{k.model}: {heads.query} query heads (num_attention_heads) cannot share {kv_heads} KV heads "
            "(num_key_value_heads) evenly; correct one of them."
        )
    shared = i >= layers - (k.number("num_kv_shared_layers") or 0)
    key_is_value = k.flag("attention_k_eq_v") and not window
    own_projections = not shared or bool(family and family.shared_layers_project_kv)
    gate = k.flag("attn_output_gate"), k.flag("attention_output_gate"), family is not None and family.output_gate
    return AttentionLayers(
        count=1,
        heads=heads.query,
        kv_heads=kv_heads,
        head_dim=heads.key_dim,
        value_dim=heads.value_dim if heads.value_dim != heads.key_dim else None,
        window=window,
        kv_projections=(1 if key_is_value else 2) if own_projections else 0,
        holds_kv=not shared,
        output_gate=any(gate),
    )


def _heads(k: Keys, hidden: int, i: int, windows: Sequence[int | None]) -> _Heads:
    """Heads of layer ``i``: the model's, or those that a key gives for this layer or for layers of its kind."""
    layers, one_for_all = len(windows), k.flag("multi_query") and not k.flag("new_decoder_architecture")
    query = _of_layer(k, i, layers, "num_attention_heads_per_layer", HEADS) or k.needed(*HEADS)
    key_value = _of_layer(k, i, layers, "num_key_value_heads_per_layer", KV_HEADS)
    key_dim, value_dim = k.number(*HEAD_DIM) or hidden // query, k.number("v_head_dim")
    if not key_dim:
        raise InputError(
            f"{k.model}: {query} heads (num_attention_heads) are more than hidden_size ({hidden}) has values, and no "
            "head_dim is stated; correct one of them."
        )
    local = [k.number(f"swa_{key}") for key in (HEADS[0], KV_HEADS[0], "head_dim", "v_head_dim")]
    global_kv, global_dim = k.number("num_global_key_value_heads"), k.number("global_head_dim")
    own = _of_this_layer(k, i)
    query, key_value = own.get("num_attention_heads", query), own.get("num_key_value_heads", key_value)
    found = _Heads(query, 1 if one_for_all else key_value, own.get("head_dim", key_dim), value_dim)
    if windows[i]:
        return _Heads(
            local[0] or found.query, local[1] or found.key_value, local[2] or found.key_dim, local[3] or value_dim
        )
    if any(windows):
        kv = global_kv if global_kv and k.flag("attention_k_eq_v") else found.key_value
        return _Heads(found.query, kv, global_dim or found.key_dim, value_dim)
    return found


def _of_this_layer(k: Keys, i: int) -> dict[str, int]:
    """What ``per_layer_config`` gives for one layer.

    Raises:
        InputError: it gives something else than heads.
    """
    inner = k.inner("per_layer_config")
    given = next((value for key, value in inner.items() if key.isdecimal() and int(key) == i), None)
    if not isinstance(given, dict):
        return {}
    own = Keys(given, f"{k.model}, per_layer_config")
    other = sorted(set(given) - {HEADS[0], KV_HEADS[0], "head_dim"})
    if other:
        raise not_modelled(
            k.model, f"per_layer_config with {other[0]!r}", "layers that differ in more than their heads"
        )
    return {key: own.needed(key) for key in given}


def _of_layer(k: Keys, i: int, layers: int, per_layer: str, names: tuple[str, ...]) -> int | None:
    """A size of layer ``i``, from a list by layer or one number for all."""
    k.understood.update(names)
    for name in (per_layer, names[0]):
        listed = k.numbers(name)
        if listed is not None:
            return _as_long(k, name, listed, layers)[i] or None
    return k.number(*names) or None
