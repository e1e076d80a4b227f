"""A timer for the event loop that is exact to some tens of microseconds.

uvloop's timers count milliseconds. On Linux, a timerfd on the loop's poll fires about 50 us after its time. Other
systems use the loop's own timers. Times are those of ``time.monotonic()``.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

CLOCK_MONOTONIC, TFD_TIMER_ABSTIME = 1, 1
TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0


class _Spec(ctypes.Structure):
    """``struct itimerspec``: interval and value, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Timer:
    """Calls ``fire`` once at its time. ``fire`` may set it again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop, self._fire = loop, fire
        self._timer: asyncio.TimerHandle | None = None
        self._fd = _timerfd()
        if self._fd >= 0:
            self._spec = _Spec(0, 0, 0, 0)
            self._set = ctypes.CDLL(None).timerfd_settime
            loop.add_reader(self._fd, self._readable)

    def set(self, when: float) -> None:
        """Fire at this time, or at once when it has passed. Replaces an earlier time."""
        if self._fd < 0:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(0.0, when - time.monotonic()), self._fire)
            return
        seconds = int(when)
        self._spec.at_s, self._spec.at_ns = seconds, max(1, int((when - seconds) * 1e9))
        self._set(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._fire()

    def close(self) -> None:
        """Never fire again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _timerfd() -> int:
    """A timer descriptor of the kernel; -1 where there is none."""
    if sys.platform != "linux":
        return -1
    try:
        return int(ctypes.CDLL(None).timerfd_create(CLOCK_MONOTONIC, TFD_FLAGS))
    except (OSError, AttributeError):
        return -1
