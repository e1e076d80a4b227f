"""Whether a server is idle, so that a step begins with an empty queue."""

from __future__ import annotations

import asyncio
import time

from rooftune.capacity.measured_step import StepStart
from rooftune.engines import metrics

LONGEST_S = 30.0
"""Real seconds to wait for a server to become idle."""
PRESENT = (
    ("running", "waiting"),  # vLLM and what has its names
    ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    ("tgi_batch_current_size", "tgi_queue_size"),
    ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
)
"""Gauges of requests running and waiting, by server."""


async def wait_idle(url: str, longest_s: float = LONGEST_S) -> StepStart:
    """Wait until the server reports no request, at most ``longest_s`` real seconds."""
    began, pause = time.monotonic(), 0.05
    while True:
        present = await asyncio.to_thread(requests_present, url)
        waited = time.monotonic() - began
        if present is None:
            return StepStart(waited_s=waited)
        if present == 0 or waited > longest_s:
            return StepStart(idle=present == 0, present=present, waited_s=waited)
        await asyncio.sleep(pause)
        pause = min(1.0, 1.5 * pause)


def requests_present(url: str) -> float | None:
    """Requests running and waiting; None where the server does not report them. Blocking."""
    page = metrics.scrape_once(url)
    if page is None:
        return None
    found = metrics.parse(page)
    for running, waiting in PRESENT:
        if running in found:
            return found[running] + found.get(waiting, 0.0)
    return None
