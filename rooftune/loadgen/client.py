"""Loads a server as a plan says: client processes that send, a thread that samples, records in the trial's folder."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from rooftune.errors import EngineError, RooftuneError
from rooftune.files import write_json
from rooftune.hardware.host import cores
from rooftune.loadgen import spill
from rooftune.loadgen.crew import Crew
from rooftune.loadgen.job import Job, split
from rooftune.loadgen.progress import Progress
from rooftune.loadgen.size import processes_for
from rooftune.loadgen.summary import LoadOptions, LoadSummary
from rooftune.loadgen.ticks import Ticks
from rooftune.loadgen.wire.route import checked, here
from rooftune.runfolder import TrialFolder
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload


async def run_load(
    workload: Workload,
    plan: RequestPlan,
    options: LoadOptions,
    folder: TrialFolder,
    progress: Callable[[Progress], None] | None = None,
) -> LoadSummary:
    """Send a plan to a server; write requests.parquet, ticks.parquet and load.json into ``folder``.

    Ends after the window and a drain of at most ``workload.drain_s``, however the server behaves. While it runs the records lie in
    ``parts/``; they stay there when it fails.

    Raises:
        InputError: the URL is none.
        EngineError: the server's name cannot be resolved.
        RooftuneError: the disk is full, or a client process died.
    """
    options = options.model_copy(update={"url": checked(options.url)})
    await _resolvable(options.url)
    parts = spill.clear(folder.path)
    scale = options.time_scale
    wanted = options.processes
    if wanted is None:
        wanted = await asyncio.to_thread(processes_for, plan, workload.total_s, scale, local=here(options.url))
    most = plan.concurrency or len(plan) or 1
    shares = split(plan, min(wanted, most))
    jobs = [
        Job(k, part, index, options, parts, workload.total_s, workload.drain_s, workload.ignore_eos)
        for k, (part, index) in enumerate(shares)
    ]
    crew = Crew(jobs)
    teller = _Teller(crew, workload.total_s, scale, progress)
    ticks = Ticks(options.url, parts, scale, crew.now)
    try:
        await asyncio.gather(asyncio.to_thread(ticks.prepare), crew.start(teller.tell))
        began, started_at = crew.go(), time.time()
        teller.began = began
        ticks.start(began)
        reports = await crew.wait()
        teller.tell(last=True)
    finally:
        await asyncio.shield(_end(crew, ticks))
    if ticks.error is not None:
        raise ticks.error
    return await asyncio.to_thread(_finish, workload, plan, options, folder, reports, started_at)


async def _end(crew: Crew, ticks: Ticks) -> None:
    await crew.end()
    await asyncio.to_thread(ticks.stop)


async def _resolvable(url: str) -> None:
    parts = urlsplit(url)
    try:
        await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EngineError(
            f"{url}: no address is known for {parts.hostname!r} ({error.strerror or error}).", "refused"
        ) from None


class _Teller:
    """Turns what the processes say into ``Progress``."""

    def __init__(self, crew: Crew, total_s: float, scale: float, progress: Callable[[Progress], None] | None) -> None:
        self.crew, self.total_s, self.scale, self.progress = crew, total_s, scale, progress
        self.began: float | None = None
        self._last = (0.0, 0.0)

    def tell(self, *, last: bool = False) -> None:
        """Report, twice a second at most; the last time always."""
        if self.progress is None or self.began is None:
            return
        elapsed, total = (time.monotonic() - self.began) * self.scale, self.crew.total
        before, chunks = self._last
        if elapsed - before < 0.5 * self.scale and not last:
            return
        self._last = (elapsed, total("chunks"))
        self.progress(
            Progress(
                elapsed_s=elapsed,
                total_s=self.total_s,
                sent=int(total("sent")),
                completed=int(total("completed")),
                failed=int(total("failed") + total("refused")),
                in_flight=int(total("in_flight")),
                connections=int(total("connections")),
                output_tokens_per_s=max(0.0, total("chunks") - chunks) / max(elapsed - before, 1e-3),
            )
        )


def _finish(
    workload: Workload,
    plan: RequestPlan,
    options: LoadOptions,
    folder: TrialFolder,
    reports: list[dict[str, Any]],
    started_at: float,
) -> LoadSummary:
    """Join the parts, write load.json."""
    import shutil

    usage, chunks = (sum(r[name] for r in reports) for name in ("usage_tokens", "usage_chunks"))
    per_chunk = usage / chunks if chunks else 1.0
    rows = spill.join(folder.path, "requests", folder.requests, tokens_per_chunk=per_chunk)
    if rows == 0:
        raise RooftuneError(f"the load of {workload.name} scheduled no request; lengthen duration_s or raise the rate.")
    spill.join(folder.path, "ticks", folder.ticks)
    seen = _from_records(folder, workload)
    several = per_chunk if chunks else None
    scale = options.time_scale
    lags = [r["loop_lag_p99_s"] for r in reports if r["loop_lag_p99_s"] is not None]
    summary = LoadSummary(
        workload=workload.name,
        seed=plan.seed,
        started_at=started_at,
        window_start_s=workload.warmup_s,
        window_end_s=workload.total_s,
        drain_s=workload.drain_s,
        drained_after_s=max(r["ended_s"] for r in reports) * scale,
        scheduled=rows,
        asked_rate_per_s=None if plan.concurrency else seen["in_window"] / workload.duration_s,
        concurrency=plan.concurrency,
        processes=len(reports),
        time_scale=scale,
        send_lag_p50_ms=seen["p50"],
        send_lag_p99_ms=seen["p99"],
        send_lag_max_ms=seen["max"],
        client_cpu_share=max(r["cpu_share"] for r in reports),
        loop_lag_p99_ms=max(lags) * 1000 * scale if lags else None,
        gc_pause_max_ms=max(r["gc_pause_s"] for r in reports) * 1000 * scale,
        descriptors_limit=reports[0]["descriptors_limit"],
        descriptors_peak=max(r["descriptors_peak"] for r in reports),
        connections_peak=sum(r["connections_peak"] for r in reports),
        stream_interval_seen=several,
        host={"cores": float(cores())},
        notes=_notes(reports, several),
    )
    write_json(folder.load_json, summary.model_dump(mode="json"))
    shutil.rmtree(spill.parts_folder(folder.path), ignore_errors=True)
    return summary


def _from_records(folder: TrialFolder, workload: Workload) -> dict[str, float]:
    """Send lag in milliseconds and requests scheduled in the window, from the joined file."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(folder.requests).read(columns=["scheduled_s", "sent_s"])
    due = table.column("scheduled_s").to_numpy()
    lag = (table.column("sent_s").to_numpy() - due) * 1000
    lag = lag[np.isfinite(lag)]
    p50, p99, worst = np.quantile(lag, [0.5, 0.99, 1.0]).tolist() if len(lag) else (0.0, 0.0, 0.0)
    inside = (due >= workload.warmup_s) & (due < workload.total_s)
    return {"p50": max(0.0, p50), "p99": max(0.0, p99), "max": max(0.0, worst), "in_window": float(inside.sum())}


def _notes(reports: list[dict[str, Any]], per_chunk: float | None) -> list[str]:
    notes = []
    left = int(sum(r["left_out"] for r in reports))
    if left:
        notes.append(f"{left:,} later turns of conversations were not due before the end of the load; they are not scheduled.")  # fmt: skip
    told = int(sum(r["retry_after"] for r in reports))
    if told:
        notes.append(f"{told:,} refusals said Retry-After; nothing was sent again.")
    if per_chunk is not None and per_chunk > 1.05:
        notes.append(f"The server sends {per_chunk:.2f} tokens a chunk on average (stream_interval or speculative decoding): gaps between chunks are no ITL.")  # fmt: skip
    return notes
