"""MLP of every layer, from the keys of a config.json: plain, a mixture of experts, or both."""

from __future__ import annotations

from collections import Counter

from rooftune.errors import InputError
from rooftune.models.families import Family
from rooftune.models.keys import Keys
from rooftune.models.layers import MlpLayers

WIDTH = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = (
    "num_experts_per_tok", "experts_per_token", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k",
    "top_k_experts",
)  # fmt: skip
EXPERT_WIDTH = ("moe_intermediate_size", "expert_ffn_hidden_size")
DENSE_WIDTH = ("intermediate_size_mlp", "dense_intermediate_size", "prefix_dense_intermediate_size")
SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
SHARED_WIDTH = (
    "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size",
)  # fmt: skip
FIRST_DENSE = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
EVERY = ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval")


def mlp_layers(k: Keys, family: Family | None, hidden: int, layers: int) -> tuple[MlpLayers, ...]:
    """The MLP of all layers, in groups of layers with the same shape.

    Raises:
        InputError: keys that do not fit together.
    """
    widths = _widths(k, hidden, layers)
    sparse = _sparse(k, layers)
    shapes = [_shape(k, family, widths[i], sparse[i]) for i in range(layers)]
    return tuple(shape.model_copy(update={"count": n}) for shape, n in Counter(shapes).items())


def _shape(k: Keys, family: Family | None, width: int, sparse: bool) -> MlpLayers:
    gated = family is None or family.gated or k.text("mlp_type") == "gated"
    experts, chosen = k.number(*EXPERTS) or 0, k.number(*CHOSEN) or 0
    expert_width = k.number(*EXPERT_WIDTH) or width
    dense = k.number(*DENSE_WIDTH) or width
    shared = _shared_width(k, family, expert_width)
    beside = k.flag("enable_moe_block")
    if experts <= 1:
        only_shared = shared if family and family.dense_mlp_is_shared else 0
        return MlpLayers(count=1, width=only_shared or dense, gated=gated)
    if not sparse:
        return MlpLayers(count=1, width=dense, gated=gated)
    if not 0 < chosen <= experts:
        raise InputError(
            f"{k.model}: a token goes through {chosen} ({CHOSEN[0]}) of {experts} experts ({EXPERTS[0]}); "
            "correct one of them."
        )
    return MlpLayers(
        count=1,
        width=dense if beside else 0,
        shared_width=shared,
        experts=experts,
        experts_per_token=chosen,
        expert_width=expert_width,
        gated=gated,
    )


def _widths(k: Keys, hidden: int, layers: int) -> list[int]:
    """Width of the plain MLP of every layer."""
    listed = k.numbers("intermediate_size")
    if listed is not None:
        if len(listed) != layers:
            raise InputError(f"{k.model}: intermediate_size has {len(listed)} entries for {layers} layers.")
        widths = listed
    else:
        widths = [k.number(*WIDTH) or (k.number("expansion_ratio") or 4) * hidden] * layers
    if k.flag("use_double_wide_mlp"):
        first = layers - (k.number("num_kv_shared_layers") or 0)
        widths = [2 * width if i >= first else width for i, width in enumerate(widths)]
    return widths


def _shared_width(k: Keys, family: Family | None, expert_width: int) -> int:
    """Width of all shared experts of a layer together."""
    number, width = k.number(*SHARED), k.number(*SHARED_WIDTH)
    if family and family.one_shared_expert:
        return expert_width
    if width:
        return width * (number or 1)
    return (number or 0) * expert_width


def _sparse(k: Keys, layers: int) -> list[bool]:
    """Whether each layer has experts."""
    listed = _listed_as_sparse(k, layers)
    if listed is not None:
        return listed
    first = k.number(*FIRST_DENSE) or 0
    last = k.stated.get("moe_layer_end_index")
    end = last if isinstance(last, int) and not isinstance(last, bool) and last >= 0 else layers - 1
    k.understood.add("moe_layer_end_index")
    every, by_index = k.number(*EVERY) or 1, k.number("moe_layer_freq") or 1
    dense = set(k.numbers("mlp_only_layers") or [])
    return [first <= i <= end and (i + 1) % every == 0 and i % by_index == 0 and i not in dense for i in range(layers)]


def _listed_as_sparse(k: Keys, layers: int) -> list[bool] | None:
    """Whether each layer has experts, where a key lists the layers."""
    k.understood.update((*FIRST_DENSE, *EVERY, "mlp_only_layers", "moe_layer_freq", "moe_layer_end_index"))
    kinds = k.words("mlp_layer_types")
    frequency = k.numbers("moe_layer_freq")
    indices = k.numbers("moe_layers")
    if kinds:
        unknown = set(kinds) - {"dense", "sparse"}
        if unknown or len(kinds) < layers:
            raise InputError(f"{k.model}: mlp_layer_types must say dense or sparse for each of {layers} layers.")
        return [kind == "sparse" for kind in kinds[:layers]]
    if frequency is not None:
        if len(frequency) < layers:
            raise InputError(f"{k.model}: moe_layer_freq has {len(frequency)} entries for {layers} layers.")
        return [bool(flag) for flag in frequency[:layers]]
    return [i in set(indices) for i in range(layers)] if indices is not None else None
