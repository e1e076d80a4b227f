"""The processor of this machine as an accelerator."""

from __future__ import annotations

from rooftune.hardware.accelerator import Accelerator, Ceiling
from rooftune.hardware.host import cores, cpu_flags, cpu_name, memory_bytes

ASSUMED_CLOCK_HZ = 2.5e9
ASSUMED_BANDWIDTH_PER_CORE = 6e9
MOST_ASSUMED_BANDWIDTH = 100e9


def cpu(ceilings: tuple[Ceiling, ...] = ()) -> Accelerator:
    """The processor of this machine; rates are the measured ceilings, else assumed from cores and vector units."""
    measured = {c.name: c.value for c in ceilings}
    wide = 64 if "avx512f" in cpu_flags() else 32 if "avx2" in cpu_flags() else 16
    rates = {"fp32": measured.get("matmul_fp32", cores() * ASSUMED_CLOCK_HZ * wide)}
    if "matmul_bf16" in measured:
        rates["bf16"] = measured["matmul_bf16"]
    assumed = min(cores() * ASSUMED_BANDWIDTH_PER_CORE, MOST_ASSUMED_BANDWIDTH)
    return Accelerator(
        name="cpu",
        kind="cpu",
        compute_capability=None,
        memory_bytes=memory_bytes(),
        bandwidth_bytes_per_s=measured.get("memory_copy", assumed),
        flops_per_s=rates,
        multiprocessors=cores(),
        source="measured on this machine with numpy"
        if measured
        else "assumed from cores and vector units, not measured",
        notes=cpu_name(),
    )
