"""What fits: the KV cache by version and flags, and why an engine would not start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rooftune.errors import EngineError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.models.config_json import from_mapping
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.memory import kv_cache_tokens
from rooftune.vllm_rules.resolve import resolve

CONFIGS = Path(__file__).parents[1] / "models" / "data" / "configs"


def tokens(gpu: str, model: str, kind: str | None = None, version: str = "0.32.0", **flags: Any) -> int:
    facts = model_facts(model, quantization=kind or "none")
    return kv_cache_tokens(accelerator(gpu), facts, EngineConfig(model=model, **flags), version)


@pytest.mark.parametrize(("max_num_seqs", "logged"), [(None, 18608), (8, 18640), (1, 18640)])
def test_t4_as_logged(max_num_seqs: int | None, logged: int) -> None:
    flags: dict[str, Any] = {
        "quantization": "awq",
        "dtype": "half",
        "max_model_len": 2048,
        "gpu_memory_utilization": 0.9,
    }
    found = tokens("T4", "llama-2-7b", "awq", "0.15.1", enforce_eager=True, max_num_seqs=max_num_seqs, **flags)
    assert found == logged


def test_fp8_keys_and_values_make_room_for_twice_as_many() -> None:
    plain = tokens("H100", "llama-3.1-8b", max_model_len=8192)
    half = tokens("H100", "llama-3.1-8b", max_model_len=8192, kv_cache_dtype="fp8")
    assert half == pytest.approx(2 * plain, rel=0.001)


def test_4090_and_3090_as_logged() -> None:
    """LLMServingSim's meta.json (vLLM 0.19) and polyserve's result files (0.11): within 2 %."""
    flags: dict[str, Any] = {"max_model_len": 32768, "gpu_memory_utilization": 0.9, "max_num_seqs": 256}
    found = tokens("RTX 4090", "llama-3.1-8b", version="0.19.0", max_num_batched_tokens=2048, **flags)
    assert found == pytest.approx(41408, rel=0.02)
    assert tokens("RTX 3090", "qwen2.5-3b", version="0.11.0", **flags) == pytest.approx(407168, rel=0.02)


def test_the_sampler_of_many_sequences_may_take_more_than_the_forward_pass() -> None:
    def at(sequences: int, version: str) -> int:
        flags: dict[str, Any] = {"max_model_len": 4096, "max_num_seqs": sequences, "enforce_eager": True}
        return tokens("H100", "llama-3.1-8b", version=version, **flags)

    assert at(16, "0.19.1") == at(64, "0.19.1") > at(1024, "0.19.1")
    assert at(64, "0.32.0") == at(1024, "0.32.0"), "the V2 runner profiles the sampler without top-k and top-p"


H200_NGRAM = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 1, "prompt_lookup_max": 3}
H200_DRAFT = {"method": "draft_model", "num_speculative_tokens": 3, "model": "llama-3.2-1b"}
H200_GRAPHS = {"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]}


@pytest.mark.parametrize(
    ("flags", "runner", "logged"),
    [
        ({}, "V2", 919_824),
        ({"quantization": "fp8", "compilation_config": H200_GRAPHS}, "V2", 972_752),
        ({"speculative_config": H200_NGRAM, "compilation_config": H200_GRAPHS}, "V1", 895_088),
        ({"speculative_config": H200_DRAFT, "compilation_config": H200_GRAPHS}, "V1", 700_816),
    ],
)
def test_h200_as_logged(flags: dict[str, Any], runner: str, logged: int) -> None:
    """vLLM 0.23.0, llama-3.1-8b (tests/engines/logs): V2 subtracts no graphs there and profiles a small sampler."""
    gpu, facts = accelerator("H200"), model_facts("llama-3.1-8b", quantization=flags.get("quantization"))
    resolved = resolve(gpu, facts, EngineConfig(model="m").with_change({"max_model_len": 16384, **flags}), "0.23.0")
    assert resolved.runner == runner
    assert kv_cache_tokens(gpu, facts, resolved) == pytest.approx(logged, rel=0.005)


def test_a_draft_model_that_is_not_known_takes_no_memory() -> None:
    def at(model: str) -> int:
        draft = {"method": "draft_model", "num_speculative_tokens": 3, "model": model}
        return tokens("H200", "llama-3.1-8b", version="0.23.0", max_model_len=4096, speculative_config=draft)

    assert at("llama-3.2-1b") < at("llama-3.2-1b-instruct-of-somebody")


@pytest.mark.parametrize("named", ["1,2,4", "1 2 4", "[1, 2, 4]"])
def test_captured_sizes_are_read_as_they_may_be_written(named: str) -> None:
    config = EngineConfig(model="m").with_change({"max_model_len": 4096, "cudagraph_capture_sizes": named})
    assert resolve(accelerator("H200"), model_facts("llama-3.1-8b"), config, "0.23.0").capture_sizes == (1, 2, 4)


def test_a_checkpoint_that_is_quantised_keeps_the_first_v2_releases_from_v2() -> None:
    gpu, facts = accelerator("H200"), model_facts("llama-3.1-8b", quantization="fp8")
    config = EngineConfig(model="m", max_model_len=16384)
    assert resolve(gpu, facts, config, "0.23.0").runner == "V1"
    assert resolve(gpu, facts, config, "0.29.0").runner == "V2"


def test_two_gpus_hold_more_than_twice_because_weights_are_split() -> None:
    one = tokens("A100-40", "llama-2-13b", max_model_len=4096)
    two = tokens("A100-40", "llama-2-13b", max_model_len=4096, tensor_parallel_size=2)
    assert two > 2.5 * one


def test_newer_versions_use_more_of_the_memory_and_count_graphs() -> None:
    old, new = (
        tokens("L4", "llama-3.1-8b", max_model_len=4096, max_num_seqs=16, version=v, gpu_memory_utilization=0.9)
        for v in ("0.15.1", "0.32.0")
    )
    assert new < old
    few: dict[str, Any] = {"max_model_len": 4096, "max_num_seqs": 16, "gpu_memory_utilization": 0.9}
    eager = few | {"enforce_eager": True}
    assert tokens("L4", "llama-3.1-8b", version="0.15.1", **eager) == tokens("L4", "llama-3.1-8b", **eager)
    assert tokens("L4", "llama-3.1-8b", **eager) > tokens("L4", "llama-3.1-8b", **few)


@pytest.mark.parametrize(
    ("gpu", "model", "flags", "said"),
    [
        ("T4", "llama-2-13b", {}, "CUDA out of memory"),
        ("T4", "llama-2-7b", {"max_model_len": 4096, "enforce_eager": True}, "max seq len \\(4096\\)"),
        ("A10G", "qwen2.5-14b", {}, "out of memory"),
        ("T4", "llama-3.1-8b", {"dtype": "bfloat16"}, "Bfloat16 is only supported"),
        ("T4", "gemma-2-2b", {}, "does not support float16"),
        ("L4", "llama-3.1-8b", {"max_model_len": 200000}, "greater than the derived max_model_len"),
        ("H100", "llama-3.1-8b", {"tensor_parallel_size": 3}, "must be divisible"),
        ("V100", "llama-2-7b", {}, "no kernel image"),
        (
            "A100-80",
            "llama-3.1-8b",
            {"max_num_batched_tokens": 64, "max_num_seqs": 128},
            "must be greater than or equal",
        ),
    ],
)
def test_what_cannot_start_says_why_in_vllms_words(gpu: str, model: str, flags: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        tokens(gpu, model, **flags)


@pytest.mark.parametrize(
    ("gpu", "model", "kind", "version", "flag", "kernel"),
    [
        ("T4", "llama-2-7b", "awq", "0.15.1", "awq", "awq_gemm"),
        ("T4", "llama-2-7b", "awq", "0.15.1", "awq_marlin", "marlin"),
        ("T4", "llama-2-7b", "awq", "0.32.0", "awq", "marlin"),
        ("H100", "llama-2-7b", "gptq", "0.32.0", None, "machete"),
        ("L4", "llama-2-7b", "gptq", "0.32.0", None, "marlin"),
        ("L4", "llama-3.1-8b", "fp8", "0.32.0", "fp8", "fp8"),
        ("A100-80", "llama-3.1-8b", "fp8", "0.32.0", "fp8", "marlin"),
        ("A100-80", "llama-3.1-8b", "int8", "0.32.0", None, "int8"),
        ("A100-80", "llama-3.1-8b", "none", "0.32.0", None, "gemm_16bit"),
    ],
)
def test_kernel_by_gpu_version_and_flag(
    gpu: str, model: str, kind: str, version: str, flag: str | None, kernel: str
) -> None:
    facts = model_facts(model, quantization=kind)
    config = EngineConfig(model=model, quantization=flag, max_model_len=2048)
    assert resolve(accelerator(gpu), facts, config, version).kernel == kernel


def asking_for_fp8(method: str) -> ModelFacts:
    """Qwen3 8B in FP8 whose checkpoint asks for an FP8 KV cache, as the two methods write it."""
    config = json.loads((CONFIGS / "qwen3-8b.json").read_text(encoding="utf-8"))
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": weights}}
    return from_mapping(
        {
            **config,
            "quantization_config": {
                "compressed-tensors": {
                    "quant_method": "compressed-tensors",
                    "config_groups": groups,
                    "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False},
                },
                "modelopt": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
            }[method],
        },
        "checkpoint",
    )


@pytest.mark.parametrize(
    ("method", "version", "flag", "bytes_per_value"),
    [
        ("modelopt", "0.11.0", None, 2.0),
        ("modelopt", "0.15.1", None, 1.0),
        ("modelopt", "0.32.0", "auto", 1.0),
        ("modelopt", "0.32.0", "bfloat16", 2.0),
        ("compressed-tensors", "0.11.0", None, 2.0),
        ("compressed-tensors", "0.15.1", None, 2.0),
        ("compressed-tensors", "0.19.1", None, 1.0),
        ("compressed-tensors", "0.32.0", "fp8", 1.0),
    ],
)
def test_a_checkpoint_asks_for_its_kv_cache_type(
    method: str, version: str, flag: str | None, bytes_per_value: float
) -> None:
    """vLLM pull requests 29980 (ModelOpt) and 30141 (compressed-tensors); an explicit flag wins."""
    config = EngineConfig(model="m", kv_cache_dtype=flag, max_model_len=8192)
    found = resolve(accelerator("H100"), asking_for_fp8(method), config, version)
    assert found.kv_bytes_per_value == bytes_per_value
    assert any("checkpoint asks for a KV cache in FP8" in note for note in found.notes) == (
        bytes_per_value == 1.0 and flag != "fp8"
    )


def test_an_fp8_cache_that_the_checkpoint_asks_for_chooses_the_attention_backend() -> None:
    """FlashAttention reads no FP8 on Ada, so FlashInfer does; the flag still decides."""
    facts, card = asking_for_fp8("modelopt"), accelerator("L40S")
    auto = resolve(card, facts, EngineConfig(model="m", max_model_len=8192), "0.32.0")
    wide = resolve(card, facts, EngineConfig(model="m", max_model_len=8192, kv_cache_dtype="bfloat16"), "0.32.0")
    assert (auto.attention_backend, wide.attention_backend) == ("FLASHINFER", "FLASH_ATTN")
    assert kv_cache_tokens(card, facts, auto) == pytest.approx(2 * kv_cache_tokens(card, facts, wide), rel=0.001)
