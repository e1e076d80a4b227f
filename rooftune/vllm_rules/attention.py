"""Which attention backend vLLM takes, and which backend reads which type of KV cache.

Read in ``platforms/cuda.py`` (_get_backend_priorities: 0.15.1 line 45, 0.19.1 51, 0.23.0 79, 0.29.0 83, 0.32.0 83,
0.33.0 84; 0.11.0 get_attn_backend_cls, line 240) and ``v1/attention/backends``. Models with MLA are not costed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.versions import Releases

Capability = tuple[int, int]
WITH_SINKS = ("GptOssForCausalLM", "MiMoV2FlashForCausalLM")
"""Architectures whose attention has sinks."""
FAMILIES = {
    "TRITON_ATTN": "triton",
    "FLASHINFER": "flashinfer",
    "FLASH_ATTN": "flash_attention",
    "FLEX_ATTENTION": "triton",
    "CPU_ATTN": "cpu",
}
"""Backend -> family of step times; FlexAttention compiles to Triton and has no measurement."""
ONLY_FLEX_ON_TURING = Releases(until="0.11")
FLASHINFER_ON_TURING = Releases(until="0.23", after="0.24")
"""FlashInfer needs 8.0 from 0.24 on (pull request 45375, issue 47549)."""
TRITON_CHECKS_FP8 = Releases(since="0.29")
"""Triton refuses an FP8 KV cache below 8.9 when the layer is built; before, its compiler does, for e4m3."""
FLASH_ATTENTION_4 = Releases(since="0.20")
"""FlashAttention 4 takes the place of 2 on 10.x (release notes of 0.20.0)."""
FLASH_ATTENTION_4_READS_FP8 = Releases(since="0.29")
WIDE_HEADS = Releases(since="0.23")
"""FlashInfer and, with FlashAttention 4, FlashAttention take heads of 512."""
E5M2_WITH_FLASH = Releases(until="0.19")
FLASHINFER_ONLY_ON_10 = Releases(until="0.11")
"""0.11 tries FlashInfer on 10.x alone; elsewhere an FP8 cache that FlashAttention cannot read goes to Triton
(``platforms/cuda.py``, get_attn_backend_cls)."""
KV_DTYPES_OF_TRITON = {
    "int8_per_token_head": Releases(since="0.20"),
    "fp8_per_token_head": Releases(since="0.23"),
    "int4_per_token_head": Releases(since="0.29"),
}
"""int8_per_token_head: release notes of 0.20.0, pull request 38378."""
CPU_READS_FP8 = Releases(since="0.23")
"""``v1/attention/backends/cpu_attn.py``; 0.15 and 0.19 warn and keep 16 bits, 0.11 casts e4m3 to e5m2."""


def priorities(cc: Capability, engine: Version) -> list[str]:
    """The backends that a version tries, in order."""
    if cc < (8, 0) and ONLY_FLEX_ON_TURING.has(engine):
        return ["FLEX_ATTENTION"]
    if cc[0] == 10:
        return ["FLASHINFER", "FLASH_ATTN", "TRITON_ATTN", "FLEX_ATTENTION"]
    if FLASHINFER_ONLY_ON_10.has(engine):
        return ["FLASH_ATTN", "TRITON_ATTN", "FLEX_ATTENTION"]
    return ["FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION"]


def flashinfer_needs(engine: Version) -> Capability:
    """The least compute capability of FlashInfer."""
    return (7, 5) if FLASHINFER_ON_TURING.has(engine) else (8, 0)


@dataclass(frozen=True)
class AttentionShape:
    """What the choice of a backend depends on besides device and version."""

    head_size: int = 128
    sinks: bool = False
    """A learned logit per head takes part in every softmax (gpt-oss)."""

    @classmethod
    def of(cls, facts: ModelFacts | None) -> AttentionShape:
        """The shape of a model; ordinary heads where it is not known."""
        return cls(facts.head_dim, facts.architecture in WITH_SINKS) if facts else cls()


ORDINARY = AttentionShape()


def refusal(
    backend: str, cc: Capability, engine: Version, kv_dtype: str = "auto", shape: AttentionShape = ORDINARY
) -> str | None:
    """Why a backend does not run; None when it does."""
    if backend not in CHECKS:
        return "unknown backend"
    if shape.sinks and not _has_sinks(backend, cc):
        return "sink setting not supported"
    return CHECKS[backend](cc, engine, kv_dtype, shape.head_size)


def attention_backend(gpu: Accelerator, config: EngineConfig, engine: Version, shape: AttentionShape = ORDINARY) -> str:
    """The backend that vLLM's selector takes, by vLLM's name.

    Raises:
        StartRefused: the backend that was asked for does not run here, or none does.
    """
    if gpu.kind == "cpu":
        return "CPU_ATTN"
    cc, kind = gpu.compute_capability or (9, 0), config.kv_cache_dtype or "auto"
    asked = (config.attention_backend or "").upper().removesuffix("_VLLM_V1")
    if asked:
        reason = refusal(asked, cc, engine, kind, shape)
        if reason:
            raise StartRefused(
                "sinks" if "sink" in reason else "attention-backend",
                f"Selected backend {asked} is not valid for this configuration. Reason: ['{reason}']",
            )
        return asked
    reasons = {b: refusal(b, cc, engine, kind, shape) for b in priorities(cc, engine)}
    chosen = next((backend for backend, reason in reasons.items() if reason is None), None)
    if chosen is None:
        why = ", ".join(f"{backend}: [{reason}]" for backend, reason in reasons.items())
        raise StartRefused(
            _cause(cc, engine, kind, shape),
            f"No valid attention backend found for cuda with AttentionSelectorConfig(kv_cache_dtype={kind}). "
            f"Reasons: {{{why}}}",
        )
    return chosen


def _cause(cc: Capability, engine: Version, kind: str, shape: AttentionShape) -> str:
    """The rule that leaves no backend: the type of the KV cache if 16 bits would have one, else the model's shape."""
    if not _sixteen_bits(kind) and any(refusal(b, cc, engine, "auto", shape) is None for b in priorities(cc, engine)):
        return "kv-dtype"
    return "sinks" if shape.sinks else "attention-backend"


def _has_sinks(backend: str, cc: Capability) -> bool:
    """FlashAttention has sinks in its third generation, FlashInfer through TRT-LLM, FlexAttention none."""
    return {"FLASH_ATTN": cc[0] == 9, "FLASHINFER": cc[0] == 10, "TRITON_ATTN": True}.get(backend, False)


def _sixteen_bits(kind: str) -> bool:
    return kind in ("auto", "float16", "bfloat16", "half")


def _plain_fp8(kind: str) -> bool:
    return kind in ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc")


def _flash(cc: Capability, engine: Version, kind: str, head: int) -> str | None:
    if cc < (8, 0):
        return "compute capability not supported"
    fourth = cc[0] == 10 and bool(FLASH_ATTENTION_4.has(engine))
    if head % 8 or head > (512 if fourth and WIDE_HEADS.has(engine) else 256):
        return "head_size not supported"
    if _sixteen_bits(kind):
        return None
    third = cc[0] == 9
    e5m2 = kind == "fp8_e5m2" and not E5M2_WITH_FLASH.has(engine)
    reads = third or (fourth and FLASH_ATTENTION_4_READS_FP8.has(engine))
    return None if _plain_fp8(kind) and reads and not e5m2 else "kv_cache_dtype not supported"


def _flashinfer(cc: Capability, engine: Version, kind: str, head: int) -> str | None:
    if not flashinfer_needs(engine) <= cc <= (12, 1):
        return "compute capability not supported"
    if head not in ((64, 128, 256, 512) if WIDE_HEADS.has(engine) else (64, 128, 256)):
        return "head_size not supported"
    return None if _sixteen_bits(kind) or _plain_fp8(kind) else "kv_cache_dtype not supported"


def _triton(cc: Capability, engine: Version, kind: str, head: int) -> str | None:
    if head < 32:
        return "head_size not supported"
    if kind in KV_DTYPES_OF_TRITON and KV_DTYPES_OF_TRITON[kind].has(engine) is False:
        return "kv_cache_dtype not supported"
    converts = kind == "fp8_e5m2" and not TRITON_CHECKS_FP8.has(engine)
    if kind.startswith("fp8") and cc < (8, 9) and not converts:
        return (
            "FP8 KV cache is not supported by the Triton attention backend on compute capability "
            f"{cc[0]}.{cc[1]}: native FP8 (fp8e4nv) requires SM89+"
        )
    known = _sixteen_bits(kind) or _plain_fp8(kind) or kind in KV_DTYPES_OF_TRITON
    return None if known else "kv_cache_dtype not supported"


def _flex(cc: Capability, engine: Version, kind: str, head: int) -> str | None:
    return None if _sixteen_bits(kind) else "kv_cache_dtype not supported"


CHECKS: dict[str, Callable[[Capability, Version, str, int], str | None]] = {
    "FLASH_ATTN": _flash,
    "FLASHINFER": _flashinfer,
    "TRITON_ATTN": _triton,
    "FLEX_ATTENTION": _flex,
}
"""Backend -> why it does not run with a compute capability, a version, a type of KV cache and a head size."""
