"""The host that serves: processor, cores, memory, operating system, as far as the process may use them."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")
CPU_DEVICE = Path("/sys/devices/system/cpu/cpu0")


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
