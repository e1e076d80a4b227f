"""Defaults that depend on the device: batch limits, share of memory and block size.

Read in ``engine/arg_utils.py`` (get_batch_defaults: 0.11.0 line 1595, 0.15.1 1808, 0.19.1 2024, 0.23.0 2287, 0.29.0
2669, 0.32.0 2894, 0.33.0 2940), ``config/cache.py`` and ``platforms/{cpu,cuda}.py``. The values are those of the
server.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.versions import Releases

GIB = 1024**3
LARGEST = Releases(since="0.29")
"""Devices of 160 GiB and more have a separate row; before, they had the row of 70 GiB."""
NO_GB10 = Releases(since="0.33")
"""A GB10 (compute capability 12.1) has the small row although its memory is large."""
TOKENS_FOLLOW_SEQUENCES = Releases(since="0.15")
"""A defaulted token budget is at most max_num_seqs * max_model_len."""


@dataclass(frozen=True)
class BatchLimits:
    """Tokens and sequences of one step."""

    tokens: int
    sequences: int


def device_row(gpu: Accelerator, engine: Version, world: int = 1) -> BatchLimits:
    """The defaults that a device has, before they are fitted to a model; ``world`` is the number of devices."""
    memory, cc = gpu.memory_bytes / GIB, gpu.compute_capability
    if gpu.kind == "cpu":
        return BatchLimits(2048 * world, 128 * world)
    if memory >= 160 and LARGEST.has(engine):
        return BatchLimits(16384, 1024)
    small_board = cc == (12, 1) and NO_GB10.has(engine)
    if memory >= 70 and "a100" not in gpu.name.lower() and not small_board:
        return BatchLimits(8192, 1024)
    return BatchLimits(2048, 256)


def batch_limits(gpu: Accelerator, config: EngineConfig, length: int | None, engine: Version) -> BatchLimits:
    """The limits that a configuration comes to; ``length`` is the model's longest sequence, None = not known."""
    row = device_row(gpu, engine, world_size(config))
    double = 2 if config.performance_mode == "throughput" else 1
    sequences = config.max_num_seqs or row.sequences * double
    tokens = config.max_num_batched_tokens
    if tokens is None:
        tokens = row.tokens * double
        if config.enable_chunked_prefill is False and length is not None:
            tokens = max(length, tokens) if TOKENS_FOLLOW_SEQUENCES.has(engine) else length
        if TOKENS_FOLLOW_SEQUENCES.has(engine) and length is not None:
            tokens = min(sequences * length, tokens)
    if config.max_num_seqs is None:
        sequences = min(sequences, tokens)
    return BatchLimits(tokens, sequences)


def gpu_memory_utilization(config: EngineConfig, engine: Version) -> float:
    """The share of memory that one engine takes.

    0.9 in 0.19.1 and 0.92 in 0.23.0 (``config/cache.py``). Pull request 38284 changed it in spring 2026; that 0.20 is
    the first release with it is an assumption.
    """
    if config.gpu_memory_utilization is not None:
        return config.gpu_memory_utilization
    return float(str(registry()["gpu_memory_utilization"].default_of(engine)))


def block_size(gpu: Accelerator, config: EngineConfig) -> int:
    """Tokens of one block of the KV cache: 16 on CUDA, 128 on a CPU (0.11: with the Intel extension for PyTorch)."""
    return config.block_size or (128 if gpu.kind == "cpu" else 16)


def world_size(config: EngineConfig) -> int:
    """Devices of one engine."""
    stages = config.other_flags.get("pipeline_parallel_size")
    return (config.tensor_parallel_size or 1) * (stages if isinstance(stages, int) else 1)
