"""One reading of the NVIDIA GPUs of this machine per second, for the load client's ticks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rooftune.hardware import nvml

Sample = dict[str, float | int | None]
COLUMNS = (
    "gpu_power_w",
    "gpu_temperature_c",
    "gpu_sm_clock_mhz",
    "gpu_memory_clock_mhz",
    "gpu_utilization",
    "gpu_memory_used_bytes",
    "gpu_throttle_reasons",
)
"""Columns of ticks.parquet that a sample fills."""


def gpu_sampler() -> Callable[[], Sample] | None:
    """A function that reads all visible GPUs at once; None when there is no NVIDIA GPU.

    With several GPUs, power and memory are summed; the temperature is that of the hottest, the clocks those of the
    slowest, the utilisation (0..1) is the mean, and a throttle reason of any of them is reported. A figure that the
    driver does not give is None. A sample takes about a millisecond.
    """
    devices = nvml.gpus()
    pynvml = nvml.load() if devices else None
    if pynvml is None:
        return None
    return lambda: _merged([_sample(pynvml, gpu.handle) for gpu in devices])


def _sample(pynvml: Any, handle: Any) -> Sample:
    def ask(function: str, *arguments: Any) -> Any:
        try:
            return getattr(pynvml, function)(handle, *arguments)
        except Exception:
            return None

    power, memory, busy = (
        ask("nvmlDeviceGetPowerUsage"),
        ask("nvmlDeviceGetMemoryInfo"),
        ask("nvmlDeviceGetUtilizationRates"),
    )
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return {
        "gpu_power_w": None if power is None else power / 1000,
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

    reasons = known("gpu_throttle_reasons")
    mask = 0
    for reason in reasons:
        mask |= int(reason)
    return {
        "gpu_power_w": of("gpu_power_w", sum),
        "gpu_temperature_c": of("gpu_temperature_c", max),
        "gpu_sm_clock_mhz": of("gpu_sm_clock_mhz", min),
        "gpu_memory_clock_mhz": of("gpu_memory_clock_mhz", min),
        "gpu_utilization": of("gpu_utilization", lambda v: sum(v) / len(v)),
        "gpu_memory_used_bytes": of("gpu_memory_used_bytes", sum),
        "gpu_throttle_reasons": mask if reasons else None,
    }
