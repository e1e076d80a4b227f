"""The host that serves: processor, cores, memory, operating system, as far as the process may use them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")
CPU_DEVICE = Path("/sys/devices/system/cpu/cpu0")


@dataclass(frozen=True)
class FastDtype:
    """A floating-point type and why the processor is fast with it."""

    name: str
    reason: str


def fast_dtype() -> FastDtype:
    """The data type in which vLLM's CPU build computes fastest on this processor.

    Its matrix products run in oneDNN, whose documentation of data types asks for AVX-512 for bfloat16 on x86.
    Products of 512 x 768 by 768 x 2,048 on an EPYC with AVX512-BF16, limited by ONEDNN_MAX_CPU_ISA: bfloat16 is 2.6
    to 4 times as fast as float32 with AVX512-BF16, about equal with AVX-512 alone, and half as fast with AVX2. On an
    EPYC with AVX2 alone, vLLM 0.32 prefilled 82 million parameters at 15 ms per token in bfloat16 and at 2.3 ms in
    float32.
    """
    flags = cpu_flags()
    for flag, unit in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("bf16", "the BF16 extension of Arm")):
        if flag in flags:
            return FastDtype("bfloat16", f"{unit} multiplies bfloat16 in hardware")
    if "avx512f" in flags:
        return FastDtype("bfloat16", "AVX-512 converts bfloat16 quickly, so products are as fast as in float32")
    if not flags:
        return FastDtype("float32", "the operating system does not list the processor's instruction sets")
    return FastDtype("float32", "without AVX-512, AMX or the BF16 extension of Arm, bfloat16 products are slow")


def host_facts() -> dict[str, str | int | float]:
    """Facts for hardware.json. Memory in bytes; ``cores`` are those that this process may run on."""
    facts: dict[str, str | int | float] = {
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    limit = _cgroup_cpus()
    if limit is not None:
        facts["cpu_limit"] = limit
    vector = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "asimd") if name in cpu_flags()]
    if vector:
        facts["vector_units"] = " ".join(vector)
    fast = fast_dtype()
    facts["fast_dtype"] = f"{fast.name}: {fast.reason}"
    return facts


def cores() -> int:
    """Cores that this process may run on."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        return max(1, os.cpu_count() or 1)


def memory_bytes() -> int:
    """Memory of the machine, or the cgroup's limit where that is less."""
    import psutil

    total = int(psutil.virtual_memory().total)
    try:
        text = (CGROUP / "memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total


@cache
def cpu_name() -> str:
    """The processor's name as the operating system prints it."""
    names = _cpuinfo("model name") or _cpuinfo("Model")
    return names or platform.processor() or platform.machine()


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor; empty where the operating system does not say."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def last_level_cache_bytes() -> int:
    """Size of the largest cache that the operating system reports; 32 MiB where it reports none."""
    sizes = [_size(f) for f in (CPU_DEVICE / "cache").glob("index*/size")]
    return max([*sizes, 0]) or 32 * 2**20


def _cpuinfo(key: str) -> str:
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


def _cgroup_cpus() -> float | None:
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else round(int(quota) / int(period), 2)


def _size(file: Path) -> int:
    try:
        text = file.read_text().strip().upper()
        scale = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
        return int(text.rstrip("KMG")) * scale
    except (OSError, ValueError):
        return 0
