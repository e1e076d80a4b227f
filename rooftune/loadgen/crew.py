"""The client processes of one load, seen from their parent: started together, listened to, ended whatever happens."""

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

READY_S = 60.0
HEAD_START_S = 0.05
GRACE_S = 10.0


class Member:
    """One client process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.status: dict[str, float] = {}
        self.before: dict[str, float] = {}
        self.report: dict[str, Any] | None = None
        self.failed: str | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.process: asyncio.subprocess.Process | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()

    async def start(self) -> None:
        """Start it and hand it its job."""
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

    async def listen(self, told: Callable[[], None]) -> None:
        """Read its lines until it ends; ``told`` is called after each status."""
        assert self.process is not None
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = json.loads(raw)
            if "ready" in line:
                self.ready.set_result(None)
            elif "done" in line:
                self.report = self.status = line["done"]
            elif "error" in line:
                self.failed = line["error"]
            else:
                self.before, self.status = self.status, line
            told()
        code = await self.process.wait()
        if self.report is None and self.failed is None:
            self.failed = f"client process {self.job.process} ended with code {code}{self._last_words()}"
        if not self.ready.done():
            self.ready.set_result(None)

    def order(self, line: str) -> None:
        """Send it a line."""
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.write(line.encode() + b"\n")

    async def end(self) -> None:
        """Close its standard input, which ends it; kill it if that does not help."""
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
        """CPU time per time between its last two words."""
        a, b = self.before, self.status
        if "t" not in a or "t" not in b or b["t"] <= a["t"]:
            return None
        return (b["cpu_s"] - a["cpu_s"]) / (b["t"] - a["t"])

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1][:200]})" if lines else ""


class Crew:
    """All client processes of a load."""

    def __init__(self, jobs: list[Job]) -> None:
        self.members = [Member(job) for job in jobs]
        self._listening: list[asyncio.Task[None]] = []
        self.began = 0.0

    async def start(self, told: Callable[[], None]) -> None:
        """Start them all and wait until they are ready.

        Raises:
            RooftuneError: one did not start.
        """
        await asyncio.gather(*(m.start() for m in self.members))
        self._listening = [asyncio.create_task(m.listen(told)) for m in self.members]
        try:
            await asyncio.wait_for(asyncio.gather(*(asyncio.shield(m.ready) for m in self.members)), READY_S)
        except asyncio.TimeoutError:
            raise RooftuneError(f"The client processes were not ready within {READY_S:.0f} s; is the machine overloaded?") from None  # fmt: skip
        self.check()

    def go(self) -> float:
        """Begin the load; returns its beginning on the monotonic clock."""
        self.began = time.monotonic() + HEAD_START_S
        for member in self.members:
            member.order(f"start {self.began!r}")
        return self.began

    async def wait(self) -> list[dict[str, Any]]:
        """Wait until all have ended; returns their reports. One that fails stops the others.

        Raises:
            RooftuneError: one failed; what it and the others recorded lies in the trial's folder.
        """
        pending: set[asyncio.Task[None]] = set(self._listening)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if any(m.failed for m in self.members):
                for member in self.members:
                    member.order("stop")
        self.check()
        return [m.report or {} for m in self.members]

    def check(self) -> None:
        """Raise RooftuneError when one has failed."""
        for member in self.members:
            if member.failed:
                raise RooftuneError(member.failed)

    async def end(self) -> None:
        """Leave no process behind."""
        await asyncio.gather(*(m.end() for m in self.members))
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    def total(self, name: str) -> float:
        """Sum of a count over all processes."""
        return sum(m.status.get(name, 0) for m in self.members)

    def now(self) -> dict[str, Any]:
        """The client's columns of a tick."""
        shares = [s for m in list(self.members) if (s := m.cpu_share) is not None]
        return {
            "client_in_flight": int(self.total("in_flight")),
            "client_connections": int(self.total("connections")),
            "client_cpu_share": max(shares) if shares else None,
        }
