"""CUDA graphs and compilation: whether they are on, and for which batch sizes graphs are captured.

Read in ``config/vllm.py`` (_set_cudagraph_sizes: 0.15.1 line 1132, 0.19.1 1400, 0.23.0 1679, 0.29.0 2006, 0.32.0 2357,
0.33.0 2463) and, for 0.11.0, in ``config/__init__.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.defaults import BatchLimits
from rooftune.vllm_rules.speculation import Speculation
from rooftune.vllm_rules.versions import Releases

BUDGET_IS_CAPTURED = Releases(since="0.23")
"""max_num_batched_tokens is captured too where it is below the maximum."""
DECODE_SIZES_ARE_CAPTURED = Releases(since="0.29")
"""Multiples of 1 + num_speculative_tokens are captured too."""
SEQUENCES_ARE_CAPTURED = Releases(since="0.32")
"""max_num_seqs is captured too where it is below the maximum."""
STEP_16_FROM_256 = Releases(since="0.15")
"""Sizes from 256 on are 16 apart; 0.11 has them 8 apart."""
BUDGET_LIMITS = Releases(since="0.15")
"""No size is above max_num_batched_tokens."""
LARGER_ON_BLACKWELL = Releases(since="0.29")
"""The largest size is 1024 on compute capability 10.x."""


FLASHINFER_VERIFIES_ON_10 = Releases(since="0.12")
"""On compute capability 10.x, TensorRT-LLM kernels of FlashInfer verify drafts inside a graph (pull request 28479)."""
FLASHINFER_VERIFIES_ON_9_AND_12 = Releases(since="0.32")
"""The same of its XQA kernel on 9.0 and 12.x (``v1/attention/backends/flashinfer.py`` of 0.32.0, line 1036). Of the
releases between 0.23 and 0.32 it is not known."""
WITH_XQA = (9, 12)


@dataclass(frozen=True)
class Graphs:
    """Whether CUDA graphs are replayed and torch.compile traced the model; ``sizes`` are the captured batch sizes."""

    on: bool
    compiled: bool
    sizes: tuple[int, ...] = ()
    full: bool = False
    """A decode step is one graph. Else graphs run piece by piece, and the host launches attention between them."""


def graphs(
    gpu: Accelerator, config: EngineConfig, engine: Version, limits: BatchLimits, speculative_tokens: int = 0
) -> Graphs:
    """What the flags come to; a CPU has no CUDA graphs."""
    asked = config.compilation_config or {}
    level = str(config.other_flags.get("optimization_level"))
    if config.enforce_eager or gpu.kind == "cpu" or level == "0":
        return Graphs(on=False, compiled=False)
    compiled = str(asked.get("mode", asked.get("level", 3))).lower() not in ("0", "none")
    usual = "PIECEWISE" if level == "1" else "FULL_AND_PIECEWISE"
    mode = str(asked.get("cudagraph_mode") or usual).upper()
    on = mode != "NONE" and (compiled or mode.startswith("FULL"))
    if not on:
        return Graphs(on=False, compiled=compiled)
    sizes = tuple(capture_sizes(gpu, config, engine, limits, speculative_tokens))
    return Graphs(on, compiled, sizes, full=mode.startswith("FULL"))


def verifies_in_pieces(
    gpu: Accelerator, config: EngineConfig, engine: Version, spec: Speculation | None, runner: str, backend: str
) -> str:
    """Why steps that verify drafts are not one CUDA graph, although other decode steps would be; empty where they are.

    ``resolve_cudagraph_mode_and_sizes`` (``config/compilation.py`` of 0.32.0, line 1441) takes PIECEWISE where the
    attention backend captures only one token per sequence. Of the backends here that is FlashInfer with its own
    kernels, and an FP8 KV cache selects FlashInfer on compute capability 8.x (vLLM issues 49547 and 54992). A schedule
    of lengths takes PIECEWISE on the V1 runner (``config/vllm.py`` of 0.32.0, line 1039).
    """
    if spec is None:
        return ""
    if backend == "FLASHINFER" and not _flashinfer_verifies(gpu, engine):
        sixteen = (config.kv_cache_dtype or "auto") in ("auto", "float16", "bfloat16", "half")
        chosen = "" if config.attention_backend or sixteen else f"kv_cache_dtype={config.kv_cache_dtype} selects "
        return f"{chosen}FlashInfer{', which' if chosen else ''} captures only one token per sequence on this GPU"
    return "a schedule of lengths needs the V2 runner for that" if spec.schedule and runner == "V1" else ""


def _flashinfer_verifies(gpu: Accelerator, engine: Version) -> bool:
    generation = (gpu.compute_capability or (9, 0))[0]
    if generation == 10:
        return FLASHINFER_VERIFIES_ON_10.has(engine) is True
    return generation in WITH_XQA and FLASHINFER_VERIFIES_ON_9_AND_12.has(engine) is True


def capture_sizes(
    gpu: Accelerator, config: EngineConfig, engine: Version, limits: BatchLimits, speculative_tokens: int = 0
) -> list[int]:
    """Batch sizes that a graph is captured for; a decode step is padded to the next of them."""
    named = _named_sizes(config)
    if named:
        return sorted({n for n in named if n <= limits.tokens})
    largest, query = 512, 1 + speculative_tokens
    if LARGER_ON_BLACKWELL.has(engine) and gpu.compute_capability and gpu.compute_capability[0] == 10:
        largest = 1024
    asked = _named_maximum(config)
    ceiling = asked or min(2 * limits.sequences * (query if BUDGET_LIMITS.has(engine) else 1), largest)
    top = min(ceiling, limits.tokens) if BUDGET_LIMITS.has(engine) else ceiling
    step = 16 if STEP_16_FROM_256.has(engine) else 8
    small = range(1, min(top, 32) + 1) if config.performance_mode == "interactivity" else (1, 2, 4)
    sizes = {*small, *range(8, min(top + 1, 256), 8), *range(256, top + 1, step)}
    if BUDGET_IS_CAPTURED.has(engine) and limits.tokens <= top:
        sizes.add(limits.tokens)
    if asked is None:
        sizes |= set(_decode_sizes(engine, limits.sequences, query, ceiling, largest))
    return sorted(n for n in sizes if n <= top)


def _decode_sizes(engine: Version, sequences: int, query: int, ceiling: int, largest: int) -> Iterable[int]:
    """Sizes of batches in which every sequence decodes."""
    if query == 1:
        return [sequences] if SEQUENCES_ARE_CAPTURED.has(engine) and sequences <= ceiling else []
    if not DECODE_SIZES_ARE_CAPTURED.has(engine):
        return []
    most = min(sequences, largest)
    counts = {1, 2, 4, *range(8, min(most + 1, 256), 8), *range(256, most + 1, 16), most}
    return [n * query for n in counts if n <= most and n * query <= ceiling]


def _named_sizes(config: EngineConfig) -> list[int]:
    """Sizes that the flags name."""
    compilation = config.compilation_config or {}
    named = config.other_flags.get("cudagraph_capture_sizes") or compilation.get("cudagraph_capture_sizes") or []
    words = re.findall(r"\d+", named) if isinstance(named, str) else named
    return [int(word) for word in words] if isinstance(words, list) else []


def _named_maximum(config: EngineConfig) -> int | None:
    compilation = config.compilation_config or {}
    name = "max_cudagraph_capture_size"
    found = config.other_flags.get(name) or compilation.get(name)
    return found if isinstance(found, int) else None
