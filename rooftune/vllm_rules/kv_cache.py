"""Bytes of one value in the KV cache, by its type."""

from __future__ import annotations

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.vllm_rules.attention import CPU_READS_FP8
from rooftune.vllm_rules.config import EngineConfig

SCALE_BYTES = 0.03
"""A scale of four bytes for each token and head of 128 values."""


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
