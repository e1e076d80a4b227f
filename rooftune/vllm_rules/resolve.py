"""What vLLM resolves its flags to on an accelerator, by version; and why it would refuse to start.

Rules as read in vLLM 0.15 and 0.32 (``engine/arg_utils.py``, ``platforms/cuda.py``, ``config/*.py``). The texts of refusals
are those of vLLM, so that what reads its log understands ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.kernels import attention_backend, kv_bytes, linear_kernel, quantization_of

GIB = 1024**3
NEEDS_BFLOAT16 = ("Gemma2", "Gemma3", "Glm4")
"""Architectures that vLLM refuses to run in float16."""
ASYNC_SPECULATION = ("eagle", "eagle3", "mtp", "draft_model", "ngram_gpu", "dspark", "dflash")

TRAP_NOTE = (
    "vLLM before 0.32 traces the dequantising arm of the AWQ layer, so every decode step pays it (vLLM PR 30783); "
    "enforce_eager=true or quantization=awq_marlin avoid that"
)


@dataclass(frozen=True)
class Resolved:
    """Every setting that the scheduler and the step time depend on."""

    version: Version
    dtype: str
    quantization: str | None
    kernel: str
    """gemm_16bit, marlin, machete, exllama, awq_gemm, fp8 or int8."""
    attention: str
    """flashinfer, flash_attention, triton or cpu."""
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    chunked_prefill: bool
    prefix_caching: bool
    async_scheduling: bool
    cuda_graphs: bool
    awq_graph_trap: bool
    """0.15 with forced AWQ and torch.compile: every decode step pays the dequantising arm (vLLM PR 30783)."""
    gpu_memory_utilization: float
    kv_bytes_per_value: float
    tensor_parallel: int
    speculative_method: str | None
    speculative_tokens: int
    notes: tuple[str, ...] = ()
    kv_cache_memory_bytes: int | None = None
    kv_blocks_override: int | None = None
    small_graph_steps: bool = False
    """performance_mode=interactivity: every size from 1 to 32 is captured."""

    @property
    def modern(self) -> bool:
        """Rules of 0.32 rather than of 0.15."""
        return self.version >= Version("0.24")


def resolve(gpu: Accelerator, facts: ModelFacts, config: EngineConfig, engine_version: str) -> Resolved:
    """Resolve the flags as vLLM of that version does.

    Raises:
        EngineError: vLLM would refuse to start; the message is the line that it prints.
    """
    version = Version(engine_version)
    cc = gpu.compute_capability or (9, 0)
    _check_wheel(gpu, cc, version)
    quantization = quantization_of(facts, config, cc)
    dtype = _dtype(gpu, facts, config, cc, quantization)
    kernel, forced = linear_kernel(facts, config, quantization, cc, version)
    length = _length(facts, config)
    budget, seqs = _batch_defaults(gpu, config, length)
    chunked = config.enable_chunked_prefill is not False
    if not chunked and config.max_num_batched_tokens is None:
        budget = max(budget, length)
    _check_budget(budget, seqs, length, chunked)
    spec = config.speculative_config or {}
    graphs, compiled = _graphs(gpu, config)
    trap = forced and compiled and budget >= 256
    return Resolved(
        version=version,
        dtype=dtype,
        quantization=quantization,
        kernel=kernel,
        attention=attention_backend(gpu, config, cc, version),
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        chunked_prefill=chunked,
        prefix_caching=config.enable_prefix_caching is not False,
        async_scheduling=_async(config, spec, version),
        cuda_graphs=graphs,
        awq_graph_trap=trap,
        notes=(TRAP_NOTE,) if trap else (),
        gpu_memory_utilization=config.gpu_memory_utilization or (0.92 if version >= Version("0.20") else 0.9),
        kv_bytes_per_value=kv_bytes(config, gpu, cc, version),
        tensor_parallel=_tensor_parallel(facts, config),
        speculative_method=spec.get("method"),
        speculative_tokens=int(spec.get("num_speculative_tokens") or 0),
        kv_cache_memory_bytes=config.kv_cache_memory_bytes,
        kv_blocks_override=_blocks_override(config),
        small_graph_steps=config.performance_mode == "interactivity",
    )


def capture_sizes(r: Resolved) -> list[int]:
    """Batch sizes that a CUDA graph was captured for; a decode step is padded to the next. Empty without graphs."""
    if not r.cuda_graphs:
        return []
    top = min(2 * r.max_num_seqs * (1 + r.speculative_tokens), 512, r.max_num_batched_tokens)
    low = list(range(1, 33)) if r.small_graph_steps else [1, 2, 4]
    sizes = [*low, *range(8, 256, 8), *range(256, 513, 16)]
    return sorted({n for n in sizes if n <= top})


def _check_wheel(gpu: Accelerator, cc: tuple[int, int], version: Version) -> None:
    if gpu.kind == "cuda" and (cc < (7, 0) or (cc < (7, 5) and version >= Version("0.21"))):
        raise EngineError(
            f"CUDA error: no kernel image is available for execution on the device ({gpu.name}, compute capability "
            f"{cc[0]}.{cc[1]}, is not built into the default wheels of vLLM {version}).",
            "driver",
        )


def _dtype(
    gpu: Accelerator, facts: ModelFacts, config: EngineConfig, cc: tuple[int, int], quantization: str | None
) -> str:
    asked = {"half": "float16", "auto": None, "float": "float32"}.get(config.dtype or "auto", config.dtype)
    if asked == "bfloat16" and cc < (8, 0):
        raise EngineError(
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
            f"Your {gpu.name} GPU has compute capability {cc[0]}.{cc[1]}. You can use float16 instead by explicitly "
            "setting the `dtype` flag in CLI, for example: --dtype=half.",
            "dtype",
        )
    dtype = asked or ("float16" if cc < (8, 0) or quantization == "awq" else facts.dtype)
    if dtype == "float16" and facts.architecture.startswith(NEEDS_BFLOAT16):
        family = facts.architecture.removesuffix("ForCausalLM").lower()
        raise EngineError(
            f"The model type '{family}' does not support float16. Reason: Numerical instability. Please use bfloat16 or "
            "float32 instead.",
            "dtype",
        )
    return dtype


def _length(facts: ModelFacts, config: EngineConfig) -> int:
    asked = config.max_model_len
    if asked is None or asked < 0:
        return facts.max_position
    if asked > facts.max_position:
        raise EngineError(
            f"User-specified max_model_len ({asked}) is greater than the derived max_model_len "
            f"(max_position_embeddings={facts.max_position} or model_max_length=None in model's config.json).",
            "max_model_len",
        )
    return asked


def _batch_defaults(gpu: Accelerator, config: EngineConfig, length: int) -> tuple[int, int]:
    memory = gpu.memory_bytes / GIB
    if gpu.kind == "cpu":
        budget, seqs = 2048, 128
    elif memory < 70 or "a100" in gpu.name.lower():
        budget, seqs = 2048, 256
    else:
        budget, seqs = (8192 if memory < 160 else 16384), 1024
    double = 2 if config.performance_mode == "throughput" else 1
    seqs = config.max_num_seqs or seqs * double
    if config.max_num_batched_tokens is None:
        return max(min(budget * double, seqs * length), seqs), seqs
    budget = config.max_num_batched_tokens
    return budget, (seqs if config.max_num_seqs else min(seqs, budget))


def _check_budget(budget: int, seqs: int, length: int, chunked: bool) -> None:
    if not chunked and budget < length:
        raise EngineError(
            f"max_num_batched_tokens ({budget}) is smaller than max_model_len ({length}). This effectively limits the "
            "maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase "
            "max_num_batched_tokens or decrease max_model_len.",
            "budget",
        )
    if budget < seqs:
        raise EngineError(
            f"max_num_batched_tokens ({budget}) must be greater than or equal to max_num_seqs ({seqs}).", "budget"
        )


def _graphs(gpu: Accelerator, config: EngineConfig) -> tuple[bool, bool]:
    """(CUDA graphs are replayed, torch.compile traced the model)."""
    cc = config.compilation_config or {}
    level = config.other_flags.get("optimization_level")
    if config.enforce_eager or gpu.kind == "cpu" or str(level) == "0":
        return False, False
    compiled = str(cc.get("mode", cc.get("level", 3))).lower() not in ("0", "none")
    mode = str(cc.get("cudagraph_mode", "FULL_AND_PIECEWISE")).upper()
    return mode != "NONE" and (compiled or mode.startswith("FULL")), compiled


def _async(config: EngineConfig, spec: dict[str, object], version: Version) -> bool:
    method = str(spec.get("method", ""))
    if spec and method not in ASYNC_SPECULATION:
        return False
    if config.async_scheduling is None:
        return version >= Version("0.14")
    return config.async_scheduling


def _blocks_override(config: EngineConfig) -> int | None:
    value = config.other_flags.get("num_gpu_blocks_override")
    return int(value) if isinstance(value, (int, float, str)) else None


def _tensor_parallel(facts: ModelFacts, config: EngineConfig) -> int:
    n = config.tensor_parallel_size or 1
    if facts.heads % n:
        raise EngineError(
            f"Total number of attention heads ({facts.heads}) must be divisible by tensor parallel size ({n}).",
            "tensor parallel",
        )
    return n
