"""One reading of the NVIDIA GPUs of this machine per second, for the load client's ticks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rooftune.hardware import nvml

Sample = dict[str, float | int | None]
COLUMNS = (
    "gpu_count",
    "gpu_power_w",
    "gpu_energy_j",
    "gpu_temperature_c",
    "gpu_sm_clock_mhz",
    "gpu_memory_clock_mhz",
    "gpu_utilization",
    "gpu_memory_used_bytes",
    "gpu_throttle_reasons",
)
"""Columns of ticks.parquet that a sample fills."""
TOTAL_ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
"""Millijoules since the driver was loaded; Volta and later."""


def gpu_sampler() -> Callable[[], Sample] | None:
    """A function that reads the GPUs of a running server at once; None when there is no NVIDIA GPU.

    These are the visible GPUs on which a process computes now, or all visible ones where the driver lists no process.
    With several GPUs, power, energy and memory are summed; the temperature is that of the hottest, the clocks those of
    the slowest, the utilisation (0..1) is the mean, and a throttle reason of any of them is reported. A figure that the
    driver does not give is None, and so is a sum that lacks a part. A sample takes about a millisecond.
    """
    devices = nvml.gpus()
    pynvml = nvml.load() if devices else None
    if pynvml is None:
        return None
    devices = [gpu for gpu in devices if _computes(pynvml, gpu)] or devices
    return lambda: {"gpu_count": len(devices), **_merged([_sample(pynvml, gpu) for gpu in devices])}


def power_is_read() -> bool:
    """Whether NVML reads the power or the energy of this machine's GPUs."""
    sample = gpu_sampler()
    values = sample() if sample is not None else {}
    return values.get("gpu_power_w") is not None or values.get("gpu_energy_j") is not None


def _computes(pynvml: Any, gpu: nvml.Gpu) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle))
    except Exception:
        return False


def _sample(pynvml: Any, gpu: nvml.Gpu) -> Sample:
    handle = gpu.handle

    def ask(function: str, *arguments: Any) -> Any:
        try:
            return getattr(pynvml, function)(handle, *arguments)
        except Exception:
            return None

    # The driver reads the power of a whole GPU, never that of a MIG slice.
    power, energy = (None, None) if gpu.mig else (ask("nvmlDeviceGetPowerUsage"), ask(TOTAL_ENERGY))
    memory, busy = ask("nvmlDeviceGetMemoryInfo"), ask("nvmlDeviceGetUtilizationRates")
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return {
        "gpu_power_w": None if power is None else power / 1000,
        "gpu_energy_j": None if energy is None else energy / 1000,
        "gpu_temperature_c": ask("nvmlDeviceGetTemperature", getattr(pynvml, "NVML_TEMPERATURE_GPU", 0)),
        "gpu_sm_clock_mhz": ask("nvmlDeviceGetClockInfo", getattr(pynvml, "NVML_CLOCK_SM", 1)),
        "gpu_memory_clock_mhz": ask("nvmlDeviceGetClockInfo", getattr(pynvml, "NVML_CLOCK_MEM", 2)),
        "gpu_utilization": None if busy is None else busy.gpu / 100,
        "gpu_memory_used_bytes": None if memory is None else float(memory.used),
        "gpu_throttle_reasons": None if reasons is None else int(reasons),
    }


def _merged(samples: list[Sample]) -> Sample:
    def known(column: str) -> list[float]:
        return [value for s in samples if (value := s[column]) is not None]

    def of(column: str, merge: Callable[[list[float]], float]) -> float | None:
        values = known(column)
        return float(merge(values)) if values else None

    def total(column: str) -> float | None:
        values = known(column)
        return float(sum(values)) if len(values) == len(samples) else None

    reasons = known("gpu_throttle_reasons")
    mask = 0
    for reason in reasons:
        mask |= int(reason)
    return {
        "gpu_power_w": total("gpu_power_w"),
        "gpu_energy_j": total("gpu_energy_j"),
        "gpu_temperature_c": of("gpu_temperature_c", max),
        "gpu_sm_clock_mhz": of("gpu_sm_clock_mhz", min),
        "gpu_memory_clock_mhz": of("gpu_memory_clock_mhz", min),
        "gpu_utilization": of("gpu_utilization", lambda v: sum(v) / len(v)),
        "gpu_memory_used_bytes": total("gpu_memory_used_bytes"),
        "gpu_throttle_reasons": mask if reasons else None,
    }
