"""Which kernels vLLM chooses for linear layers, attention and the KV cache; what the GPU cannot run, with vLLM's words."""

from __future__ import annotations

from packaging.version import Version

from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig

ALIASES = {"awq_marlin": "awq", "auto_awq": "awq", "gptq_marlin": "gptq", "auto_gptq": "gptq"}
LEAST_CAPABILITY = {"awq": 75, "gptq": 60, "fp8": 75, "int8": 75}
NO_FLASHINFER_ON_TURING = Version("0.24")
BACKENDS = {"TRITON_ATTN": "triton", "FLASHINFER": "flashinfer", "FLASH_ATTN": "flash_attention"}


def quantization_of(facts: ModelFacts, config: EngineConfig, cc: tuple[int, int]) -> str | None:
    """The quantisation of the weights: what the flag says, else the checkpoint's.

    Raises:
        EngineError: flag and checkpoint disagree, or the GPU is too old for the method.
    """
    asked = None if config.quantization in (None, "none") else config.quantization
    kind = ALIASES.get(asked, asked) if asked else facts.quantization
    if facts.quantization and kind != facts.quantization:
        raise EngineError(
            f"Quantization method specified in the model config ({facts.quantization}) does not match the quantization method "
            f"specified in the `quantization` argument ({config.quantization}).",
            "quantization",
        )
    have = cc[0] * 10 + cc[1]
    if kind in LEAST_CAPABILITY and have < LEAST_CAPABILITY[kind]:
        raise EngineError(
            f"The quantization method {kind} is not supported for the current GPU. Minimum capability: {LEAST_CAPABILITY[kind]}. "
            f"Current capability: {have}.",
            "quantization",
        )
    return kind


def linear_kernel(
    facts: ModelFacts, config: EngineConfig, quantization: str | None, cc: tuple[int, int], version: Version
) -> tuple[str, bool]:
    """(kernel family of the linear layers, whether the old AWQ kernel was forced)."""
    if quantization == "awq" and config.quantization == "awq" and version < Version("0.24"):
        return "awq_gemm", True
    if quantization in ("awq", "gptq"):
        if facts.group_size not in (-1, 32, 64, 128):
            return ("awq_gemm" if quantization == "awq" else "exllama"), False
        if cc == (9, 0) and quantization == "gptq":
            return "machete", False
        return ("marlin" if cc >= (7, 5) else "exllama"), False
    if quantization == "fp8":
        return ("fp8" if cc >= (8, 9) else "marlin"), False
    return ("int8" if quantization == "int8" else "gemm_16bit"), False


def attention_backend(gpu: Accelerator, config: EngineConfig, cc: tuple[int, int], version: Version) -> str:
    """The attention backend that vLLM's selector takes.

    Raises:
        EngineError: the backend that was asked for does not run on this GPU.
    """
    if gpu.kind == "cpu":
        return "cpu"
    turing = cc >= (7, 5) and version < NO_FLASHINFER_ON_TURING
    available = {"TRITON_ATTN": True, "FLASHINFER": cc >= (8, 0) or turing, "FLASH_ATTN": cc >= (8, 0)}
    asked = (config.attention_backend or "").upper().removesuffix("_VLLM_V1")
    if asked:
        if not available.get(asked, False):
            raise EngineError(
                f"Selected backend {asked} is not valid for this configuration. Reason: ['compute capability not supported']",
                "attention backend",
            )
        return BACKENDS[asked]
    kind = config.kv_cache_dtype or "auto"
    if kind.startswith(("int8", "int4")):
        return "triton"
    if available["FLASH_ATTN"] and cc[0] != 10 and not (kind.startswith("fp8") and cc < (9, 0)):
        return "flash_attention"
    return "flashinfer" if available["FLASHINFER"] else "triton"


def kv_bytes(config: EngineConfig, gpu: Accelerator, cc: tuple[int, int], version: Version) -> float:
    """Bytes of one value in the KV cache, with its scales.

    Raises:
        EngineError: no attention backend can read that type on this GPU.
    """
    kind = config.kv_cache_dtype or "auto"
    if kind.startswith("fp8"):
        if cc < (7, 5) or (cc < (8, 0) and version >= NO_FLASHINFER_ON_TURING):
            raise EngineError(
                f"No valid attention backend found for cuda with AttentionSelectorConfig(kv_cache_dtype={kind}). Reasons: "
                "{FLASHINFER: [compute capability not supported], TRITON_ATTN: [FP8 KV cache is not supported by the Triton "
                f"attention backend on {gpu.name}: native FP8 (fp8e4nv) requires SM89+]}}",
                "fp8 kv cache",
            )
        return 1.0
    if kind.startswith(("int8", "int4")):
        if version < NO_FLASHINFER_ON_TURING:
            raise EngineError(f"argument --kv-cache-dtype: invalid choice: '{kind}' in vLLM {version}.", "flag")
        return 1.03 if kind.startswith("int8") else 0.53
    return 4.0 if config.dtype in ("float32", "float") else 2.0
