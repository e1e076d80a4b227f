"""What an accelerator can do under one engine version: each feature yes or no, with the reason.

The answers are those of the rules beside this module; here they become sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator, Capability, Hardware
from rooftune.hardware.host import cpu_flags, fast_dtype
from rooftune.vllm_rules.attention import (
    CPU_READS_FP8,
    FLASH_ATTENTION_4,
    KV_DTYPES_OF_TRITON,
    flashinfer_needs,
    priorities,
    refusal,
)
from rooftune.vllm_rules.kernels import CUTLASS_FP8_ANYWHERE, marlin_needs
from rooftune.vllm_rules.resolve import VOLTA_WHEELS
from rooftune.vllm_rules.versions import version

Answer = tuple[bool, str]


@dataclass(frozen=True)
class Case:
    """One accelerator under one engine version."""

    gpu: Accelerator
    version: Version
    text: str
    count: int

    @property
    def cc(self) -> tuple[int, int]:
        return self.gpu.compute_capability or (0, 0)

    @property
    def has(self) -> str:
        """Name and compute capability as the end of a sentence."""
        return f"{self.gpu.name} has {self.cc[0]}.{self.cc[1]}"

    @property
    def chip(self) -> str:
        """Name and compute capability, as reasons quote them."""
        return f"{self.gpu.name} (compute capability {self.cc[0]}.{self.cc[1]})"


def capabilities(accelerator: Accelerator, engine_version: str, count: int = 1) -> list[Capability]:
    """The capability table of ``count`` accelerators under that version of vLLM.

    A text that is not a version is treated as the newest.
    """
    case = Case(accelerator, version(engine_version), engine_version, count)
    rules = CUDA if accelerator.kind == "cuda" else CPU
    if accelerator.kind == "cuda" and accelerator.compute_capability is None:
        unknown = f"the compute capability of {accelerator.name} is not known; name the GPU with --gpu"
        return [Capability(id=i, name=name, available=False, reason=unknown) for i, (name, _) in rules.items()]
    wheel = _no_wheel(case)
    table = []
    for i, (name, rule) in rules.items():
        available, reason = (False, wheel) if wheel else rule(case)
        table.append(Capability(id=i, name=name, available=available, reason=reason))
    return table


def with_capabilities(hardware: Hardware) -> Hardware:
    """What was probed, with the capability table of its engine version."""
    count = hardware.count if hardware.accelerator.kind == "cuda" else 1
    found = capabilities(hardware.accelerator, hardware.engine_version, count)
    return hardware.model_copy(update={"capabilities": found})


def _no_wheel(c: Case) -> str | None:
    if c.gpu.kind != "cuda":
        return None
    if c.cc < (7, 0):
        return f"vLLM needs compute capability 7.0 or higher; {c.has}"
    if c.cc < (7, 5) and not VOLTA_WHEELS.has(c.version):
        return (
            f"the wheels of vLLM {c.text} have no kernels for compute capability {c.cc[0]}.{c.cc[1]} (they need 7.5 "
            "from 0.21 on)"
        )
    return None


def _at_least(c: Case, least: tuple[int, int], what: str) -> Answer:
    if c.cc >= least:
        return True, f"{c.chip} has {what}"
    return False, f"{c.chip} has no {what}; needs {least[0]}.{least[1]} or higher"


def _fp16(c: Case) -> Answer:
    return _at_least(c, (7, 0), "FP16 tensor cores")


def _bf16(c: Case) -> Answer:
    ok, reason = _at_least(c, (8, 0), "BF16 arithmetic")
    return ok, reason if ok else f"{reason}; use --dtype half"


def _int8(c: Case) -> Answer:
    ok, reason = _at_least(c, (7, 5), "INT8 tensor cores")
    return ok, f"{reason}; needs a W8A8 checkpoint" if ok else reason


def _fp8(c: Case) -> Answer:
    ok, reason = _at_least(c, (8, 9), "FP8 tensor cores")
    return ok, reason if ok else f"{reason}; FP8 weights would run weight-only, which saves memory and no arithmetic"


def _fp8_kv(c: Case) -> Answer:
    readers = [b for b in priorities(c.cc, c.version) if refusal(b, c.cc, c.version, "fp8") is None]
    if not readers:
        return False, f"no attention backend of vLLM {c.text} reads an FP8 KV cache on {c.chip}{_why_no_fp8_kv(c)}"
    names = " and ".join(BACKEND_NAMES[b] for b in readers)
    if c.cc >= (8, 9):
        return True, f"{names} read{'s' if len(readers) == 1 else ''} an FP8 KV cache on {c.chip}"
    return True, f"through {names} alone on {c.chip}, as a storage format: more tokens fit, arithmetic stays 16-bit"


def _why_no_fp8_kv(c: Case) -> str:
    """FlashInfer is the only backend that reads it below 8.9, and it needs a newer chip in newer versions."""
    if c.cc < (7, 5) or flashinfer_needs(c.version) <= c.cc:
        return ""
    return ": FlashInfer needs 8.0 since 0.24, Triton needs 8.9"


def _flash_attention_2(c: Case) -> Answer:
    if c.cc[0] == 10 and FLASH_ATTENTION_4.has(c.version):
        return False, f"on {c.chip} FlashInfer comes first and FlashAttention 4 takes the place of 2"
    if c.cc >= (8, 0):
        return True, f"{c.chip} meets its 8.0"
    return False, f"FlashAttention 2 needs compute capability 8.0; {c.has}"


def _flash_attention_3(c: Case) -> Answer:
    if c.cc[0] == 9:
        return True, f"{c.chip} is of the generation it is written for"
    return False, f"FlashAttention 3 runs on compute capability 9.x only; {c.has}"


def _flashinfer(c: Case) -> Answer:
    if c.cc >= (8, 0):
        return True, f"{c.chip} meets its 8.0"
    if c.cc >= flashinfer_needs(c.version):
        return True, f"vLLM {c.text} still runs it on 7.5; from 0.24 on it needs 8.0"
    return False, f"FlashInfer needs compute capability 8.0 in vLLM {c.text}; {c.has}"


def _triton(c: Case) -> Answer:
    return True, "runs on every CUDA GPU that vLLM supports"


def _marlin(c: Case) -> Answer:
    least, groups = marlin_needs(c.version), "groups of 32, 64, 128 or whole columns"
    needs = f"{least[0]}.{least[1]}"
    if c.cc < least:
        return False, f"Marlin needs compute capability {needs} in vLLM {c.text}; {c.has}"
    if c.cc >= (8, 0):
        return True, f"{c.chip} meets its {needs}; for 4-bit weights in {groups}"
    return True, f"vLLM {c.text} has Marlin for 7.5, with FP16 activations only; for {groups}"


def _fp8_weight_only(c: Case) -> Answer:
    ok, reason = _marlin(c)
    if not ok:
        return False, reason
    if c.cc >= (8, 9):
        return True, f"FP8 weights run through Marlin on {c.chip}; FP8 arithmetic is there too and preferred"
    if CUTLASS_FP8_ANYWHERE.has(c.version):
        return False, (
            f"vLLM {c.text} selects a CUTLASS kernel that {c.chip} cannot run (vLLM issue 55008); "
            "linear_backend=marlin is the way out"
        )
    return True, f"FP8 weights run through Marlin on {c.chip}; saves memory, no arithmetic"


def _cuda_graphs(c: Case) -> Answer:
    return True, "every CUDA GPU has them; --enforce-eager switches them off"


def _tensor_parallel(c: Case) -> Answer:
    if c.count > 1:
        return True, f"{c.count} accelerators; the number of attention heads must be divisible by the number used"
    return False, "one accelerator is there; tensor parallelism needs two or more"


def _int8_kv(c: Case) -> Answer:
    since = KV_DTYPES_OF_TRITON["int8_per_token_head"]
    if since.has(c.version):
        return True, f"Triton attention of vLLM {c.text} has int8_per_token_head"
    return False, f"int8_per_token_head came with vLLM {since.since}; this is {c.text}"


def _cpu_fp8_kv(c: Case) -> Answer:
    if not CPU_READS_FP8.has(c.version):
        return False, f"the CPU backend reads an FP8 KV cache from vLLM {CPU_READS_FP8.since} on; this is {c.text}"
    if not cpu_flags() & {"avx512f", "amx_tile"}:
        return False, "the CPU backend needs AVX-512 or AMX for it, which this processor does not have"
    return True, f"the CPU backend of vLLM {c.text} keeps the KV cache in FP8 (AVX-512 or AMX is there)"


def _cpu_bf16(c: Case) -> Answer:
    fast = fast_dtype()
    way_out = "" if fast.name == "bfloat16" else "; --dtype float32 is faster here"
    return True, f"the CPU build's default for bfloat16 checkpoints; {fast.reason}{way_out}"


def _cpu_yes(reason: str) -> Callable[[Case], Answer]:
    return lambda c: (True, reason)


def _cpu_no(reason: str) -> Callable[[Case], Answer]:
    return lambda c: (False, reason)


BACKEND_NAMES = {
    "FLASH_ATTN": "FlashAttention",
    "FLASHINFER": "FlashInfer",
    "TRITON_ATTN": "Triton attention",
    "FLEX_ATTENTION": "FlexAttention",
}
Rules = dict[str, tuple[str, Callable[[Case], Answer]]]
CUDA: Rules = {
    "fp16": ("FP16", _fp16),
    "bf16": ("BF16", _bf16),
    "int8": ("INT8 arithmetic (W8A8)", _int8),
    "fp8": ("FP8 arithmetic (W8A8)", _fp8),
    "fp8_kv": ("FP8 KV cache", _fp8_kv),
    "flash_attention_2": ("FlashAttention 2", _flash_attention_2),
    "flash_attention_3": ("FlashAttention 3", _flash_attention_3),
    "flashinfer": ("FlashInfer attention", _flashinfer),
    "triton_attention": ("Triton attention", _triton),
    "marlin": ("Marlin kernels (4-bit weights)", _marlin),
    "fp8_weight_only": ("FP8 weights without FP8 arithmetic", _fp8_weight_only),
    "cuda_graphs": ("CUDA graphs", _cuda_graphs),
    "tensor_parallel": ("tensor parallelism", _tensor_parallel),
    "int8_kv": ("INT8 KV cache", _int8_kv),
}
_GPU_ONLY = "a CUDA feature; the CPU build of vLLM has its own kernels"
CPU: Rules = {
    "fp16": ("FP16", _cpu_yes("the CPU build takes --dtype half; without FP16 units it computes in FP32")),
    "bf16": ("BF16", _cpu_bf16),
    "int8": ("INT8 arithmetic (W8A8)", _cpu_yes("the CPU build runs W8A8 checkpoints of compressed-tensors")),
    "fp8": ("FP8 arithmetic (W8A8)", _cpu_no("processors have no FP8 units")),
    "fp8_kv": ("FP8 KV cache", _cpu_fp8_kv),
    "flash_attention_2": ("FlashAttention 2", _cpu_no(_GPU_ONLY)),
    "flash_attention_3": ("FlashAttention 3", _cpu_no(_GPU_ONLY)),
    "flashinfer": ("FlashInfer attention", _cpu_no(_GPU_ONLY)),
    "triton_attention": ("Triton attention", _cpu_no(_GPU_ONLY)),
    "marlin": ("Marlin kernels (4-bit weights)", _cpu_no(_GPU_ONLY)),
    "fp8_weight_only": ("FP8 weights without FP8 arithmetic", _cpu_no(_GPU_ONLY)),
    "cuda_graphs": ("CUDA graphs", _cpu_no(_GPU_ONLY)),
    "tensor_parallel": ("tensor parallelism", _cpu_no("one socket is treated as one accelerator")),
    "int8_kv": ("INT8 KV cache", _cpu_no("int8_per_token_head needs Triton attention")),
}
