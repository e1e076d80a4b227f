"""What vLLM resolves its flags to on an accelerator, by version; and why it would refuse to start.

The gates, the roofline, the simulator and the log reader all ask this module. The rules are in the modules beside it,
each with its sources. Refusals have vLLM's words, so that the code that reads vLLM's log also reads ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.adapters import DEFAULT_RANK
from rooftune.vllm_rules.attention import FAMILIES, AttentionShape, attention_backend
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.defaults import batch_limits, block_size, gpu_memory_utilization
from rooftune.vllm_rules.graphs import graphs, verifies_in_pieces
from rooftune.vllm_rules.kernels import LinearKernel, linear_kernel, quantization_of
from rooftune.vllm_rules.kv_cache import held_bytes_per_value, with_checkpoints_type
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.scheduling import (
    THRESHOLD_SPARES_A_LONE_REQUEST,
    WHOLE_SEQUENCE,
    async_scheduling,
    model_runner,
)
from rooftune.vllm_rules.shards import check_shards
from rooftune.vllm_rules.speculation import Speculation, speculation
from rooftune.vllm_rules.versions import Releases, parse_version, unread

NEEDS_BFLOAT16 = {
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
    "Gemma3ForConditionalGeneration": "gemma3",
    "Glm4ForCausalLM": "glm4",
    "Plamo2ForCausalLM": "plamo2",
}
"""Architectures that vLLM refuses to run in float16, with their model_type."""
VOLTA_WHEELS = Releases(until="0.20", after="0.21")
"""The default wheels have kernels for compute capability 7.0 (installation guide of 0.21: 7.5 or higher)."""

CHECKPOINT_NOTE = "the checkpoint asks for a KV cache in FP8, which kv_cache_dtype=auto follows"
PIECES_NOTE = "steps that verify drafts are not one CUDA graph, so the host launches the attention of every layer"
TRAP_NOTE = (
    "torch.compile keeps the arm of the old AWQ kernel that unpacks all weights, so every decode step pays for it "
    "(vLLM pull request 30783); enforce_eager=true or quantization=awq_marlin avoid that"
)


@dataclass(frozen=True)
class Resolved:
    """Every setting that the scheduler and the step time depend on."""

    version: Version
    runner: str
    """The model runner: V1 or V2."""
    dtype: str
    quantization: str | None
    kernel: str
    """gemm_16bit, marlin, machete, exllama, awq_gemm, fp8 or int8."""
    attention_backend: str
    """vLLM's name of the backend."""
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    chunked_prefill: bool
    prefix_caching: bool
    async_scheduling: bool
    cuda_graphs: bool
    full_decode_graphs: bool
    """A decode step is one CUDA graph; False = graphs piece by piece with attention launched between them, or none."""
    capture_sizes: tuple[int, ...]
    """Batch sizes that a CUDA graph is captured for; a decode step is padded to the next. Empty without graphs."""
    awq_kernel_forced: bool
    awq_graph_trap: bool
    """The old AWQ kernel with torch.compile: every decode step pays the arm that unpacks all weights."""
    gpu_memory_utilization: float
    kv_bytes_per_value: float
    windows_are_freed: bool
    """Layers with a sliding window give back the blocks that it has passed (hybrid KV cache manager)."""
    tensor_parallel: int
    speculative_method: str | None
    speculative_tokens: int
    speculative_model: str
    """The draft model, as it was named; empty without one."""
    speculative_lengths: tuple[int, ...]
    """Length of drafts by requests in a step, from 0 on; empty where it is the same for all."""
    whole_prompt_must_fit: bool
    """A waiting request is admitted if all its known tokens fit, not its first chunk alone."""
    threshold_spares_a_lone_request: bool
    notes: tuple[str, ...] = ()
    kv_cache_memory_bytes: int | None = None
    kv_blocks_override: int | None = None
    adapter_slots: int = 0
    """LoRA adapters that one batch may have; 0: adapters are off."""
    adapter_rank: int = 0
    """Highest rank of an adapter."""

    @property
    def attention(self) -> str:
        """Family of step times: flashinfer, flash_attention, triton or cpu."""
        return FAMILIES[self.attention_backend]


def resolve(gpu: Accelerator, facts: ModelFacts, config: EngineConfig, engine_version: str) -> Resolved:
    """Resolve the flags as vLLM of that version does.

    Raises:
        StartRefused: vLLM would refuse to start; the message is the line that it prints.
    """
    engine = parse_version(engine_version)
    asked, config = config, with_checkpoints_type(config, facts, engine)
    cc = gpu.compute_capability or (9, 0)
    _check_wheel(gpu, cc, engine)
    check_shards(facts, config)
    quantization = quantization_of(facts, config, cc, engine)
    kernel = linear_kernel(gpu, facts, config, quantization, engine)
    length = _length(facts, config)
    limits = batch_limits(gpu, config, length, engine)
    chunked = config.enable_chunked_prefill is not False
    _check_budget(limits.tokens, limits.sequences, length, chunked)
    spec = speculation(config)
    captured = graphs(gpu, config, engine, limits, spec.tokens if spec else 0)
    trap = kernel.family == "awq_gemm" and captured.compiled and limits.tokens >= 256
    reserve = config.other_flags.get("scheduler_reserve_full_isl") is not False
    runner = model_runner(gpu, facts, config, engine)
    backend = attention_backend(gpu, config, engine, AttentionShape.of(facts))
    pieces = verifies_in_pieces(gpu, config, engine, spec, runner, backend) if captured.full else ""
    return Resolved(
        version=engine,
        runner=runner,
        dtype=_dtype(gpu, facts, config, cc, quantization),
        quantization=quantization,
        kernel=kernel.family,
        attention_backend=backend,
        max_model_len=length,
        max_num_seqs=limits.sequences,
        max_num_batched_tokens=limits.tokens,
        block_size=block_size(gpu, config),
        chunked_prefill=chunked,
        prefix_caching=config.enable_prefix_caching is not False,
        async_scheduling=async_scheduling(gpu, facts, config, engine).on,
        cuda_graphs=captured.on,
        full_decode_graphs=captured.full and not pieces,
        capture_sizes=captured.sizes,
        awq_kernel_forced=kernel.forced,
        awq_graph_trap=trap,
        notes=_notes(kernel, trap, config is not asked, pieces, engine),
        gpu_memory_utilization=gpu_memory_utilization(config, engine),
        kv_bytes_per_value=held_bytes_per_value(gpu, config, engine),
        windows_are_freed=config.other_flags.get("disable_hybrid_kv_cache_manager") is not True,
        tensor_parallel=config.tensor_parallel_size or 1,
        speculative_method=spec.method if spec else None,
        speculative_tokens=spec.tokens if spec else 0,
        speculative_model=spec.model if spec else "",
        speculative_lengths=_lengths(spec, config, limits.sequences),
        whole_prompt_must_fit=bool(WHOLE_SEQUENCE.has(engine)) and reserve,
        threshold_spares_a_lone_request=bool(THRESHOLD_SPARES_A_LONE_REQUEST.has(engine)),
        kv_cache_memory_bytes=config.kv_cache_memory_bytes,
        kv_blocks_override=_whole(config, "num_gpu_blocks_override"),
        adapter_slots=(_whole(config, "max_loras") or 1) if config.other_flags.get("enable_lora") is True else 0,
        adapter_rank=_whole(config, "max_lora_rank") or DEFAULT_RANK,
    )


def _notes(kernel: LinearKernel, trap: bool, checkpoint_decides: bool, pieces: str, engine: Version) -> tuple[str, ...]:
    notes = (
        kernel.note,
        TRAP_NOTE if trap else "",
        CHECKPOINT_NOTE if checkpoint_decides else "",
        f"{PIECES_NOTE}: {pieces}" if pieces else "",
        unread(engine),
    )
    return tuple(note for note in notes if note)


def _lengths(spec: Speculation | None, config: EngineConfig, sequences: int) -> tuple[int, ...]:
    """Lengths by batch size; data parallelism ignores a schedule (``config/vllm.py`` of 0.32.0, line 1058)."""
    ranks = config.other_flags.get("data_parallel_size")
    return () if spec is None or (isinstance(ranks, int) and ranks > 1) else spec.lengths(sequences)


def _check_wheel(gpu: Accelerator, cc: tuple[int, int], engine: Version) -> None:
    if gpu.kind == "cuda" and (cc < (7, 0) or (cc < (7, 5) and not VOLTA_WHEELS.has(engine))):
        raise StartRefused(
            "wheel",
            f"CUDA error: no kernel image is available for execution on the device ({gpu.name}, compute capability "
            f"{cc[0]}.{cc[1]}, is not built into the default wheels of vLLM {engine}).",
        )


def _dtype(
    gpu: Accelerator, facts: ModelFacts, config: EngineConfig, cc: tuple[int, int], quantization: str | None
) -> str:
    asked = {"half": "float16", "auto": None, "float": "float32"}.get(config.dtype or "auto", config.dtype)
    if asked == "bfloat16" and cc < (8, 0):
        raise StartRefused(
            "bfloat16",
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
            f"Your {gpu.name} GPU has compute capability {cc[0]}.{cc[1]}. You can use float16 instead by explicitly "
            "setting the `dtype` flag in CLI, for example: --dtype=half.",
        )
    dtype = asked or ("float16" if cc < (8, 0) or quantization == "awq" else facts.dtype)
    if dtype == "float16" and facts.architecture in NEEDS_BFLOAT16:
        family = NEEDS_BFLOAT16[facts.architecture]
        raise StartRefused(
            "float16-model",
            f"The model type '{family}' does not support float16. Reason: Numerical instability. Please use bfloat16 "
            "or float32 instead.",
        )
    return dtype


def _length(facts: ModelFacts, config: EngineConfig) -> int:
    asked = config.max_model_len
    if asked is None or asked < 0:
        return facts.max_position
    if asked > facts.max_position:
        raise StartRefused(
            "context-of-model",
            f"User-specified max_model_len ({asked}) is greater than the derived max_model_len "
            f"(max_position_embeddings={facts.max_position} or model_max_length=None in model's config.json).",
        )
    return asked


def _check_budget(budget: int, seqs: int, length: int, chunked: bool) -> None:
    if not chunked and budget < length:
        raise StartRefused(
            "budget-below-context",
            f"max_num_batched_tokens ({budget}) is smaller than max_model_len ({length}). This effectively limits the "
            "maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase "
            "max_num_batched_tokens or decrease max_model_len.",
        )
    if budget < seqs:
        raise StartRefused(
            "budget-below-sequences",
            f"max_num_batched_tokens ({budget}) must be greater than or equal to max_num_seqs ({seqs}).",
        )


def _whole(config: EngineConfig, name: str) -> int | None:
    """The whole number that a flag without a field has; None where it is not set."""
    value = config.other_flags.get(name)
    return value if isinstance(value, int) else None
