"""Quantisation configurations: kind and size by method, what they leave out, and methods that are refused."""

from __future__ import annotations

from typing import Any

import pytest
from test_public_models import config_of

from rooftune.errors import InputError
from rooftune.models import costs
from rooftune.models.config_json import from_mapping
from rooftune.models.facts import ModelFacts

FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
INT4 = {"num_bits": 4, "type": "int", "group_size": 64, "strategy": "group"}
FLOAT4 = {"num_bits": 4, "type": "float", "group_size": 16}


def compressed(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    group = {"weights": weights, "targets": ["Linear"], **more.pop("group", {})}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, **more}


def stored(q: dict[str, Any], model: str = "qwen3-8b") -> ModelFacts:
    return from_mapping({**config_of(model), "quantization_config": q}, "m")


def bits(facts: ModelFacts, part: Any) -> float:
    return 8 * costs.part_bytes(facts, part) / facts.weights(part)


@pytest.mark.parametrize(
    ("q", "kind", "bits", "group"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", 4, 128),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq", 4, 64),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq", 8, -1),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "data_type": "int"}, "gptq", 4, 128),
        ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "fp8", None, 128),
        ({"quant_method": "fbgemm_fp8"}, "fp8", None, 128),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, "fp8", None, 128),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4", None, 16),
        ({"quantization": {"quant_algo": "MXFP8", "exclude_modules": ["lm_head"]}}, "mxfp8", None, 32),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes", 8, 64),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 4, 64),
        ({"quant_method": "fp_quant", "forward_dtype": "nvfp4"}, "nvfp4", None, 16),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "fp8", None, 128),
        (
            {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {}}}},
            "torchao",
            4,
            128,
        ),
        (compressed(FLOAT8), "fp8", None, -1),
        (compressed(INT8, group={"input_activations": INT8}), "int8", None, -1),
        (compressed(INT4), "gptq", 4, 64),
        (compressed(INT8), "gptq", 8, -1),
        (compressed(FLOAT4), "nvfp4", None, 16),
    ],
)
def test_kind_bits_and_group(q: dict[str, Any], kind: str, bits: int | None, group: int) -> None:
    facts = stored(q)
    assert (facts.quantization, facts.weight_bits, facts.group_size, facts.stored_apart) == (kind, bits, group, ())
    assert costs.lm_head_bytes(facts) == 2 * facts.embedding_parameters


@pytest.mark.parametrize(
    ("ignored", "parts"),
    [
        (["re:.*self_attn.*", "lm_head"], {"attention"}),
        (["Llama4TextAttention", "re:.*shared_expert.*"], {"attention", "shared_experts"}),
        ([f"language_model.model.layers.{i}.feed_forward.shared_expert" for i in range(48)], {"shared_experts"}),
        (["language_model.model.layers.*.self_attn*"], {"attention"}),
        (["re:.*router", "vision_model", "multi_modal_projector"], set()),
    ],
)
def test_modules_that_a_configuration_leaves_in_16_bits(ignored: list[str], parts: set[str]) -> None:
    facts = stored(compressed(FLOAT8, ignore=ignored), "llama-4-scout")
    for part in ("attention", "shared_experts", "experts"):
        assert bits(facts, part) == (16 if part in parts else 8)


def test_some_projections_of_some_layers() -> None:
    ignored = [f"model.layers.{i}.mlp.down_proj" for i in range(9)]
    facts = stored({"quant_method": "fp8", "modules_to_not_convert": ignored})
    (apart,) = facts.stored_apart
    assert (apart.part, apart.share, apart.bits) == ("mlp", pytest.approx(9 / 36 / 3), 16)


def test_groups_of_several_schemes() -> None:
    groups = {
        "experts": {"weights": INT4, "targets": ["re:.*mlp.experts.*"]},
        "rest": {"weights": FLOAT8, "targets": ["Linear"]},
    }
    q = {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["lm_head"]}
    facts = stored(q, "qwen3-30b-a3b")
    assert (facts.quantization, facts.group_size) == ("gptq", 64)
    assert bits(facts, "attention") == 8
    assert bits(facts, "experts") == pytest.approx(4 + 8 * 2.5 / 64)


def test_mixed_precision_lists_every_layer() -> None:
    layers = {f"model.layers.{i}.self_attn.{p}_proj": {"quant_algo": "FP8"} for i in range(36) for p in "qkvo"}
    layers |= {
        f"model.layers.{i}.mlp.{p}_proj": {"quant_algo": "NVFP4"} for i in range(36) for p in ("gate", "up", "down")
    }
    facts = stored({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers})
    assert (facts.quantization, bits(facts, "attention"), bits(facts, "mlp")) == ("nvfp4", 8, 4.5)


def test_gptq_may_treat_modules_apart_and_quantise_the_lm_head() -> None:
    q = {"quant_method": "gptq", "bits": 4, "group_size": 128, "lm_head": True}
    q["dynamic"] = {r"-:.*\.self_attn\..*": {}, r"+:.*\.down_proj.*": {"bits": 8}}
    facts = stored(q)
    assert bits(facts, "attention") == 16
    assert bits(facts, "mlp") == pytest.approx((2 * 4 + 8) / 3 + 8 * 2.5 / 128)
    assert costs.lm_head_bytes(facts) < 0.6 * facts.embedding_parameters


def test_modelopt_quantises_the_lm_head_unless_it_is_left_out() -> None:
    facts = stored({"quant_method": "modelopt", "quant_algo": "FP8"})
    assert costs.lm_head_bytes(facts) == facts.embedding_parameters


def test_mxfp4_is_loaded_in_the_experts_alone() -> None:
    facts = stored({"quant_method": "mxfp4"}, "qwen3-30b-a3b")
    assert (bits(facts, "experts"), bits(facts, "attention"), bits(facts, "router")) == (4.25, 16, 16)


def test_experts_beside_a_plain_mlp_have_names_of_their_own() -> None:
    ignored = [
        f"model.language_model.layers.{i}.{block}*" for i in range(30) for block in ("mlp", "self_attn", "router")
    ]
    facts = stored({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ignored}, "gemma-4-26b-a4b")
    assert (bits(facts, "mlp"), bits(facts, "experts")) == (16, 4.5)


@pytest.mark.parametrize(
    ("q", "said"),
    [
        ({"quant_method": "hqq"}, "hqq"),
        ({"bits": 4}, "an unnamed method"),
        ({"quant_method": "compressed-tensors"}, "config_groups"),
        (compressed(INT4, sparsity_config={"format": "sparse-24-bitmask"}), "sparsity_config"),
        ({"quant_method": "modelopt", "quant_algo": "W1A1"}, "quant_algo"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int3"}}}, "int3"),
        ({"quant_method": "torchao", "quant_type": "uintx_weight_only"}, "quant_type"),
        ({"quant_method": "fp_quant", "forward_dtype": "int2"}, "forward_dtype"),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "strange"}, "data_type"),
        ({"quant_method": "awq", "bits": "four"}, "bits"),
    ],
)
def test_what_cannot_be_sized_is_refused_by_name(q: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        stored(q)
    assert "rooftune cannot size" in str(refusal.value)
