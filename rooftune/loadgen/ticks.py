"""Samples server, client and machine every second, in a thread of the parent so that no event loop delays it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooftune.engines import metrics
from rooftune.engines.urls import is_local
from rooftune.errors import RooftuneError
from rooftune.loadgen.parts import write_part

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_REAL_S = 0.1
"""Minimum of real seconds between samples, however fast the simulated clock runs."""
AFTER_S = 0.03
"""Delay of a sample after the reports of the client processes, so that both describe the same moment."""
TIMEOUT_S = 5.0


def interval_s(scale: float) -> float:
    """Workload seconds between two samples."""
    return max(1.0, LEAST_REAL_S * scale)


class TickRecorder:
    """Samples from ``start`` to ``stop`` and writes each sample to ``folder``."""

    def __init__(self, url: str, folder: Path, scale: float, client: Callable[[], dict[str, float | None]]) -> None:
        self._url, self._folder, self._scale, self._client = url, folder, scale, client
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._numbers = 0
        self._gpu: Callable[[], dict[str, Any]] | None = None
        self.error: RooftuneError | None = None
        self.began = 0.0

    def prepare(self) -> None:
        """Find out what can be sampled. This machine's GPU is sampled only if a real server runs here."""
        import psutil

        psutil.cpu_percent(None)
        # The first conversion and the first file import many of pyarrow's helpers; do it now, not at the first tick.
        write_part(_table([{"t_s": 0.0, "up": False, **self._client()}]), self._folder, "rehearsal-ticks")
        (self._folder / "rehearsal-ticks").unlink()
        page = metrics.scrape_once(self._url, timeout_s=2.0)
        if is_local(self._url) and not (page and "rooftune:simulated" in page):
            from rooftune.hardware.sampler import gpu_sampler

            self._gpu = gpu_sampler()

    def start(self, began: float) -> None:
        """Start sampling at this time of the monotonic clock."""
        self.began = began
        self._thread = threading.Thread(target=self._run, name="ticks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after a last sample. Blocks for a few seconds at most."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        _lower_priority()
        step, number = interval_s(self._scale) / self._scale, 0
        while True:
            due = self.began + number * step + AFTER_S
            last = self._over.wait(max(0.0, due - time.monotonic()))
            try:
                self._write([self.sample()])
            except RooftuneError as error:
                self.error = error
                return
            if last:
                return
            number = max(number + 1, int((time.monotonic() - self.began - AFTER_S) / step) + 1)

    def sample(self) -> dict[str, Any]:
        """A row of ``schema.TICKS``."""
        import psutil

        asked = time.monotonic()
        page = metrics.scrape_once(self._url, timeout_s=TIMEOUT_S)
        answered = time.monotonic()
        row: dict[str, Any] = {"t_s": ((asked + answered) / 2 - self.began) * self._scale, "up": page is not None}
        row |= metrics.parse(page) if page else {}
        row |= self._client()
        row |= {"host_cpu_share": psutil.cpu_percent(None) / 100, "host_swap_bytes": float(psutil.swap_memory().used)}
        return row | (self._gpu() if self._gpu else {})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._numbers += 1
        write_part(_table(rows), self._folder, f"ticks-{self._numbers:07}.parquet")


def _lower_priority() -> None:
    """Lower this thread's priority, which Linux keeps per thread, so that sending comes first on a shared core."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            mine = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, mine, min(19, os.getpriority(os.PRIO_PROCESS, mine) + 10))


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    from rooftune.loadgen.schema import TICKS

    return pa.Table.from_pylist([{name: row.get(name) for name in TICKS.names} for row in rows], schema=TICKS)
