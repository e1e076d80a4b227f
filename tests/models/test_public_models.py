"""Public models of 2024 to 2026: parameters, weights and KV cache against their cards, and refusals by key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from public_models import CARDS, DATA, REFUSED, WEIGHTS_GIB

from rooftune.errors import InputError
from rooftune.models import costs
from rooftune.models.config_json import from_config
from rooftune.models.facts import ModelFacts

GIB = 1024**3


def facts_of(name: str) -> ModelFacts:
    return from_config(DATA / "configs" / f"{name}.json")


def config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((DATA / "configs" / f"{name}.json").read_text())
    return config


def test_every_file_has_a_card_and_every_refusal_its_key() -> None:
    assert {p.stem for p in (DATA / "configs").iterdir()} == set(CARDS)
    assert {p.stem for p in (DATA / "refused").iterdir()} == set(REFUSED)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_total_parameters(name: str) -> None:
    card, facts = CARDS[name], facts_of(name)
    assert facts.parameters / 1e9 == pytest.approx(card.total - card.vision, rel=0.01)
    assert facts.vision_parameters / 1e9 == pytest.approx(card.vision, rel=0.03)


@pytest.mark.parametrize("name", sorted(n for n, card in CARDS.items() if card.active))
def test_active_parameters_with_or_without_embeddings(name: str) -> None:
    facts = facts_of(name)
    low, high = facts.active_linear_parameters / 1e9, facts.active_parameters / 1e9
    assert low * 0.98 - 0.05 <= (CARDS[name].active or 0) <= high * 1.02 + 0.05


@pytest.mark.parametrize("name", sorted(CARDS))
def test_kv_bytes_per_token(name: str) -> None:
    card, facts = CARDS[name], facts_of(name)
    assert facts.kv_bytes_per_token() == card.kv_bytes
    growing = facts.kv_bytes_at(1_000_001) - facts.kv_bytes_at(1_000_000)
    assert growing == pytest.approx(card.kv_bytes if card.full_kv_bytes is None else card.full_kv_bytes, abs=0.01)


@pytest.mark.parametrize("name", sorted(WEIGHTS_GIB))
def test_bytes_of_weights(name: str) -> None:
    assert costs.weight_bytes(facts_of(name)) / GIB == pytest.approx(WEIGHTS_GIB[name], rel=0.01)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_layers_that_are_not_modelled_are_refused_by_their_key(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        from_config(DATA / "refused" / f"{name}.json")
    said = str(refusal.value)
    assert said.startswith(f"{name}: ")
    assert REFUSED[name] in said
    assert "--engine" in said


def test_what_is_known_of_latent_attention_is_said() -> None:
    with pytest.raises(InputError, match="70,272 bytes per token"):
        from_config(DATA / "refused" / "deepseek-v3.json")


def test_the_quantisation_file_beside_config_json() -> None:
    facts = from_config(DATA / "fp8_beside")
    assert (facts.quantization, facts.kv_cache_dtype, facts.name) == ("fp8", "fp8", "fp8_beside")
    assert costs.weight_bytes(facts) / GIB == pytest.approx(67.7, abs=0.1)
    assert from_config(DATA / "fp8_beside" / "config.json") == facts


def test_gpt_oss_keeps_attention_router_and_tables_in_16_bits() -> None:
    facts = facts_of("gpt-oss-20b")
    assert facts.quantization == "mxfp4"
    assert costs.part_bytes(facts, "attention") == 2 * facts.attention_parameters
    assert costs.part_bytes(facts, "experts") == facts.weights("experts") * (0.5 + 1 / 32)


def test_gemma_4_has_other_heads_in_its_global_layers() -> None:
    local, whole = facts_of("gemma-4-26b-a4b").attention
    assert (local.count, local.kv_heads, local.head_dim, local.window, local.kv_projections) == (25, 8, 256, 1024, 2)
    assert (whole.count, whole.kv_heads, whole.head_dim, whole.window, whole.kv_projections) == (5, 2, 512, None, 1)
    (mlp,) = facts_of("gemma-4-26b-a4b").mlp
    assert (mlp.width, mlp.experts, mlp.experts_per_token, mlp.expert_width) == (2112, 128, 8, 704)


def test_llama_4_has_a_shared_expert_and_in_maverick_dense_layers_between() -> None:
    scout, maverick = facts_of("llama-4-scout"), facts_of("llama-4-maverick")
    assert [(m.count, m.width, m.shared_width, m.experts) for m in scout.mlp] == [(48, 0, 8192, 16)]
    assert {(m.count, m.width, m.shared_width, m.experts) for m in maverick.mlp} == {
        (24, 16384, 0, 0),
        (24, 0, 8192, 128),
    }
    assert (scout.windowed_layers, scout.sliding_window) == (36, 8192)


def test_layers_that_share_a_kv_cache_hold_none_but_read_it() -> None:
    facts = facts_of("gemma-3n-e4b")
    assert sum(a.count for a in facts.attention if not a.holds_kv) == 15
    assert costs.kv_read_bytes(facts, 1, 100) == 35 * 2 * 2 * 256 * 2 * 100


@pytest.mark.parametrize("missing", ["layer_types", "sliding_window", "num_attention_heads", "head_dim", "vocab_size"])
def test_a_file_may_leave_out_what_its_class_has_as_default(missing: str) -> None:
    config = config_of("gpt-oss-20b")
    del config[missing]
    from rooftune.models.config_json import from_mapping

    assert from_mapping(config, "gpt-oss-20b") == facts_of("gpt-oss-20b")
