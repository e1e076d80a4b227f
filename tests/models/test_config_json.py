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
    own = {"name", "hub_ids", "source"}
    assert found.model_dump(exclude=own) == known.model_dump(exclude=own)
    assert model_facts(str(tmp_path / "config.json")).layers == 32


def test_head_layouts() -> None:
    many = from_mapping({**LLAMA, "num_key_value_heads": None}, "m")
    assert many.kv_heads == 32
    assert many.kv_bytes_per_token() == 2 * 32 * 32 * 128 * 2
    falcon = {"model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71}
    one = from_mapping({**falcon, "multi_query": True, "vocab_size": 65024}, "falcon-7b")
    assert (one.kv_heads, one.head_dim, one.mlp[0].gated, one.tied_embeddings) == (1, 64, False, True)
    assert one.parameters == pytest.approx(6.92e9, rel=0.01)


def test_old_names_of_the_same_facts() -> None:
    gpt2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
    facts = from_mapping({**gpt2, "architectures": ["GPT2LMHeadModel"]}, "gpt2")
    assert (facts.intermediate_size, facts.max_position, facts.tied_embeddings) == (3072, 1024, True)
    assert facts.parameters == pytest.approx(123.5e6, rel=0.01)


def windows(**change: Any) -> dict[int | None, int]:
    """Number of layers by window."""
    return {a.window: a.count for a in from_mapping({**LLAMA, **change}, "m").attention}


def test_sliding_windows() -> None:
    assert windows(sliding_window=4096) == {4096: 32}
    assert windows(sliding_window=4096, use_sliding_window=False) == {None: 32}
    assert windows(sliding_window=8192) == {None: 32}, "no request is longer than max_position_embeddings"
    assert windows(model_type="gemma2", sliding_window=4096) == {4096: 16, None: 16}
    listed = ["sliding_attention", "full_attention"] * 16
    assert windows(sliding_window=128, layer_types=listed) == {128: 16, None: 16}
    assert windows(sliding_window=128, layer_types=["full_attention"] * 32) == {None: 32}
    assert windows(sliding_window=512, sliding_window_pattern=4) == {512: 24, None: 8}
    assert windows(sliding_window=512, sliding_window_pattern="LLLG") == {512: 24, None: 8}
    assert windows(model_type="qwen2", sliding_window=512, use_sliding_window=True, max_window_layers=28) == {
        None: 28,
        512: 4,
    }
    assert windows(model_type="qwen2", sliding_window=512, max_window_layers=28) == {None: 32}
    assert windows(model_type="cwm", sliding_window=512) == {None: 8, 512: 24}
    assert from_mapping({**LLAMA, "model_type": "cwm", "sliding_window": 512}, "m").attention[0].window is None


def test_heads_may_differ_from_layer_to_layer() -> None:
    facts = from_mapping({**LLAMA, "head_dim": 128, "num_attention_heads_per_layer": [32] * 30 + [64] * 2}, "m")
    assert [(a.count, a.heads) for a in facts.attention] == [(30, 32), (2, 64)]
    assert (facts.heads, facts.kv_bytes_per_token()) == (32, 2 * 32 * 8 * 128 * 2)


def test_multi_query_counts_more_than_the_number_of_kv_heads_beside_it() -> None:
    falcon = {**LLAMA, "model_type": "falcon", "num_kv_heads": 32, "multi_query": True}
    del falcon["num_key_value_heads"]
    assert from_mapping(falcon, "falcon-7b").kv_heads == 1
    assert from_mapping({**falcon, "new_decoder_architecture": True, "num_kv_heads": 8}, "falcon-40b").kv_heads == 8


def test_heads_of_single_layers() -> None:
    facts = from_mapping({**LLAMA, "per_layer_config": {"05": {"head_dim": 512}, "31": {"head_dim": 512}}}, "m")
    assert {(a.count, a.head_dim) for a in facts.attention} == {(30, 128), (2, 512)}
    with pytest.raises(InputError, match="per_layer_config with 'intermediate_size'"):
        from_mapping({**LLAMA, "per_layer_config": {"5": {"intermediate_size": 512}}}, "m")


def test_chunks_are_windows_where_a_list_says_which_layers_have_them() -> None:
    listed = ["chunked_attention", "full_attention"] * 16
    assert windows(layer_types=listed, attention_chunk_size=256) == {256: 16, None: 16}


def test_a_gpu_has_at_least_one_kv_head_of_every_layer() -> None:
    facts = from_mapping({**LLAMA, "num_key_value_heads": 2}, "m")
    assert facts.kv_bytes_per_token(2.0, 4) == facts.kv_bytes_per_token() / 2


def test_mixtures() -> None:
    mixtral = from_mapping({**LLAMA, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}, "mixtral")
    assert mixtral.parameters == model_facts("mixtral-8x7b").parameters
    shape = {**LLAMA, "num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "n_shared_experts": 2}
    fine = from_mapping({**shape, "first_k_dense_replace": 1}, "fine")
    assert [(m.count, m.width, m.shared_width, m.expert_width) for m in fine.mlp] == [
        (1, 14336, 0, 0),
        (31, 0, 1024, 512),
    ]
    per_layer = 3 * 4096 * (64 * 512 + 1024) + 4096 * 64
    assert fine.mlp_parameters == 31 * per_layer + 3 * 4096 * 14336


@pytest.mark.parametrize(
    ("change", "sparse"),
    [
        ({}, 32),
        ({"decoder_sparse_step": 2}, 16),
        ({"mlp_only_layers": [0, 5]}, 30),
        ({"moe_layer_freq": 2}, 16),
        ({"moe_layer_freq": [0] + [1] * 31}, 31),
        ({"num_dense_layers": 3}, 29),
        ({"moe_layer_start_index": 2, "moe_layer_end_index": 9}, 8),
        ({"mlp_layer_types": ["dense"] * 4 + ["sparse"] * 28}, 28),
        ({"moe_layers": [1, 3]}, 2),
    ],
)
def test_which_layers_have_experts(change: dict[str, Any], sparse: int) -> None:
    facts = from_mapping({**LLAMA, "num_experts": 64, "num_experts_per_tok": 8, **change}, "m")
    assert sum(m.count for m in facts.mlp if m.experts) == sparse
    assert sum(m.count for m in facts.mlp) == 32


def test_the_language_part_of_a_multimodal_model() -> None:
    nested = {"architectures": ["Mistral3ForConditionalGeneration"], "text_config": LLAMA, "vision_config": {}}
    assert from_mapping(nested, "m").layers == 32


@pytest.mark.parametrize("key", ["text_config", "language_config", "llm_config"])
def test_keys_under_which_a_language_model_is_nested(key: str) -> None:
    facts = from_mapping({"architectures": ["XForConditionalGeneration"], key: LLAMA, "audio_config": {"x": 1}}, "m")
    assert facts.layers == 32
    assert facts.notes == ("the audio part of the model is left out of the weights",)


def test_a_family_that_is_not_listed_is_read_by_its_keys_and_says_so() -> None:
    assert "the family newcomer is not known here" in from_mapping({**LLAMA, "model_type": "newcomer"}, "m").notes[0]
    assert from_mapping(LLAMA, "m").notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"is_encoder_decoder": True}, "encoder"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
        ({"architectures": ["BertForMaskedLM"]}, "generates no text"),
        ({"num_latent_experts": 4}, "num_latent_experts = 4"),
        ({"hybrid_block_pattern": "MA"}, "hybrid_block_pattern"),
        ({"quantization": {"bits": 4, "group_size": 64}}, "quantization"),
        ({"experts_per_token": 4, "num_experts_per_tok": 2, "num_experts": 8}, "experts_per_token"),
        ({"num_key_value_heads": 5}, "num_key_value_heads"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "num_experts_per_tok"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types has 3 entries for 32 layers"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"attention_chunk_size": 512}, "attention_chunk_size"),
        ({"layer_types": ["sliding_attention"] * 32}, "state sliding_window"),
        ({"model_type": "granitemoehybrid"}, "model_type 'granitemoehybrid'"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_mapping({**LLAMA, **change}, "m")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a valid"),
        ("[1]", "not a valid"),
        ("{}", "no hidden_size"),
        ('{"hidden_size": "x"}', "hidden_size is 'x'"),
        ('{"hidden_size": Infinity}', "hidden_size is inf"),
        ('{"num_hidden_layers": 1, "num_attention_heads": 4, "hidden_size": 2}', "num_attention_heads"),
        ('{"text_config": [1]}', "text_config in config.json is"),
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


@pytest.mark.parametrize("key", ["hybrid_block_pattern", "num_latent_experts", "mamba_d_state", "kv_lora_rank"])
@pytest.mark.parametrize("nothing", [None, False, 0, "", [], {}])
def test_a_key_that_says_nothing_changes_nothing(key: str, nothing: object) -> None:
    assert from_mapping({**LLAMA, key: nothing}, "m") == from_mapping(LLAMA, "m")
