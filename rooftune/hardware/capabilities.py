"""What an accelerator can do under one engine version: each feature yes or no, with the reason.

Rules read in vLLM 0.15.1 and 0.32.0 (``platforms/cuda.py``, ``v1/attention/backends``, the quantisation classes) and in the
pull requests that each rule names. T4 and its like (7.5) lost FlashInfer, and with it the FP8 KV cache, in 0.24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from rooftune.hardware.accelerator import Accelerator, Capability
from rooftune.hardware.host import cpu_flags, fast_dtype

NO_VOLTA_WHEELS = Version("0.21")
"""From here on the default wheels hold no kernels for compute capability 7.0."""
TURING_MARLIN = Version("0.14")
"""First release with Marlin for 7.5 (vLLM pull request 29901, December 2025)."""
NO_TURING_FLASHINFER = Version("0.24")
"""From here on FlashInfer needs 8.0 (vLLM pull request 45375, issue 47549)."""
INT8_KV = Version("0.20")
"""First release with ``int8_per_token_head`` (release notes of vLLM 0.20.0, pull request 38378)."""
FLASH_ATTENTION_4 = Version("0.20")
"""From here on FlashAttention 4 stands in for 2 on 10.x (release notes of vLLM 0.20.0)."""
CPU_FP8_KV = Version("0.32")
"""The version in which the CPU backend's FP8 KV cache was read (``v1/attention/backends/cpu_attn.py``); older ones were not checked."""

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
    """The capability table of so many accelerators under vLLM of that version; an unreadable version counts as the newest."""
    case = Case(accelerator, version(engine_version), engine_version, count)
    rules = CUDA if accelerator.kind == "cuda" else CPU
    if accelerator.kind == "cuda" and accelerator.compute_capability is None:
        unknown = f"the compute capability of {accelerator.name} is not known; name the GPU with --gpu"
        return [Capability(id=i, name=name, available=False, reason=unknown) for i, (name, _) in rules.items()]
    refusal = _no_wheel(case)
    table = []
    for i, (name, rule) in rules.items():
        available, reason = (False, refusal) if refusal else rule(case)
        table.append(Capability(id=i, name=name, available=available, reason=reason))
    return table


def version(text: str) -> Version:
    """An engine version as a comparable value; an unreadable one counts as the newest."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("9999")


def _no_wheel(c: Case) -> str | None:
    if c.gpu.kind != "cuda":
        return None
    if c.cc < (7, 0):
        return f"vLLM needs compute capability 7.0 or higher; {c.has}"
    if c.cc < (7, 5) and c.version >= NO_VOLTA_WHEELS:
        return f"vLLM {c.text} has no kernels for compute capability {c.cc[0]}.{c.cc[1]} in its wheels (needs 7.5 from 0.21 on)"
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
    if c.cc >= (9, 0):
        return True, f"FlashAttention and FlashInfer read an FP8 KV cache on {c.chip}"
    if c.cc >= (8, 9):
        return True, f"FlashInfer and Triton attention read an FP8 KV cache on {c.chip}"
    if c.cc >= (8, 0):
        return (
            True,
            f"through FlashInfer alone on {c.chip}, as a storage format: more tokens fit, arithmetic stays 16-bit",
        )
    if c.cc >= (7, 5) and c.version < NO_TURING_FLASHINFER:
        return (
            True,
            f"through FlashInfer, which vLLM {c.text} still runs on 7.5; a storage format, arithmetic stays 16-bit",
        )
    if c.cc >= (7, 5):
        return False, (
            f"no attention backend of vLLM {c.text} reads an FP8 KV cache on {c.chip}: FlashInfer needs 8.0 since 0.24, Triton needs 8.9"
        )
    return False, f"no attention backend reads an FP8 KV cache on {c.chip}"


def _flash_attention_2(c: Case) -> Answer:
    if c.cc[0] == 10 and c.version >= FLASH_ATTENTION_4:
        return False, f"on {c.chip} FlashInfer comes first and FlashAttention 4 takes the place of 2"
    if c.cc >= (8, 0):
        return True, f"{c.chip} meets its 8.0"
    return False, f"FlashAttention 2 needs compute capability 8.0; {c.has}"


def _flash_attention_3(c: Case) -> Answer:
    if c.cc[0] == 9:
        return True, f"{c.chip} is of the generation it is written for"
    return False, f"FlashAttention 3 runs on compute capability 9.x alone; {c.has}"


def _flashinfer(c: Case) -> Answer:
    if c.cc >= (8, 0):
        return True, f"{c.chip} meets its 8.0"
    if c.cc >= (7, 5) and c.version < NO_TURING_FLASHINFER:
        return True, f"vLLM {c.text} still runs it on 7.5; from 0.24 on it needs 8.0"
    return False, f"FlashInfer needs compute capability 8.0 in vLLM {c.text}; {c.has}"


def _triton(c: Case) -> Answer:
    return True, "runs on every CUDA GPU that vLLM supports"


def _marlin(c: Case) -> Answer:
    if c.cc >= (8, 0):
        return True, f"{c.chip} meets its 7.5; for 4-bit weights in groups of 32, 64, 128 or whole columns"
    if c.cc >= (7, 5) and c.version >= TURING_MARLIN:
        return (
            True,
            f"vLLM {c.text} has Marlin for 7.5, with FP16 activations alone; for groups of 32, 64, 128 or whole columns",
        )
    least = "7.5" if c.version >= TURING_MARLIN else "8.0"
    return False, f"Marlin needs compute capability {least} in vLLM {c.text}; {c.has}"


def _fp8_weight_only(c: Case) -> Answer:
    ok, reason = _marlin(c)
    if not ok:
        return False, reason
    native = "; FP8 arithmetic is there too and preferred" if c.cc >= (8, 9) else "; saves memory, no arithmetic"
    return True, f"FP8 weights run through Marlin on {c.chip}{native}"


def _cuda_graphs(c: Case) -> Answer:
    return True, "every CUDA GPU has them; --enforce-eager switches them off"


def _tensor_parallel(c: Case) -> Answer:
    if c.count > 1:
        return True, f"{c.count} accelerators; the number of attention heads must be divisible by the number used"
    return False, "one accelerator is there; tensor parallelism needs two or more"


def _int8_kv(c: Case) -> Answer:
    if c.version >= INT8_KV:
        return True, f"Triton attention of vLLM {c.text} has int8_per_token_head"
    return False, f"int8_per_token_head came with vLLM {INT8_KV}; this is {c.text}"


def _cpu_fp8_kv(c: Case) -> Answer:
    if c.version < CPU_FP8_KV:
        return False, f"known of the CPU backend from vLLM {CPU_FP8_KV} on; this is {c.text}"
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
    "tensor_parallel": ("tensor parallelism", _cpu_no("one socket is taken as one accelerator")),
    "int8_kv": ("INT8 KV cache", _cpu_no("int8_per_token_head needs Triton attention")),
}
