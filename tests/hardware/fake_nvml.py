"""A stand-in for pynvml with the GPUs that a test wants."""

from __future__ import annotations

import types
from typing import Any


class NVMLError(Exception):
    """As pynvml raises it."""


class FakeNvml(types.ModuleType):
    """Answers like pynvml for GPUs given as mappings; a missing key is 'not supported'."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, gpus: list[dict[str, Any]], *, broken: bool = False) -> None:
        super().__init__("pynvml")
        self.gpus, self.broken = gpus, broken

    def nvmlInit(self) -> None:
        if self.broken:
            raise NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"570.86.15"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.gpus[index]

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)

        def ask(handle: dict[str, Any], *arguments: Any) -> Any:
            key = name.removeprefix("nvmlDeviceGet") + "".join(f"_{a}" for a in arguments)
            if key not in handle:
                raise NVMLError("not supported")
            return handle[key]

        return ask


def gpu(name: str, mib: int, cc: tuple[int, int], **more: Any) -> dict[str, Any]:
    """One GPU of a FakeNvml."""
    memory = types.SimpleNamespace(total=mib * 2**20, used=2 * 2**30)
    base = {"Name": name.encode(), "MemoryInfo": memory, "CudaComputeCapability": cc, "EnforcedPowerLimit": 70000}
    clocks = {"MaxClockInfo_1": 1590, "MaxClockInfo_2": 5001, "MemoryBusWidth": 256, "NumGpuCores": 2560}
    live = {"PowerUsage": 65500, "Temperature_0": 71, "ClockInfo_1": 1005, "ClockInfo_2": 5000}
    busy = {"UtilizationRates": types.SimpleNamespace(gpu=98), "CurrentClocksThrottleReasons": 4}
    return {**base, **clocks, **live, **busy, **more}
