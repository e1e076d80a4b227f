"""The load of one step: an idle server, fresh requests, records in the step's folder."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.idle import wait_idle
from rooftune.capacity.listener import CapacityListener
from rooftune.capacity.measured_step import StepStart, step_folder
from rooftune.errors import EngineError, RooftuneError
from rooftune.files import read_model, write_json
from rooftune.loadgen.client import run_load
from rooftune.loadgen.summary import LoadOptions, LoadSummary
from rooftune.runfolder import TrialFolder
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

ORDER = "order.json"
STALL_FACTOR, STALL_S = 3.0, 120.0
"""A load that takes this many times as long as it may, and this many real seconds more, has stalled."""
RETRY_SEED = 100
"""Added to the seed of a step that is made again, so that its prompts are fresh."""
Died = Callable[[], Awaitable[EngineError | None]]


class Loadable(Protocol):
    """A running server, as ``ServerInfo`` describes it."""

    @property
    def url(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def vocab_size(self) -> int | None: ...
    @property
    def time_scale(self) -> float: ...
    @property
    def simulated(self) -> bool: ...


@dataclass(frozen=True)
class ClientSettings:
    """How the load generator sends; None = its default."""

    processes: int | None = None
    prompt_format: str | None = None
    vocab_size: int | None = None
    request_timeout_s: float | None = None

    def options(self, server: Loadable, workload: Workload) -> LoadOptions:
        """The options of a load."""
        named = {"processes": self.processes, "prompt_format": self.prompt_format, "vocab_size": self.vocab_size,
                 "request_timeout_s": self.request_timeout_s}  # fmt: skip
        known = {
            "url": server.url,
            "model": server.model,
            "endpoint": workload.endpoint,
            "vocab_size": server.vocab_size,
            "time_scale": server.time_scale,
            "ends": "planned" if server.simulated else "model",
        }
        return LoadOptions.model_validate({**known, **{k: v for k, v in named.items() if v is not None}})


class StepOrder(BaseModel):
    """A step that has begun. Content of order.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    attempt: int
    workload: Workload = Field(description="as it is sent")


@dataclass(frozen=True)
class Loaded:
    """A load that has ended: what was sent, and how the server was before it."""

    files: TrialFolder
    workload: Workload
    start: StepStart


@dataclass(frozen=True)
class StepLoader:
    """Loads one server, step after step."""

    server: Loadable
    folder: Path
    """Of the measurement."""
    client: ClientSettings = field(default_factory=ClientSettings)
    listener: CapacityListener = field(default_factory=CapacityListener)
    died: Died | None = None
    """Says whether the server has ended, and why; asked after every load."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends a load when it is set."""

    async def load(self, number: int, workload: Workload) -> Loaded | None:
        """Wait until the server is idle, and load it; None where it was stopped.

        Raises:
            EngineError: the server died or stalled.
        """
        files = step_folder(self.folder, number)
        workload = _begun(files, workload)
        start = await wait_idle(self.server.url)
        if start.idle is False:
            self.listener.waiting(f"the server has {start.present:.0f} requests that are not of this measurement")
        plan = await asyncio.to_thread(draw, workload)
        options = self.client.options(self.server, workload)
        loading = asyncio.create_task(run_load(workload, plan, options, files, progress=self.listener.load))
        try:
            ended = await self._or_stopped(loading, workload)
        finally:
            if not loading.done():
                loading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loading
        if not ended:
            return None
        dead = await self.died() if self.died is not None else None
        if dead is not None:
            raise dead
        return Loaded(files, workload, start)

    async def _or_stopped(self, loading: asyncio.Task[LoadSummary], workload: Workload) -> bool:
        """Whether the load ended before it was stopped."""
        longest = (workload.total_s + workload.drain_s) / self.server.time_scale
        limit = STALL_FACTOR * longest + STALL_S
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait([loading, stopping], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if loading.done():
            loading.result()
            return True
        if not self.stop.is_set():
            raise EngineError(f"the load did not end within {limit:.0f} s; the server has stalled.", "stall")
        return False


def _begun(files: TrialFolder, workload: Workload) -> Workload:
    """Empty the step's folder; returns the workload, with fresh requests where the step was begun before."""
    attempt = 0
    with contextlib.suppress(RooftuneError):
        attempt = read_model(files.path / ORDER, StepOrder).attempt + 1
    shutil.rmtree(files.path, ignore_errors=True)
    workload = workload.model_copy(update={"seed": workload.seed + RETRY_SEED * attempt})
    write_json(files.path / ORDER, StepOrder(attempt=attempt, workload=workload).model_dump(mode="json"))
    return workload
