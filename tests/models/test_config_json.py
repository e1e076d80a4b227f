"""Model facts from any config.json: head layouts, mixtures, windows, quantisations, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rooftune.errors import InputError
from rooftune.models.catalogue import model_facts
from rooftune.models.config_json import from_config, from_mapping

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}


def test_a_folder_gives_the_facts_of_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    found, known = model_facts(str(tmp_path)), model_facts("llama-3-8b")
    assert found.model_dump(exclude={"name", "hub_ids", "source"}) == known.model_dump(
        exclude={"name", "hub_ids", "source"}
    )
    assert model_facts(str(tmp_path / "config.json")).layers == 32


def test_head_layouts() -> None:
    many = from_mapping({**LLAMA, "num_key_value_heads": None}, "m")
    assert many.kv_heads == 32
    assert many.kv_bytes_per_token() == 2 * 32 * 32 * 128 * 2
    falcon = {"model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71}
    one = from_mapping({**falcon, "multi_query": True, "vocab_size": 65024}, "falcon-7b")
    assert (one.kv_heads, one.head_dim, one.gated_mlp, one.tied_embeddings) == (1, 64, False, True)
    assert one.parameters == pytest.approx(6.92e9, rel=0.01)


def test_old_names_of_the_same_facts() -> None:
    gpt2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
    facts = from_mapping({**gpt2, "architectures": ["GPT2LMHeadModel"]}, "gpt2")
    assert (facts.intermediate_size, facts.max_position, facts.tied_embeddings) == (3072, 1024, True)
    assert facts.parameters == pytest.approx(123.5e6, rel=0.01)


def test_sliding_windows() -> None:
    every = from_mapping({**LLAMA, "sliding_window": 4096}, "mistral")
    assert (every.sliding_window, every.attended(8192), every.attended(1000)) == (4096, 4096, 1000)
    unused = from_mapping({**LLAMA, "sliding_window": 4096, "use_sliding_window": False}, "qwen2")
    assert unused.sliding_window is None
    half = from_mapping({**LLAMA, "model_type": "gemma2", "sliding_window": 4096}, "gemma2")
    assert half.sliding_layers == 16
    assert half.attended(8192) == (4096 + 8192) / 2
    listed = ["sliding_attention", "full_attention"] * 16
    assert from_mapping({**LLAMA, "sliding_window": 128, "layer_types": listed}, "oss").sliding_layers == 16
    assert (
        from_mapping({**LLAMA, "sliding_window": 128, "layer_types": ["full_attention"] * 32}, "x").sliding_window
        is None
    )
    assert from_mapping({**LLAMA, "sliding_window": 512, "sliding_window_pattern": 4}, "gemma3").sliding_layers == 24


def test_mixtures() -> None:
    mixtral = from_mapping({**LLAMA, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}, "mixtral")
    assert mixtral.parameters == model_facts("mixtral-8x7b").parameters
    shape = {**LLAMA, "num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "n_shared_experts": 2}
    fine = from_mapping({**shape, "first_k_dense_replace": 1}, "fine")
    assert (fine.intermediate_size, fine.shared_expert_intermediate_size, fine.dense_layers) == (512, 1024, 1)
    per_layer = 3 * 4096 * (64 * 512 + 1024) + 4096 * 64
    assert fine.mlp_parameters == 31 * per_layer + 3 * 4096 * 14336


def test_the_language_part_of_a_multimodal_model() -> None:
    nested = {"architectures": ["Mistral3ForConditionalGeneration"], "text_config": LLAMA, "vision_config": {}}
    assert from_mapping(nested, "m").layers == 32


FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
INT4 = {"num_bits": 4, "type": "int", "group_size": 64, "strategy": "group"}


@pytest.mark.parametrize(
    ("q", "kind", "bits", "group"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", 4, 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq", 8, -1),
        ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "fp8", None, 128),
        ({"quant_method": "fbgemm_fp8"}, "fp8", None, 128),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", None, 128),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", None, 16),
        ({"quant_method": "mxfp4"}, "mxfp4", None, 32),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes", 8, 64),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": FLOAT8}}}, "fp8", None, -1),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": INT8, "input_activations": INT8}},
            },
            "int8",
            None,
            -1,
        ),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": INT4}}}, "gptq", 4, 64),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": INT8}}}, "gptq", 8, -1),
    ],
)
def test_quantisations(q: dict[str, Any], kind: str, bits: int | None, group: int) -> None:
    facts = from_mapping({**LLAMA, "quantization_config": q}, "m")
    assert (facts.quantization, facts.weight_bits, facts.group_size) == (kind, bits, group)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"is_encoder_decoder": True}, "encoder"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
        ({"architectures": ["BertForMaskedLM"]}, "no text generation"),
        ({"quantization_config": {"quant_method": "hqq"}}, "hqq"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "config_groups"),
    ],
)
def test_what_would_be_costed_wrongly_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_mapping({**LLAMA, **change}, "m")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a valid"),
        ("[1]", "not a valid"),
        ("{}", "num_attention_heads"),
        ('{"num_attention_heads": "x"}', "num_attention_heads in the config.json of .* is 'x', not a whole number"),
        (
            '{"num_attention_heads": Infinity}',
            "num_attention_heads in the config.json of .* is inf, not a whole number",
        ),
        ('{"num_attention_heads": 4, "hidden_size": 2}', "more attention heads"),
        ('{"text_config": [1]}', "text_config in the config.json of .* not a JSON object"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        from_config(file)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        from_config(tmp_path)
