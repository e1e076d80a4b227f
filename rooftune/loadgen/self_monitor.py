"""What a client process measures of itself: lag of its event loop, pauses of its garbage collector, CPU time,
descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from array import array

from rooftune.loadgen.wire import Timer

EVERY_S = 0.02
ROOM = 2**14
"""Descriptors that the kernel's table has room for before the load begins (128 KiB)."""
YOUNG_EVERY_S, OLDER_EVERY_S = 1.0, 60.0
"""Intervals of our own collections of young and of older objects. The automatic collector is off during the load."""


def raise_descriptor_limit() -> int | None:
    """Raise the soft limit of open files to the hard one. Return it, or None where there is no such limit."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def make_room(descriptors: int) -> None:
    """Grow the kernel's table of open files to this size now.

    The table doubles when it is full. In a process with threads, Linux then waits for every core (``expand_fdtable``
    in fs/file.c calls ``synchronize_rcu``). Nothing is sent for 8 to 16 ms each time the connections reach 64, 128,
    256 and so on.
    """
    try:
        import fcntl

        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, descriptors - 1))
    except (ImportError, OSError):
        return


class SelfMonitor:
    """Measures from ``begin`` to ``end``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._late = array("f")
        self._next = 0.0
        self._timer = Timer(loop, self._beat)
        self._cpu = self._wall = 0.0
        self._young = self._older = 0.0
        self.gc_pause_s = 0.0
        self.cpu_share = 0.0
        self.descriptors_limit = raise_descriptor_limit()
        make_room(min(ROOM, self.descriptors_limit or ROOM))
        self.descriptors_used = _open_descriptors()
        """Descriptors in use apart from connections."""

    def begin(self, at: float) -> None:
        """Start measuring. The load begins at this time; automatic garbage collection is off from now on."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._next, self._wall, self._cpu = at + EVERY_S, at, time.process_time()
        self._young = self._older = at
        self._timer.set(self._next)

    def _beat(self) -> None:
        now = time.monotonic()
        self._late.append(max(0.0, now - self._next))
        self._next = now + EVERY_S
        self._timer.set(self._next)

    def tidy(self, now: float) -> None:
        """Collect cycles when it is time to, and measure the pause."""
        if now - self._young < YOUNG_EVERY_S:
            return
        self._young = now
        older = now - self._older >= OLDER_EVERY_S
        if older:
            self._older = now
        before = time.monotonic()
        gc.collect(1 if older else 0)
        self.gc_pause_s = max(self.gc_pause_s, time.monotonic() - before)

    def end(self) -> None:
        """Stop measuring loop lag and CPU time: the last request was sent."""
        wall = time.monotonic() - self._wall
        self.cpu_share = (time.process_time() - self._cpu) / wall if wall > 0 else 0.0
        self._timer.close()

    def close(self) -> None:
        """Turn automatic garbage collection on again."""
        gc.enable()
        gc.unfreeze()

    @property
    def loop_lag_p99_s(self) -> float | None:
        """99th percentile of how late the loop's beats were."""
        late = sorted(self._late)
        return late[min(len(late) - 1, int(0.99 * len(late)))] if late else None


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
