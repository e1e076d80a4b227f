"""Task of the load phase: loads one server and shows the progress in the UI."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

from prefect import task

from rooftune.engines.server import ServerInfo
from rooftune.errors import EngineError
from rooftune.loadgen.progress import Progress
from rooftune.loadgen.summary import LoadOptions, LoadSummary
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.spec import Workload
from tasks import run_listener
from tasks.run_files import settings_of
from tasks.telemetry.spans import span
from tasks.trial_time import real_seconds

EVERY_S = 2.0
"""Real seconds between updates of the progress artifact; each costs the server about 10 ms."""


@task(name="load", task_run_name="load {order.candidate} {order.n}", timeout_seconds=24 * 3600, persist_result=False)
async def apply_load(run: RunFolder, order: TrialOrder, server: ServerInfo, workload: Workload) -> LoadSummary:
    """Send a workload to the server and record every request.

    This task is not retried: a second load needs a fresh server, so the whole trial is repeated.

    Raises:
        EngineError: the server died under the load, or stopped making progress.
    """
    from rooftune.engines import launch
    from rooftune.loadgen.client import run_load
    from rooftune.workloads.draw import draw

    folder = run.trial(order.candidate, order.n)
    plan = await asyncio.to_thread(draw, workload)
    limit = 3 * real_seconds(workload, server.time_scale) + 120
    with span("load", {"candidate": order.candidate, "trial": order.n, "time_scale": server.time_scale}) as recorded:
        async with _shown(order) as progress:
            try:
                summary = await asyncio.wait_for(
                    run_load(workload, plan, _options(run, workload, server), folder, progress=progress), limit
                )
            except asyncio.TimeoutError:
                stalled = f"the load did not end within {limit:.0f} s; the server has stalled."
                raise EngineError(stalled, "stall") from None
        recorded.set({"scheduled": summary.scheduled, "send_lag_p99_ms": summary.send_lag_p99_ms})
        dead = await launch.died_or_dying(server, folder if server.switched is None else None)
        if dead is not None:
            raise dead
    return summary


def _options(run: RunFolder, workload: Workload, server: ServerInfo) -> LoadOptions:
    return LoadOptions(
        processes=settings_of(run).client_processes,
        url=server.url,
        model=server.model,
        endpoint=workload.endpoint,
        vocab_size=server.vocab_size,
        time_scale=server.time_scale,
        ends="planned" if server.simulated else "model",
    )


@contextlib.asynccontextmanager
async def _shown(order: TrialOrder) -> AsyncIterator[Callable[[Progress], None]]:
    """Yields what the client calls with its progress, which updates the terminal and the progress artifact."""
    latest: list[Progress] = []

    def progress(now: Progress) -> None:
        latest[:] = [now]
        run_listener.current().load(now)

    reporting = asyncio.create_task(_report(order, latest))
    try:
        yield progress
    finally:
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await reporting


async def _report(order: TrialOrder, latest: list[Progress]) -> None:
    """Update the progress artifact until cancelled; if the server rejects it, only the bar is missing."""
    from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
    from prefect.context import TaskRunContext

    if TaskRunContext.get() is None:
        return
    what = f"load of {order.candidate}, trial {order.n}"
    found = await acreate_progress_artifact(progress=0.0, key=f"load-{order.candidate}", description=what)
    assert isinstance(found, UUID)
    try:
        while True:
            await asyncio.sleep(EVERY_S)
            if latest:
                p = latest[0]
                rate = f"{p.output_tokens_per_s:,.0f} tokens/s"
                text = f"{what}: {p.completed} of {p.sent} done, {p.in_flight} in flight, {rate}"
                await aupdate_progress_artifact(found, progress=_percent(p), description=text)
    finally:
        with contextlib.suppress(Exception):
            await asyncio.shield(aupdate_progress_artifact(found, progress=100.0, description=f"{what}: ended"))


def _percent(p: Progress) -> float:
    return max(0.0, min(99.0, 100.0 * p.elapsed_s / p.total_s)) if p.total_s else 0.0


def describe(summary: LoadSummary, began: float) -> str:
    """The load in one line."""
    return (
        f"{summary.scheduled} requests in {time.monotonic() - began:.1f} s, window {summary.window_start_s:g} to "
        f"{summary.window_end_s:g} s, send lag p99 {summary.send_lag_p99_ms:.2f} ms"
    )
