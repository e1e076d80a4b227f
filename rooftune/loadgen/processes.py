"""The client processes of one load as their parent sees them: started together, listened to, and always ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from rooftune.errors import RooftuneError
from rooftune.loadgen.job import Job
from rooftune.loadgen.messages import ProcessReport, ProcessStatus

READY_S = 60.0
HEAD_START_S = 0.05
GRACE_S = 10.0


class ClientProcess:
    """One client process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.status: ProcessStatus | None = None
        self.previous: ProcessStatus | None = None
        self.report: ProcessReport | None = None
        self.failed: str | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.process: asyncio.subprocess.Process | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()

    async def start(self) -> None:
        """Start the process and send it its job."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rooftune.loadgen.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._errors,
            limit=2**20,
        )
        stdin = self.process.stdin
        assert stdin is not None
        job = pickle.dumps(self.job, protocol=5)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(len(job).to_bytes(8, "big") + job)
            await stdin.drain()

    async def listen(self, changed: Callable[[], None]) -> None:
        """Read its lines until it ends; call ``changed`` after each of them."""
        assert self.process is not None
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            self._take(json.loads(raw))
            changed()
        code = await self.process.wait()
        if self.report is None and self.failed is None:
            self.failed = f"client process {self.job.process} ended with code {code}{self._last_error_line()}"
        if not self.ready.done():
            self.ready.set_result(None)

    def _take(self, line: dict[str, Any]) -> None:
        if "ready" in line:
            self.ready.set_result(None)
        elif "done" in line:
            self.report = ProcessReport.from_json(line["done"])
            self.status = self.report.status
        elif "error" in line:
            self.failed = str(line["error"])
        else:
            self.previous, self.status = self.status, ProcessStatus(**line["status"])

    def command(self, line: str) -> None:
        """Send it a command."""
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.write(line.encode() + b"\n")

    async def end(self) -> None:
        """Close its standard input, which ends it. Kill it if that does not help."""
        process = self.process
        if process is None:
            return
        if process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), GRACE_S)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._errors.close()

    @property
    def cpu_share(self) -> float | None:
        """CPU time per wall time between its last two reports."""
        a, b = self.previous, self.status
        return None if a is None or b is None or b.t <= a.t else (b.cpu_s - a.cpu_s) / (b.t - a.t)

    def _last_error_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1][:200]})" if lines else ""


class ClientProcesses:
    """All client processes of a load."""

    def __init__(self, jobs: list[Job]) -> None:
        self._processes = [ClientProcess(job) for job in jobs]
        self._listening: list[asyncio.Task[None]] = []
        self.began = 0.0

    async def start(self, changed: Callable[[], None]) -> None:
        """Start all processes and wait until they are ready. ``changed`` is called after each of their reports.

        Raises:
            RooftuneError: one did not start.
        """
        await asyncio.gather(*(p.start() for p in self._processes))
        self._listening = [asyncio.create_task(p.listen(changed)) for p in self._processes]
        try:
            await asyncio.wait_for(asyncio.gather(*(asyncio.shield(p.ready) for p in self._processes)), READY_S)
        except asyncio.TimeoutError:
            raise RooftuneError(
                f"the client processes were not ready within {READY_S:.0f} s; free some CPU and run again."
            ) from None
        self._check()

    def go(self) -> float:
        """Begin the load; return its beginning on the monotonic clock."""
        self.began = time.monotonic() + HEAD_START_S
        for process in self._processes:
            process.command(f"start {self.began!r}")
        return self.began

    async def wait(self) -> list[ProcessReport]:
        """Wait until all have ended; return their reports. If one fails, the others stop.

        Raises:
            RooftuneError: one failed. What all of them recorded stays in the trial's folder.
        """
        pending: set[asyncio.Task[None]] = set(self._listening)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if any(p.failed for p in self._processes):
                for process in self._processes:
                    process.command("stop")
        self._check()
        return [p.report for p in self._processes if p.report is not None]

    def _check(self) -> None:
        for process in self._processes:
            if process.failed:
                raise RooftuneError(process.failed)

    async def end(self) -> None:
        """Leave no process behind."""
        await asyncio.gather(*(p.end() for p in self._processes))
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    def statuses(self) -> list[ProcessStatus]:
        """The last report of each process that has sent one."""
        return [p.status for p in self._processes if p.status is not None]

    def tick(self) -> dict[str, float | None]:
        """The client's columns of a tick."""
        statuses = self.statuses()
        shares = [s for p in self._processes if (s := p.cpu_share) is not None]
        return {
            "client_in_flight": sum(s.in_flight for s in statuses),
            "client_connections": sum(s.connections for s in statuses),
            "client_cpu_share": max(shares) if shares else None,
        }
