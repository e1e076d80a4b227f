"""A stand-in for libnvidia-ml.so.1, below the real pynvml: C functions that write through pointers."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

SUCCESS, NOT_SUPPORTED, INSUFFICIENT_SIZE = 0, 3, 7


@dataclass
class Card:
    """One GPU. A figure that is None is answered with NVML_ERROR_NOT_SUPPORTED."""

    name: bytes = b"NVIDIA L4"
    memory_bytes: int = 23034 * 2**20
    milliwatts: int | None = 71_500
    millijoules: int | None = 9_000_000_000
    pids: list[int] = field(default_factory=list)
    mig: bool = False


class FakeDriver:
    """The functions of the library that rooftune reads power with; any other is missing, as in an old driver."""

    def __init__(self, cards: list[Card]) -> None:
        self.cards = cards

    def nvmlInitWithFlags(self, flags: int) -> int:
        return SUCCESS

    def nvmlErrorString(self, code: int) -> bytes:
        return b"Not Supported"

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.cards)
        return SUCCESS

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:
        ctypes.cast(device, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.c_void_p(index.value + 1)
        return SUCCESS

    def nvmlDeviceGetName(self, handle: Any, name: Any, size: Any) -> int:
        name.value = self._card(handle).name
        return SUCCESS

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.used = self._card(handle).memory_bytes, 2**30
        return SUCCESS

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        current._obj.value = pending._obj.value = int(self._card(handle).mig)
        return SUCCESS

    def nvmlDeviceGetPowerUsage(self, handle: Any, milliwatts: Any) -> int:
        return self._written(milliwatts, self._card(handle).milliwatts)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> int:
        return self._written(millijoules, self._card(handle).millijoules)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, processes: Any) -> int:
        pids = self._card(handle).pids
        if processes is None or count._obj.value < len(pids):
            count._obj.value = len(pids)
            return INSUFFICIENT_SIZE if pids else SUCCESS
        count._obj.value = len(pids)
        for place, pid in enumerate(pids):
            processes[place].pid = pid
        return SUCCESS

    def _card(self, handle: Any) -> Card:
        return self.cards[ctypes.cast(handle, ctypes.c_void_p).value - 1]  # type: ignore[operator]

    @staticmethod
    def _written(where: Any, value: int | None) -> int:
        if value is None:
            return NOT_SUPPORTED
        where._obj.value = value
        return SUCCESS
