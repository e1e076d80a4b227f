"""Which kernel vLLM chooses for the linear layers, by quantisation, compute capability and version.

Read in ``model_executor/layers/quantization`` (awq_marlin.py, auto_awq.py from 0.29, gptq_marlin.py, fp8.py) and
``model_executor/kernels/linear`` (from 0.19) of the releases in ``versions.READ``. Refusals have vLLM's words.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.facts import ModelFacts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.versions import Releases

Capability = tuple[int, int]
KINDS = {"awq_marlin": "awq", "auto_awq": "awq", "gptq_marlin": "gptq", "auto_gptq": "gptq"}
KINDS |= {"fp8_per_tensor": "fp8", "fp8_per_block": "fp8", "fbgemm_fp8": "fp8", "experts_int8": "int8"}
"""Kind of the weights by the name of the method, where they differ."""
OF_THE_CHECKPOINT = ("compressed-tensors", "modelopt", "moe_wna16", "torchao")
"""Methods that say how weights are stored; their kind is the checkpoint's."""
TIMED = (None, "awq", "gptq", "fp8", "int8")
"""Kinds of weights with a separate kernel family."""

OLD_AWQ_IS_FORCED = Releases(until="0.23")
"""``quantization=awq`` forces the old AWQ kernel ("so forcing awq"); in 0.29 it is one more name of AutoAWQConfig."""
TURING_MARLIN = Releases(since="0.14")
"""Marlin runs from compute capability 7.5 on (pull request 29901, merged in December 2025); before, from 8.0."""
TURING_SCHEMES = Releases(since="0.19")
"""Weight-only FP8 of compressed-tensors runs from 7.5 on; before, from 8.0."""
CUTLASS_FP8_ANYWHERE = Releases(since="0.29", until="0.29")
"""CUTLASS comes before Marlin in the list of FP8 kernels and is taken on any CUDA device (issues 53376 and 55008, fixed
by pull request 55884). Block-wise and compressed-tensors FP8 have separate lists."""
_OLDER_MODELOPT = Releases(since="0.29")


@dataclass(frozen=True)
class LinearKernel:
    """The kernel family of the linear layers."""

    family: str
    """gemm_16bit, marlin, machete, exllama, awq_gemm, fp8 or int8."""
    forced: bool = False
    """The flag forces the old AWQ kernel although a faster one would run."""
    certain: bool = True
    """False where the sources of the version were not read and its neighbours differ."""
    note: str = ""


def marlin_needs(engine: Version) -> Capability:
    """The least compute capability of Marlin."""
    return (7, 5) if TURING_MARLIN.has(engine) else (8, 0)


def least_capability(method: str, engine: Version) -> int | None:
    """The minimum of a method (``get_min_capability``), as vLLM prints it: 75 for 7.5; None where none is known."""
    marlin = 75 if TURING_MARLIN.has(engine) else 80
    table = {
        "awq": 75, "auto_awq": 75, "awq_marlin": marlin, "gptq": 60, "auto_gptq": 60,
        "gptq_marlin": 80 if marlin == 80 else 60, "fp8": marlin, "fp8_per_tensor": 75, "fp8_per_block": 75, "int8": 75,
        "compressed-tensors": 70, "mxfp4": 80,
        "experts_int8": 80, "fbgemm_fp8": 80, "moe_wna16": 70, "torchao": 75, "nvfp4": marlin,
        "modelopt": 80 if _OLDER_MODELOPT.has(engine) else 89,
    }  # fmt: skip
    return table.get(method)


def quantization_of(facts: ModelFacts, config: EngineConfig, cc: Capability, engine: Version) -> str | None:
    """The kind of the weights: what the flag says, else the checkpoint's.

    Raises:
        StartRefused: flag and checkpoint disagree, or the GPU is too old for the method.
    """
    asked = None if config.quantization in (None, "none") else config.quantization
    kind = facts.quantization if asked is None or asked in OF_THE_CHECKPOINT else KINDS.get(asked, asked)
    if facts.quantization and kind != facts.quantization:
        raise StartRefused(
            "quantization-mismatch",
            f"Quantization method specified in the model config ({facts.quantization}) does not match the "
            f"quantization method specified in the `quantization` argument ({config.quantization}).",
        )
    method = asked or (facts.quantization_method if facts.quantization_method in OF_THE_CHECKPOINT else kind)
    least, have = least_capability(method, engine) if method else None, cc[0] * 10 + cc[1]
    if least is not None and have < least:
        raise StartRefused(
            "quantization-capability",
            f"The quantization method {method} is not supported for the current GPU. Minimum capability: {least}. "
            f"Current capability: {have}.",
        )
    if method == "compressed-tensors":
        _check_scheme(kind, have, engine)
    return kind


def _check_scheme(kind: str | None, have: int, engine: Version) -> None:
    """The least capability of a scheme of compressed-tensors; FP8 runs weight-only where there is no FP8 arithmetic."""
    least = {
        "fp8": 75 if TURING_SCHEMES.has(engine) else 80,
        "gptq": marlin_needs(engine)[0] * 10 + marlin_needs(engine)[1],
        "int8": 75,
    }.get(kind or "", 0)
    if have < least:
        raise StartRefused(
            "quantization-scheme",
            f"Quantization scheme is not supported for the current GPU. Min capability: {least}. Current capability: "
            f"{have}.",
        )


def linear_kernel(
    gpu: Accelerator, facts: ModelFacts, config: EngineConfig, quantization: str | None, engine: Version
) -> LinearKernel:
    """The kernel family that a version takes for weights of this kind.

    Raises:
        StartRefused: the version chooses a kernel that the GPU cannot run.
    """
    cc = gpu.compute_capability or (9, 0)
    if quantization in ("awq", "gptq"):
        return _four_bits(facts, config, quantization, cc, engine)
    if quantization == "fp8":
        return _fp8(gpu, facts, config, cc, engine)
    if quantization in TIMED:
        return LinearKernel("int8" if quantization == "int8" else "gemm_16bit")
    return LinearKernel(
        "gemm_16bit", note=f"no step time is known for {quantization} weights; 16-bit products are timed"
    )


def may_force_old_awq(config: EngineConfig, engine: Version) -> bool:
    """Whether ``quantization=awq`` forces the old kernel, or may: the releases between 0.23 and 0.29 were not read."""
    return config.quantization == "awq" and OLD_AWQ_IS_FORCED.has(engine) is not False


def _four_bits(facts: ModelFacts, config: EngineConfig, kind: str, cc: Capability, engine: Version) -> LinearKernel:
    fallback = "awq_gemm" if kind == "awq" else "exllama"
    if facts.group_size not in (-1, 32, 64, 128) or cc < marlin_needs(engine):
        return LinearKernel(fallback)
    forced = OLD_AWQ_IS_FORCED.has(engine)
    if config.quantization == "awq" and forced:
        return LinearKernel("awq_gemm", forced=True)
    if config.quantization == "awq" and forced is None:
        note = "0.23 forces the old kernel with quantization=awq, 0.29 takes Marlin, which is assumed here"
        return LinearKernel("marlin", certain=False, note=f"vLLM {engine} was not read: {note}")
    machete = kind == "gptq" and cc == (9, 0) and config.other_flags.get("linear_backend") != "marlin"
    return LinearKernel("machete" if machete else "marlin")


def _fp8(gpu: Accelerator, facts: ModelFacts, config: EngineConfig, cc: Capability, engine: Version) -> LinearKernel:
    """8.9 and above multiply in FP8; below, Marlin unpacks the weights to 16 bits."""
    if config.other_flags.get("linear_backend") == "marlin":
        return LinearKernel("marlin")
    if cc >= (8, 9):
        return LinearKernel("fp8")
    named = config.quantization in ("compressed-tensors", "fp8_per_block")
    own_list = named or facts.fp8_block is not None or facts.quantization_method == "compressed-tensors"
    broken = False if own_list else CUTLASS_FP8_ANYWHERE.has(engine)
    if broken:
        raise StartRefused(
            "fp8-weight-only",
            f"Selected CutlassFP8ScaledMMLinearKernel for FP8 weights, which {gpu.name} (compute capability "
            f"{cc[0]}.{cc[1]}) cannot run (vLLM issue 55008). Block-wise and compressed-tensors checkpoints are not "
            "affected: name their method with quantization.",
        )
    note = "0.29 cannot run per-tensor FP8 weights below compute capability 8.9 without linear_backend=marlin"
    return LinearKernel(
        "marlin", certain=broken is False, note="" if broken is False else f"vLLM {engine} was not read: {note}"
    )
