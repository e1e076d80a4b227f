"""Task of the load phase: the client's run against one server, with its progress in the UI."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any
from uuid import UUID

from prefect import task

from rooftune.engines.server import ServerInfo
from rooftune.errors import EngineError
from rooftune.loadgen.summary import LoadSummary
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.spec import Workload
from tasks import run_listener
from tasks.run_files import settings_of, workload_of

EVERY_S = 2.0
"""Real seconds between updates of the progress artifact: each costs the server some 10 ms."""


def real_seconds(workload: Workload, time_scale: float) -> float:
    """How long a load lasts at most, in real seconds: warm-up, window and the whole drain."""
    return (workload.total_s + workload.drain_s) / time_scale


@task(name="load", task_run_name="load {order.candidate} {order.n}", timeout_seconds=24 * 3600, persist_result=False)
async def apply_load(run: RunFolder, order: TrialOrder, server: ServerInfo) -> LoadSummary:
    """Send what the workload says to the server and write down every request.

    Not retried by itself: a second load belongs on a fresh server, so the trial starts anew.

    Raises:
        EngineError: the server died under the load, or does not end answering in any bounded time.
    """
    from rooftune.engines import launch
    from rooftune.loadgen.client import run_load
    from rooftune.workloads.draw import draw

    workload = workload_of(run).model_copy(update={"seed": order.seed})
    folder = run.trial(order.candidate, order.n)
    plan = await asyncio.to_thread(draw, workload)
    limit = 3 * real_seconds(workload, server.time_scale) + 120
    async with _shown(order) as progress:
        try:
            summary = await asyncio.wait_for(
                run_load(workload, plan, _options(run, workload, server), folder, progress=progress), limit
            )
        except asyncio.TimeoutError:
            raise EngineError(f"the load did not end within {limit:.0f} s; the server stalls.", "stall") from None
    dead = await launch.died_or_dying(server, folder)
    if dead is not None:
        raise dead
    return summary


def _options(run: RunFolder, workload: Workload, server: ServerInfo) -> Any:
    from rooftune.loadgen.summary import LoadOptions

    return LoadOptions(
        processes=settings_of(run).client_processes,
        url=server.url,
        model=server.model,
        endpoint=workload.endpoint,
        vocab_size=server.vocab_size,
        time_scale=server.time_scale,
    )


@contextlib.asynccontextmanager
async def _shown(order: TrialOrder) -> Any:
    """Yields what the client calls with its progress: the terminal at once, the progress artifact now and then."""
    latest: list[Any] = []

    def progress(now: Any) -> None:
        latest[:] = [now]
        run_listener.current().load(now)

    reporting = asyncio.create_task(_report(order, latest))
    try:
        yield progress
    finally:
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await reporting


async def _report(order: TrialOrder, latest: list[Any]) -> None:
    """Keep the progress artifact up to date until cancelled; a server that fails to take it costs nothing but the bar."""
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
                told = f"{what}: {p.completed} of {p.sent} done, {p.in_flight} in flight, {p.output_tokens_per_s:,.0f} tokens/s"
                await aupdate_progress_artifact(found, progress=_percent(p), description=told)
    finally:
        with contextlib.suppress(Exception):
            await asyncio.shield(aupdate_progress_artifact(found, progress=100.0, description=f"{what}: over"))


def _percent(p: Any) -> float:
    return max(0.0, min(99.0, 100.0 * p.elapsed_s / p.total_s)) if p.total_s else 0.0


def describe(summary: LoadSummary, began: float) -> str:
    """What was loaded, in one line."""
    return (
        f"{summary.scheduled} requests in {time.monotonic() - began:.1f} s, window {summary.window_start_s:g} to "
        f"{summary.window_end_s:g} s, send lag p99 {summary.send_lag_p99_ms:.2f} ms"
    )
