"""Memory of a GPU that is taken before an engine measures what is free: the CUDA context and the buffers of NCCL."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.hardware.accelerator import Accelerator
from rooftune.vllm_rules.defaults import GIB
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.versions import Releases

CONTEXT_BYTES = 0.25 * GIB
LARGE_CONTEXT_BYTES = 0.5 * GIB
"""On devices of 70 GiB and more: 78.59 of 79.11 GiB of an H100 are free (vLLM pull request 25359)."""
NVLINK_BYTES_PER_S = 100e9
"""Links from here on are NVLink."""
PCIE_BYTES = 0.3 * GIB
"""vLLM issue 15598: 0.28 GiB on each of 32 L40S."""
NVLINK_BYTES = 1.0 * GIB
"""vLLM pull requests 46234 and 51485: 0.96 GiB on each of 8 GPUs, about 1 GiB on each of 4; 48601: 77.57 of 79.11 GiB
are free on each of 4 H100."""
HOPPER_BYTES = 4.5 * GIB
"""vLLM pull request 25359: 74.07 of 79.11 GiB of an H100 are free after NCCL has its buffers."""
HOPPER_BUFFERS_ARE_LARGE = Releases(until="0.19")


@dataclass(frozen=True)
class Reserved:
    """Bytes that no engine can have."""

    context: int
    communication: int


def reserved(gpu: Accelerator, r: Resolved) -> Reserved:
    """What one GPU holds before the engine measures its free memory; nothing on a CPU."""
    if gpu.kind == "cpu":
        return Reserved(0, 0)
    context = LARGE_CONTEXT_BYTES if gpu.memory_bytes >= 70 * GIB else CONTEXT_BYTES
    return Reserved(round(context), round(_buffers(gpu, r)))


def _buffers(gpu: Accelerator, r: Resolved) -> float:
    if r.tensor_parallel == 1:
        return 0.0
    if (gpu.interconnect_bytes_per_s or 0.0) < NVLINK_BYTES_PER_S:
        return PCIE_BYTES
    hopper = (gpu.compute_capability or (0, 0)) >= (9, 0)
    return HOPPER_BYTES if hopper and HOPPER_BUFFERS_ARE_LARGE.has(r.version) else NVLINK_BYTES
