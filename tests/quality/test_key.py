"""Which configurations are checked, and which share a verdict."""

from __future__ import annotations

from rooftune.quality.key import answers_key, may_change_answers, model_key, speculates
from rooftune.vllm_rules.config import EngineConfig, FlagValue

BASE = EngineConfig(model="m", max_num_seqs=64)


def changed(**flags: FlagValue) -> EngineConfig:
    return BASE.with_change(flags)


def test_scheduling_and_memory_leave_the_answers_unchanged() -> None:
    flags: dict[str, FlagValue] = {
        "max_num_seqs": 8, "max_num_batched_tokens": 512, "enable_prefix_caching": False, "async_scheduling": True,
        "gpu_memory_utilization": 0.5, "enforce_eager": True, "stream_interval": 4, "tensor_parallel_size": 2,
        "disable_log_stats": True, "served_model_name": "x", "kv_cache_memory_bytes": 10**9,
    }  # fmt: skip
    for name, value in flags.items():
        assert not may_change_answers(changed(**{name: value}), BASE), name


def test_weights_types_and_what_nobody_knows_may_change_them() -> None:
    flags: dict[str, FlagValue] = {
        "quantization": "fp8", "kv_cache_dtype": "fp8", "dtype": "float16", "hf_overrides": {"a": 1},
        "calculate_kv_scales": True, "a_flag_of_the_future": 3, "load_format": "dummy",
        "speculative_config": {"method": "ngram"},
    }  # fmt: skip
    for name, value in flags.items():
        assert may_change_answers(changed(**{name: value}), BASE), name
    assert may_change_answers(EngineConfig(model="other"), BASE)


def test_a_verdict_is_shared_by_what_schedules_differently() -> None:
    assert answers_key(changed(quantization="fp8", max_num_seqs=8)) == answers_key(changed(quantization="fp8"))
    assert answers_key(changed(quantization="fp8")) != answers_key(changed(quantization="fp8", kv_cache_dtype="fp8"))


def test_drafts_leave_the_probabilities_of_a_model_as_they_are() -> None:
    drafts: dict[str, FlagValue] = {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}
    assert model_key(changed(quantization="fp8", **drafts)) == answers_key(changed(quantization="fp8"))
    assert model_key(changed(quantization="fp8", **drafts)) != model_key(changed(quantization="awq", **drafts))


def test_speculation_is_what_the_baseline_does_not_do() -> None:
    ngram: dict[str, FlagValue] = {"speculative_config": {"method": "ngram"}}
    assert speculates(changed(**ngram), BASE)
    assert not speculates(changed(**ngram), changed(**ngram))
    assert not speculates(BASE, BASE)
    assert not speculates(BASE, changed(**ngram))
