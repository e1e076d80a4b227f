"""Waits until a server that starts has answered a request, or explains why it will not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from rooftune.engines import failures
from rooftune.engines.http_client import api_error, request, warm_up_completion
from rooftune.engines.logs import log_tail
from rooftune.engines.process import ServerProcess
from rooftune.errors import EngineError

QUIET_S = 300.0
"""A server hangs when it writes no log line and uses no CPU time for this long."""
WARM_UP_TIMEOUT_S = 180.0
Say = Callable[[str], None]
"""Receives the newest log line while a server starts."""


async def wait_ready(process: ServerProcess, url: str, model: str, deadline: float, say: Say | None) -> None:
    """Wait until ``/health`` answers 200 and a completion has come back.

    Raises:
        EngineError: the server died, hangs, or was not ready by ``deadline`` (monotonic clock).
    """
    progress = _StartupProgress(process)
    pause = 0.05
    while True:
        _raise_if_dead(process)
        if (await request(url, "/health", timeout_s=5.0)).status == 200:
            break
        now = time.monotonic()
        if now > deadline or progress.quiet_for() > QUIET_S:
            raise _not_ready(process, progress.quiet_for())
        if say:
            say(progress.last_line())
        await asyncio.sleep(pause)
        pause = min(0.5, pause * 1.3)
    try:
        await warm_up(url, model)
    except EngineError:
        await asyncio.sleep(0.3)
        _raise_if_dead(process)
        raise


async def warm_up(url: str, model: str) -> None:
    """Request one completion, or one chat completion from a server that has no other endpoint.

    Raises:
        EngineError: none came back.
    """
    reply = await warm_up_completion(url, model, timeout_s=WARM_UP_TIMEOUT_S)
    if reply.status == 404:
        reply = await warm_up_completion(url, model, timeout_s=WARM_UP_TIMEOUT_S, chat=True)
    if reply.status == 0:
        raise EngineError(
            f"{url} accepted the warm-up request but did not answer it ({reply.text}); see its log.", "hang"
        )
    error = api_error(reply, url)
    if error:
        raise error
    body = reply.json()
    if not isinstance(body, dict) or not body.get("choices"):
        raise EngineError(
            f"{url} answered the warm-up request without a completion: {reply.error_message()}; see its log.", "http"
        )


class _StartupProgress:
    """Whether a starting server makes progress: its log grows or its processes use CPU time."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.size, self.cpu_s, self.since = -1, -1.0, time.monotonic()

    def quiet_for(self) -> float:
        """Seconds since the last sign of life."""
        size, cpu_s = self.process.log.stat().st_size, cpu_seconds(self.process.server_pid)
        if size != self.size or cpu_s > self.cpu_s + 0.5:
            self.size, self.cpu_s, self.since = size, cpu_s, time.monotonic()
        return time.monotonic() - self.since

    def last_line(self) -> str:
        """The newest line of the log, without its prefix."""
        lines = [x for x in log_tail(self.process.log, 4096).splitlines() if x.strip()]
        return lines[-1].split("] ", 1)[-1].strip()[:120] if lines else ""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children so far."""
    import psutil

    total = 0.0
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        for one in [leader, *leader.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def _raise_if_dead(process: ServerProcess) -> None:
    code = process.exit_code()
    if code is None:
        return
    found = failures.classify(log_tail(process.log), code)
    raise found or EngineError(
        f"the engine ended with exit code {code} before it served; see the end of {process.log.name}.", "died"
    )


def _not_ready(process: ServerProcess, quiet_s: float) -> EngineError:
    text = log_tail(process.log)
    known = failures.classify(text, None)
    if known:
        return known
    last = [x for x in text.splitlines() if x.strip()][-1:]
    if quiet_s > QUIET_S:
        why = f"the engine hangs: it wrote no log line and used no CPU time for {quiet_s:.0f} s"
    else:
        why = "the engine was not ready in time"
    return EngineError(f"{why}; see {process.log.name}, or allow more time with --ready-timeout.", "hang", tuple(last))
