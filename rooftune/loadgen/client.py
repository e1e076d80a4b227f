"""Loads a server by a plan: client processes send, a thread samples, and the records go to the trial's folder."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from rooftune.engines.urls import is_local, server_root
from rooftune.errors import EngineError, RooftuneError
from rooftune.files import write_json
from rooftune.hardware.host import cores
from rooftune.loadgen.job import Job, split
from rooftune.loadgen.messages import ProcessReport
from rooftune.loadgen.parts import clear_parts, join_parts, parts_folder
from rooftune.loadgen.process_count import processes_for
from rooftune.loadgen.processes import ClientProcesses
from rooftune.loadgen.progress import Progress
from rooftune.loadgen.summary import LoadOptions, LoadSummary
from rooftune.loadgen.texts_sent import texts_sent
from rooftune.loadgen.ticks import TickRecorder
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

    The load ends after the window and a drain of at most ``workload.drain_s``, however the server behaves. While it
    runs, the records are in ``parts/``. They stay there if the load fails.

    Raises:
        InputError: the URL is invalid.
        EngineError: the server's name cannot be resolved.
        RooftuneError: the disk is full, or a client process died.
    """
    options = options.model_copy(update={"url": server_root(options.url)})
    await _check_resolvable(options.url)
    parts = clear_parts(folder.path)
    scale = options.time_scale
    wanted = options.processes
    if wanted is None:
        wanted = await asyncio.to_thread(processes_for, plan, workload.total_s, scale, local=is_local(options.url))
    most = plan.concurrency or len(plan) or 1
    jobs = [
        Job(
            k,
            share,
            options,
            parts,
            workload.total_s,
            workload.drain_s,
            workload.ignore_eos,
            workload.requests_sampling,
        )
        for k, share in enumerate(split(plan, min(wanted, most)))
    ]
    processes = ClientProcesses(jobs)
    reporter = _ProgressReporter(processes, workload.total_s, scale, progress)
    ticks = TickRecorder(options.url, parts, scale, processes.tick)
    try:
        await asyncio.gather(asyncio.to_thread(ticks.prepare), processes.start(reporter.report))
        began, started_at = processes.go(), time.time()
        reporter.began = began
        ticks.start(began)
        reports = await processes.wait()
        reporter.report(last=True)
    finally:
        await asyncio.shield(_end(processes, ticks))
    if ticks.error is not None:
        raise ticks.error
    return await asyncio.to_thread(_finish, workload, plan, options, folder, reports, started_at)


async def _end(processes: ClientProcesses, ticks: TickRecorder) -> None:
    await processes.end()
    await asyncio.to_thread(ticks.stop)


async def _check_resolvable(url: str) -> None:
    parts = urlsplit(url)
    try:
        await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EngineError(
            f"{url}: the host {parts.hostname!r} has no address ({error.strerror or error}); check the URL.", "refused"
        ) from None


class _ProgressReporter:
    """Turns the reports of the client processes into ``Progress``."""

    def __init__(
        self,
        processes: ClientProcesses,
        total_s: float,
        scale: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._processes, self._total_s, self._scale, self._progress = processes, total_s, scale, progress
        self.began: float | None = None
        self._last_elapsed_s, self._last_chunks = 0.0, 0

    def report(self, *, last: bool = False) -> None:
        """Report at most twice per second, and always the last time."""
        if self._progress is None or self.began is None:
            return
        elapsed = (time.monotonic() - self.began) * self._scale
        since = elapsed - self._last_elapsed_s
        if since < 0.5 * self._scale and not last:
            return
        statuses = self._processes.statuses()
        chunks = sum(s.chunks for s in statuses)
        new_chunks = max(0, chunks - self._last_chunks)
        self._last_elapsed_s, self._last_chunks = elapsed, chunks
        self._progress(
            Progress(
                elapsed_s=elapsed,
                total_s=self._total_s,
                sent=sum(s.sent for s in statuses),
                completed=sum(s.completed for s in statuses),
                failed=sum(s.failed + s.refused for s in statuses),
                in_flight=sum(s.in_flight for s in statuses),
                connections=sum(s.connections for s in statuses),
                output_tokens_per_s=new_chunks / max(since, 1e-3),
            )
        )


def _finish(
    workload: Workload,
    plan: RequestPlan,
    options: LoadOptions,
    folder: TrialFolder,
    reports: list[ProcessReport],
    started_at: float,
) -> LoadSummary:
    """Join the parts and write load.json."""
    import shutil

    usage, chunks = sum(r.usage_tokens for r in reports), sum(r.usage_chunks for r in reports)
    per_chunk = usage / chunks if chunks else 1.0
    rows = join_parts(folder.path, "requests", folder.requests, tokens_per_chunk=per_chunk)
    if rows == 0:
        raise RooftuneError(f"the load of {workload.name} scheduled no requests; increase duration_s or the rate.")
    join_parts(folder.path, "ticks", folder.ticks)
    sends = _SendTimes.of(folder, workload)
    several = per_chunk if chunks else None
    scale = options.time_scale
    lags = [r.loop_lag_p99_s for r in reports if r.loop_lag_p99_s is not None]
    summary = LoadSummary(
        workload=workload.name,
        seed=plan.seed,
        started_at=started_at,
        window_start_s=workload.warmup_s,
        window_end_s=workload.total_s,
        drain_s=workload.drain_s,
        drained_after_s=max(r.ended_s for r in reports) * scale,
        scheduled=rows,
        asked_rate_per_s=None if plan.concurrency else sends.in_window / workload.duration_s,
        concurrency=plan.concurrency,
        planned_lengths=plan.counted,
        texts=texts_sent(plan, sends.index),
        processes=len(reports),
        time_scale=scale,
        send_lag_p50_ms=sends.lag_p50_ms,
        send_lag_p99_ms=sends.lag_p99_ms,
        send_lag_max_ms=sends.lag_max_ms,
        client_cpu_share=max(r.cpu_share for r in reports),
        loop_lag_p99_ms=max(lags) * 1000 * scale if lags else None,
        gc_pause_max_ms=max(r.gc_pause_s for r in reports) * 1000 * scale,
        descriptors_limit=reports[0].descriptors_limit,
        descriptors_peak=max(r.descriptors_peak for r in reports),
        connections_peak=sum(r.connections_peak for r in reports),
        stream_interval_seen=several,
        host={"cores": float(cores())},
        notes=_notes(reports, several),
    )
    write_json(folder.load_json, summary.model_dump(mode="json"))
    shutil.rmtree(parts_folder(folder.path), ignore_errors=True)
    return summary


@dataclass(frozen=True)
class _SendTimes:
    """Send lag, and the number of requests that were scheduled in the measured window."""

    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    in_window: int
    index: npt.NDArray[np.int64]
    """Numbers of the requests that were sent."""

    @classmethod
    def of(cls, folder: TrialFolder, workload: Workload) -> _SendTimes:
        """Read them from the joined records."""
        import pyarrow.parquet as pq

        table = pq.ParquetFile(folder.requests).read(columns=["index", "scheduled_s", "sent_s"])
        due = table.column("scheduled_s").to_numpy()
        lag = (table.column("sent_s").to_numpy() - due) * 1000
        sent = np.isfinite(lag)
        lag = np.maximum(lag[sent], 0.0)
        p50, p99, worst = np.quantile(lag, [0.5, 0.99, 1.0]).tolist() if len(lag) else (0.0, 0.0, 0.0)
        inside = (due >= workload.warmup_s) & (due < workload.total_s)
        return cls(p50, p99, worst, int(inside.sum()), table.column("index").to_numpy()[sent])


def _notes(reports: list[ProcessReport], tokens_per_chunk: float | None) -> list[str]:
    notes = []
    left_out = sum(r.status.left_out for r in reports)
    if left_out:
        notes.append(
            f"{left_out:,} later turns of conversations were not due before the end of the load and were not scheduled."
        )
    refusals = sum(r.retry_after for r in reports)
    if refusals:
        notes.append(f"{refusals:,} refusals carried Retry-After; nothing was sent again.")
    if tokens_per_chunk is not None and tokens_per_chunk > 1.05:
        notes.append(
            f"The server sends {tokens_per_chunk:.2f} tokens per chunk on average "
            "(stream_interval or speculative decoding), so gaps between chunks are not ITL."
        )
    return notes
