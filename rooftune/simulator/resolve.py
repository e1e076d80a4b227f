"""What vLLM resolves its flags to on a GPU, by version; and why it would refuse to start.

Rules as read in vLLM 0.15 and 0.32 (``engine/arg_utils.py``, ``platforms/cuda.py``, ``config/*.py``). The texts of refusals
are those of vLLM, so that what reads its log understands ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from rooftune.engines.config import EngineConfig
from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts

GIB = 1024**3


@dataclass(frozen=True)
class Resolved:
    """Every setting that the scheduler and the step time depend on."""

    version: Version
    dtype: str
    quantization: str | None
    kernel: str
    """gemm_16bit, marlin, awq_gemm, fp8 or int8."""
    attention: str
    """flashinfer, flash_attention or triton."""
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
    quantization = _quantization(facts, config)
    dtype = _dtype(gpu, facts, config, cc)
    kernel, forced = _kernel(config, quantization, cc, version)
    budget, seqs = _batch_defaults(gpu, config)
    chunked = config.enable_chunked_prefill is not False
    length = config.max_model_len or facts.max_position
    if length > facts.max_position:
        raise EngineError(
            f"User-specified max_model_len ({length}) is greater than the derived max_model_len "
            f"(max_position_embeddings={facts.max_position})",
            "max_model_len",
        )
    if not chunked and config.max_num_batched_tokens is None:
        budget = max(budget, length)
    _check_budget(budget, seqs, length, chunked)
    spec = config.speculative_config or {}
    eager, cudagraph_only = bool(config.enforce_eager), _graphs_without_compile(config)
    graphs = not eager and (config.compilation_config or {}).get("cudagraph_mode") != "NONE"
    return Resolved(
        version=version,
        dtype=dtype,
        quantization=quantization,
        kernel=kernel,
        attention=_attention(config, cc, version),
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        chunked_prefill=chunked,
        prefix_caching=config.enable_prefix_caching is not False,
        async_scheduling=_async(config, spec),
        cuda_graphs=graphs,
        awq_graph_trap=forced and graphs and not cudagraph_only and budget >= 256,
        gpu_memory_utilization=config.gpu_memory_utilization or (0.92 if version >= Version("0.20") else 0.9),
        kv_bytes_per_value=_kv_bytes(config, cc, version),
        tensor_parallel=_tensor_parallel(facts, config),
        speculative_method=spec.get("method"),
        speculative_tokens=int(spec.get("num_speculative_tokens") or 0),
    )


def _quantization(facts: ModelFacts, config: EngineConfig) -> str | None:
    asked = config.quantization
    if asked in (None, "none"):
        return facts.quantization
    return {"awq_marlin": "awq", "auto_awq": "awq", "gptq_marlin": "gptq", "auto_gptq": "gptq"}.get(asked, asked)


def _dtype(gpu: Accelerator, facts: ModelFacts, config: EngineConfig, cc: tuple[int, int]) -> str:
    asked = {"half": "float16", "auto": None}.get(config.dtype or "auto", config.dtype)
    if asked == "bfloat16" and cc < (8, 0):
        raise EngineError(
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
            f"Your {gpu.name} GPU has compute capability {cc[0]}.{cc[1]}. You can use float16 instead by explicitly "
            "setting the `dtype` flag in CLI, for example: --dtype=half.",
            "bf16",
        )
    if asked:
        return asked
    return "float16" if cc < (8, 0) or facts.quantization == "awq" else facts.dtype


def _kernel(config: EngineConfig, quantization: str | None, cc: tuple[int, int], version: Version) -> tuple[str, bool]:
    if quantization == "awq":
        forced = config.quantization == "awq" and version < Version("0.24")
        return ("awq_gemm", True) if forced or cc < (7, 5) else ("marlin", False)
    if quantization == "gptq":
        return "marlin", False
    if quantization == "fp8":
        return ("fp8" if cc >= (8, 9) else "marlin"), False
    return ("int8" if quantization == "int8" else "gemm_16bit"), False


def _batch_defaults(gpu: Accelerator, config: EngineConfig) -> tuple[int, int]:
    memory = gpu.memory_bytes / GIB
    small = memory < 70 or "a100" in gpu.name.lower()
    budget = config.max_num_batched_tokens or (2048 if small else 8192 if memory < 160 else 16384)
    seqs = config.max_num_seqs or (256 if small else 1024)
    if config.max_num_seqs is None and config.max_num_batched_tokens is not None:
        seqs = min(seqs, budget)
    return budget, seqs


def _check_budget(budget: int, seqs: int, length: int, chunked: bool) -> None:
    if budget < seqs:
        raise EngineError(
            f"max_num_batched_tokens ({budget}) must be greater than or equal to max_num_seqs ({seqs}).", "budget"
        )
    if not chunked and budget < length:
        raise EngineError(
            f"max_num_batched_tokens ({budget}) is smaller than max_model_len ({length}). This effectively limits the "
            "maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences.",
            "budget",
        )


def _attention(config: EngineConfig, cc: tuple[int, int], version: Version) -> str:
    flashinfer = cc >= (8, 0) or (cc >= (7, 5) and version < Version("0.24"))
    available = {"TRITON_ATTN": True, "FLASHINFER": flashinfer, "FLASH_ATTN": cc >= (8, 0)}
    asked = (config.attention_backend or "").upper()
    if asked:
        if not available.get(asked, False):
            raise EngineError(
                f"Selected backend {asked} is not valid for this configuration. Reason: "
                "['compute capability not supported']",
                "attention backend",
            )
        return {"TRITON_ATTN": "triton", "FLASHINFER": "flashinfer", "FLASH_ATTN": "flash_attention"}[asked]
    return "flash_attention" if cc >= (8, 0) else "flashinfer" if flashinfer else "triton"


def _async(config: EngineConfig, spec: dict[str, object]) -> bool:
    if spec.get("method") in ("ngram", "suffix", "medusa"):
        return False
    return config.async_scheduling is not False


def _graphs_without_compile(config: EngineConfig) -> bool:
    return str((config.compilation_config or {}).get("mode", "")).lower() in ("0", "none")


def _kv_bytes(config: EngineConfig, cc: tuple[int, int], version: Version) -> float:
    kind = config.kv_cache_dtype or "auto"
    if kind.startswith("fp8"):
        if cc < (8, 0) and (cc < (7, 5) or version >= Version("0.24")):
            raise EngineError(
                "No valid attention backend found for cuda with kv_cache_dtype=fp8. Reasons: {FLASHINFER: [compute capability "
                "not supported], TRITON_ATTN: [FP8 KV cache is not supported by the Triton attention backend on this GPU: "
                "native FP8 (fp8e4nv) requires SM89+]}",
                "fp8 KV cache",
            )
        return 1.0
    return 1.0 if kind.startswith("int8") else 0.5 if kind.startswith("int4") else 2.0


def _tensor_parallel(facts: ModelFacts, config: EngineConfig) -> int:
    n = config.tensor_parallel_size or 1
    if facts.heads % n:
        raise EngineError(
            f"Total number of attention heads ({facts.heads}) must be divisible by tensor parallel size ({n}).", "TP"
        )
    return n
