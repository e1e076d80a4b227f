"""What a configuration comes to in the engine: a key that equal configurations share, and the family of its errors."""

from __future__ import annotations

import json
from dataclasses import replace

from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.kernels import KINDS
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.versions import version

RESOLVED = {
    "dtype", "quantization", "max_model_len", "gpu_memory_utilization", "kv_cache_memory_bytes", "kv_cache_dtype",
    "block_size", "max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "enable_prefix_caching",
    "async_scheduling", "attention_backend", "tensor_parallel_size", "performance_mode", "enforce_eager",
    "cudagraph_capture_sizes", "max_cudagraph_capture_size", "scheduler_reserve_full_isl", "served_model_name",
}  # fmt: skip
"""Flags whose whole effect is in ``Resolved``."""
_KV_TYPES = {"fp8_e4m3": "fp8", "fp8_inc": "fp8"}
_SIXTEEN = ("auto", "float16", "bfloat16", "half")


def effective_key(config: EngineConfig, resolved: Resolved | None, engine_version: str) -> str:
    """Equal for two configurations exactly if the engine would run them in the same way, as far as the rules say."""
    if resolved is None:
        return json.dumps([config.model, _rest(config, set(), engine_version)], sort_keys=True, default=str)
    plain = replace(resolved, notes=(), awq_kernel_forced=False)
    if config.kv_cache_memory_bytes is not None:
        plain = replace(plain, gpu_memory_utilization=0.0)
    rest = _rest(config, RESOLVED, engine_version)
    if (config.long_prefill_token_threshold or 0) >= resolved.max_num_batched_tokens:
        rest.pop("long_prefill_token_threshold", None)  # a step never takes that much of one prompt
    apart = [config.model, _online(config, resolved), kv_type(config, resolved), bool(config.enforce_eager)]
    return json.dumps([repr(plain), apart, rest], sort_keys=True, default=str)


def families_of(config: EngineConfig, resolved: Resolved | None) -> tuple[str, ...]:
    """What decides the error of a step-time model, each as ``name=value``: weights and kernel, type of the activations,
    KV type, attention backend, number of GPUs."""
    if resolved is None:
        weights = " ".join(filter(None, (config.model, config.quantization)))
        parts = [
            weights,
            config.dtype or "auto",
            config.kv_cache_dtype or "auto",
            config.attention_backend or "default",
        ]
    else:
        weights = f"{resolved.quantization or '16-bit'} by {resolved.kernel}"
        parts = [weights, resolved.dtype, kv_type(config, resolved), resolved.attention_backend]
    names = ("weights", "activations", "kv", "attention", "gpus")
    return tuple(f"{n}={p}" for n, p in zip(names, [*parts, config.tensor_parallel_size or 1], strict=True))


def changes_outputs(
    config: EngineConfig, resolved: Resolved | None, baseline: EngineConfig, before: Resolved | None
) -> bool:
    """Whether the same prompt can get another answer: other weights, another KV type, or less exact activations."""
    if config.model != baseline.model:
        return True
    if resolved is None or before is None:
        return any(getattr(config, n) != getattr(baseline, n) for n in ("quantization", "kv_cache_dtype", "dtype"))
    if _online(config, resolved) != _online(baseline, before) or resolved.quantization != before.quantization:
        return True
    if kv_type(config, resolved) != kv_type(baseline, before):
        return True
    return resolved.dtype != before.dtype and resolved.dtype != "float32"


def kv_type(config: EngineConfig, resolved: Resolved) -> str:
    """The type of the KV cache that the engine really keeps; auto = that of the activations."""
    asked = _KV_TYPES.get(config.kv_cache_dtype or "auto", config.kv_cache_dtype or "auto")
    return "auto" if asked in _SIXTEEN or resolved.kv_bytes_per_value >= 2.0 else asked


def _online(config: EngineConfig, resolved: Resolved) -> str | None:
    """A method that the flag names and that the kind of the weights does not say already."""
    return config.quantization if config.quantization not in (*KINDS, resolved.quantization) else None


def _rest(config: EngineConfig, known: set[str], engine_version: str) -> dict[str, object]:
    """Flags outside of ``known`` that are not at their default."""
    engine, flags = version(engine_version), registry()
    return {
        name: value
        for name, value in config.flags().items()
        if name not in known and not (name in flags and value == flags[name].default_of(engine))
    }
