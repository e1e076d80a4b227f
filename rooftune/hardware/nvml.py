"""NVIDIA GPUs of this machine, read through NVML. Without a driver or a GPU every answer is empty."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from typing import Any

from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.catalogue import find

TENSOR_FLOPS_PER_CYCLE = {
    (7, 0): 1024,
    (7, 5): 1024,
    (8, 0): 2048,
    (8, 6): 1024,
    (8, 9): 1024,
    (9, 0): 4096,
    (10, 0): 8192,
    (12, 0): 1024,
}
"""Dense FP16 tensor FLOP per cycle and multiprocessor (NVIDIA's architecture whitepapers); GeForce has half of it."""
CORES_PER_SM = {(7, 0): 64, (7, 5): 64, (8, 0): 64}
VISIBLE_SHARE = 0.985
"""Memory that torch sees as a share of what the driver prints, where the catalogue does not know the GPU (estimate)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML describes it. Clocks in MHz, memory in bytes, power in watts."""

    index: int
    name: str
    memory_bytes: int
    compute_capability: tuple[int, int] | None
    power_limit_watts: float | None = None
    max_sm_clock_mhz: float | None = None
    max_memory_clock_mhz: float | None = None
    memory_bus_bits: int | None = None
    cuda_cores: int | None = None
    mig: bool = False
    handle: Any = field(default=None, compare=False, repr=False)


def load() -> Any | None:
    """The pynvml module, initialised; None where the package, the driver or a GPU is missing."""
    try:
        pynvml = importlib.import_module("pynvml")
        pynvml.nvmlInit()
        return pynvml if pynvml.nvmlDeviceGetCount() > 0 else None
    except Exception:
        return None


def driver_version() -> str | None:
    """Version of the NVIDIA driver; None without one."""
    pynvml = load()
    return _text(_ask(pynvml, "nvmlSystemGetDriverVersion")) if pynvml else None


def gpus() -> list[Gpu]:
    """GPUs that CUDA programs started from here would see, in NVML's order; ``CUDA_VISIBLE_DEVICES`` applies."""
    pynvml = load()
    if pynvml is None:
        return []
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = _ask(pynvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is not None and _visible(index, _text(_ask(pynvml, "nvmlDeviceGetUUID", handle))):
            found.append(_gpu(pynvml, index, handle))
    return found


def matched(gpu: Gpu) -> Accelerator:
    """The catalogue's entry of a GPU with the memory found here; an unknown GPU has rates derived from its clocks."""
    known = find(gpu.name)
    if known is None:
        return _derived(gpu)
    if known.driver_memory_bytes and abs(gpu.memory_bytes / known.driver_memory_bytes - 1) > 0.05:
        here, listed = gpu.memory_bytes / 2**30, known.driver_memory_bytes / 2**30
        note = f"the driver prints {here:.1f} GiB, the catalogue has {listed:.1f} GiB"
        visible = int(gpu.memory_bytes * VISIBLE_SHARE)
        changed = {
            "memory_bytes": visible,
            "driver_memory_bytes": gpu.memory_bytes,
            "notes": f"{known.notes}; {note}".lstrip("; "),
        }
        return known.model_copy(update=changed)
    return known.model_copy(update={"driver_memory_bytes": gpu.memory_bytes})


def _derived(gpu: Gpu) -> Accelerator:
    cc = gpu.compute_capability
    bandwidth = 2e6 * (gpu.max_memory_clock_mhz or 0) * (gpu.memory_bus_bits or 0) / 8
    sms = (gpu.cuda_cores or 0) // CORES_PER_SM.get(cc or (0, 0), 128)
    tensor = sms * TENSOR_FLOPS_PER_CYCLE.get(cc or (0, 0), 0) * (gpu.max_sm_clock_mhz or 0) * 1e6
    rates = {"fp32": 2e6 * (gpu.cuda_cores or 0) * (gpu.max_sm_clock_mhz or 0), "fp16": tensor}
    if cc and cc >= (8, 0):
        rates["bf16"] = tensor
    if cc and cc >= (8, 9):
        rates["fp8"] = 2 * tensor
    return Accelerator(
        name=gpu.name,
        kind="cuda",
        compute_capability=cc,
        memory_bytes=int(gpu.memory_bytes * VISIBLE_SHARE),
        driver_memory_bytes=gpu.memory_bytes,
        bandwidth_bytes_per_s=bandwidth,
        flops_per_s={k: v for k, v in rates.items() if v > 0},
        power_watts=gpu.power_limit_watts,
        multiprocessors=sms or None,
        source="derived from clocks, bus width and cores that NVML reports; the catalogue does not know this GPU",
        notes="GeForce cards reach half of this tensor rate" if "geforce" in gpu.name.lower() else "",
    )


def _gpu(pynvml: Any, index: int, handle: Any) -> Gpu:
    memory = _ask(pynvml, "nvmlDeviceGetMemoryInfo", handle)
    cc = _ask(pynvml, "nvmlDeviceGetCudaComputeCapability", handle)
    power = _ask(pynvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
    mode = _ask(pynvml, "nvmlDeviceGetMigMode", handle)
    return Gpu(
        index=index,
        name=_text(_ask(pynvml, "nvmlDeviceGetName", handle)) or "unknown NVIDIA GPU",
        memory_bytes=int(memory.total) if memory is not None else 0,
        compute_capability=(int(cc[0]), int(cc[1])) if cc else None,
        power_limit_watts=power / 1000 if power else None,
        max_sm_clock_mhz=_ask(pynvml, "nvmlDeviceGetMaxClockInfo", handle, getattr(pynvml, "NVML_CLOCK_SM", 1)),
        max_memory_clock_mhz=_ask(pynvml, "nvmlDeviceGetMaxClockInfo", handle, getattr(pynvml, "NVML_CLOCK_MEM", 2)),
        memory_bus_bits=_ask(pynvml, "nvmlDeviceGetMemoryBusWidth", handle),
        cuda_cores=_ask(pynvml, "nvmlDeviceGetNumGpuCores", handle),
        mig=bool(mode and mode[0]),
        handle=handle,
    )


def _visible(index: int, uuid: str | None) -> bool:
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return True
    for word in (w.strip() for w in asked.split(",")):
        if word.isdigit() and int(word) == index:
            return True
        if uuid and not word.isdigit() and len(word) > 4 and uuid.startswith(word):
            return True
    return False


def _ask(pynvml: Any, function: str, *arguments: Any) -> Any | None:
    """What an NVML function answers; None where this driver or GPU does not support it."""
    try:
        return getattr(pynvml, function)(*arguments)
    except Exception:
        return None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
