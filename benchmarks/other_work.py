"""How much of this machine's processors programs use that are not part of a measurement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import psutil

BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""Fields of the machine's processor times; ``steal`` is what the host of a virtual machine took."""


class OtherWork:
    """Watches from its creation on. Own are the named processes, this one, and everything that they started."""

    def __init__(self, own: Sequence[int] = ()) -> None:
        self._roots = [psutil.Process(), *map(psutil.Process, own)]
        self._began, self._all, self._own = time.monotonic(), _machine_s(), self._total_s()

    def share(self) -> float:
        """Share of all processors that others used since then, 0 to 1."""
        others = (_machine_s() - self._all) - self.own_s()
        return max(0.0, others / ((time.monotonic() - self._began) * (psutil.cpu_count() or 1)))

    def own_s(self) -> float:
        """Processor seconds of own processes since then."""
        return self._total_s() - self._own

    def _total_s(self) -> float:
        """Those since they began; of a process that ended, what waited for it has them."""
        found: dict[int, psutil.Process] = {}
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                found |= {process.pid: process for process in (root, *root.children(recursive=True))}
        total = 0.0
        for process in found.values():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


def _machine_s() -> float:
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in BUSY))
