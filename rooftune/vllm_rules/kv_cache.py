"""The KV cache's type: what the flag or the checkpoint asks for, and the bytes of one value."""

from __future__ import annotations

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.attention import CPU_READS_FP8
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.versions import Releases

BLOCK_TOKENS = 16
"""Tokens of one block of the simulated KV cache (vLLM's default on CUDA)."""
SCALE_BYTES = 0.03
"""A scale of four bytes for each token and head of 128 values."""
MODELOPT_DECIDES = Releases(since="0.15")
"""``auto`` takes the type that ModelOpt names in ``kv_cache_quant_algo`` or ``kv_cache_scheme`` (request 29980)."""
COMPRESSED_TENSORS_DECIDES = Releases(since="0.19")
"""``auto`` takes FP8 where ``kv_cache_scheme`` of compressed-tensors is set (pull request 30141)."""


def with_checkpoints_type(config: EngineConfig, facts: ModelFacts, engine: Version) -> EngineConfig:
    """The configuration with the type of KV cache that the checkpoint asks for, where the flag leaves it open and the
    version does so."""
    if facts.kv_cache_dtype is None or (config.kv_cache_dtype or "auto") != "auto":
        return config
    method = facts.quantization_method or ""
    rules = {"modelopt": MODELOPT_DECIDES, "compressed-tensors": COMPRESSED_TENSORS_DECIDES}
    decides = next((rule.has(engine) for name, rule in rules.items() if method.startswith(name)), False)
    return config.with_change({"kv_cache_dtype": facts.kv_cache_dtype}) if decides else config


def bytes_per_value(config: EngineConfig) -> float:
    """Bytes of one value with its scales; types that are not modelled are taken as 16 bits."""
    kind = config.kv_cache_dtype or "auto"
    if kind.endswith("_per_token_head"):
        return (0.5 if kind.startswith("int4") else 1.0) + SCALE_BYTES
    if kind in ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"):
        return 1.0
    if kind in ("float16", "bfloat16"):
        return 2.0
    return 4.0 if config.dtype in ("float32", "float") else 2.0


def held_bytes_per_value(gpu: Accelerator, config: EngineConfig, engine: Version) -> float:
    """Bytes that an engine really keeps: CPU builds before 0.23 keep 16 bits although FP8 was asked for."""
    wide = gpu.kind == "cpu" and not CPU_READS_FP8.has(engine) and engine.release[:2] > (0, 11)
    kept = config.with_change({"kv_cache_dtype": None}) if wide else config
    return bytes_per_value(kept)
