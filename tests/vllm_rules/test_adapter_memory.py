"""LoRA adapters hold memory that the KV cache does not get."""

from __future__ import annotations

import pytest

from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.models.facts import ModelFacts
from rooftune.models.layers import AttentionLayers, MlpLayers
from rooftune.vllm_rules.adapters import adapter_bytes
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.effects import unmodelled
from rooftune.vllm_rules.memory import kv_cache_tokens, memory_budget
from rooftune.vllm_rules.resolve import resolve

SMALL_LLAMA = ModelFacts(
    name="small", architecture="LlamaForCausalLM", hidden_size=192, vocab_size=2048, max_position=1024,
    attention=(AttentionLayers(count=4, heads=6, kv_heads=2, head_dim=32),), mlp=(MlpLayers(count=4, width=512),),
    tied_embeddings=True,
)  # fmt: skip
L4, MODEL, VERSION = accelerator("L4"), "llama-3.1-8b", "0.32.0"


def test_slots_hold_what_a_real_server_reserves() -> None:
    """Counted in vLLM 0.32.0 (CPU) with three slots of rank 32: the tensors of all layers with adapters."""
    assert adapter_bytes(SMALL_LLAMA, slots=3, rank=32) == 3_465_216


def budget(**flags: FlagValue) -> float:
    facts = model_facts(MODEL)
    config = EngineConfig(model=MODEL, max_model_len=4096).with_change(flags)
    return memory_budget(L4, facts, resolve(L4, facts, config, VERSION)).weights_bytes


def test_memory_grows_with_slots_and_rank_and_shrinks_the_kv_cache() -> None:
    plain, one = budget(), budget(enable_lora=True)
    assert budget(max_loras=4) == plain, "without enable_lora there are no slots"
    assert budget(enable_lora=True, max_loras=4) - plain == pytest.approx(4 * (one - plain), abs=4)
    assert budget(enable_lora=True, max_lora_rank=64) - plain == pytest.approx(4 * (one - plain), abs=4)
    facts, config = model_facts(MODEL), EngineConfig(model=MODEL, max_model_len=4096)
    many = config.with_change({"enable_lora": True, "max_loras": 8, "max_lora_rank": 64})
    lost = kv_cache_tokens(L4, facts, config, VERSION) - kv_cache_tokens(L4, facts, many, VERSION)
    assert lost * facts.kv_bytes_per_token(2.0) == pytest.approx(adapter_bytes(facts, 8, 64), rel=0.01)


def test_a_gpu_of_two_holds_half_of_what_is_split() -> None:
    facts = model_facts(MODEL)
    assert 0.5 < adapter_bytes(facts, 1, 16, tensor_parallel=2) / adapter_bytes(facts, 1, 16) < 1


def test_the_time_of_adapters_is_named_as_left_out() -> None:
    flags: dict[str, FlagValue] = {"enable_lora": True, "max_loras": 2, "lora_modules": "a=a b=b"}
    found = unmodelled(EngineConfig(model=MODEL).with_change(flags), VERSION)
    assert [f.name for f in found] == ["enable_lora"]
    assert "time of adapters" in found[0].why
