"""Measures the capacity of one running server: step after step, until the interval is narrow enough.

Every step leaves ``steps/<number>/`` with its records and, once it is judged, step.json. A measurement that was killed
goes on after the last step that has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from rooftune.capacity.answer import Outcome, Subject, result_of
from rooftune.capacity.errors_bracket import errors_bracket
from rooftune.capacity.estimate import CapacityEstimate, estimate
from rooftune.capacity.idle import wait_idle
from rooftune.capacity.listener import CapacityListener, measurement_plan
from rooftune.capacity.lone import NUMBER as LONE
from rooftune.capacity.lone import lone_requests, lone_workload
from rooftune.capacity.measured_step import STEP, MeasuredStep, StepRecord, StepStart, read_step, step_folder
from rooftune.capacity.reference import Reference
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.result import CapacityResult, LoneRequests
from rooftune.capacity.search import Ended, NextStep, Precision, next_step
from rooftune.capacity.steps import Step, workload_at
from rooftune.errors import EngineError, InputError, RooftuneError
from rooftune.files import read_model, write_json
from rooftune.loadgen.client import run_load
from rooftune.loadgen.summary import LoadOptions, LoadSummary
from rooftune.runfolder import TrialFolder
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

MEASUREMENT, CAPACITY, ORDER = "measurement.json", "capacity.json", "order.json"
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
        }
        return LoadOptions.model_validate({**known, **{k: v for k, v in named.items() if v is not None}})


class Measurement(BaseModel):
    """What a folder of steps belongs to. Content of measurement.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    workload: Workload
    model: str
    reference: ReferenceServer
    seed: int


class StepOrder(BaseModel):
    """A step that has begun. Content of order.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    attempt: int


class Stopped(RooftuneError):
    """The measurement was stopped before its first step ended."""

    exit_code = 130


async def measure_capacity(
    server: Loadable,
    workload: Workload,
    reference: ReferenceServer,
    precision: Precision,
    folder: Path,
    *,
    seed: int | None = None,
    listener: CapacityListener | None = None,
    client: ClientSettings | None = None,
    died: Died | None = None,
    stop: asyncio.Event | None = None,
) -> CapacityResult:
    """Measure how much of a workload a running server carries within its SLO. Writes capacity.json into ``folder``.

    Args:
        reference: the simulated server whose response gives the measurement its shape.
        precision: when the measurement ends; ``most_load_s`` is in workload seconds.
        seed: of the requests. Each step draws its own from it. None = a new one, or that of the measurement to resume.
        died: says whether the server has ended, and why; asked after every step.
        stop: ends the measurement when it is set. The step in progress is discarded.

    Raises:
        InputError: the workload has no SLO or no rate to vary, or ``folder`` holds another measurement.
        EngineError: the server died, stalled, or answered no request.
        Stopped: ``stop`` was set before the first step ended.
    """
    made = await asyncio.to_thread(reference.reference, workload)
    begun = _begun(folder, Measurement(workload=workload, model=server.model, reference=reference,
                                       seed=seed if seed is not None else secrets.randbelow(10**9)), seed)  # fmt: skip
    run = _Run(server, made, precision, folder, begun.seed, listener or CapacityListener(),
               client or ClientSettings(), died, stop or asyncio.Event())  # fmt: skip
    plan = await asyncio.to_thread(measurement_plan, made)
    run.listener.planned(plan)
    outcome = await run.to_the_end()
    records = [s.record for s in run.steps]
    if not records:
        raise Stopped("stopped before the first step ended; nothing is known yet, and nothing is left running.")
    subject = Subject(workload, server.url, server.model, server.simulated, server.time_scale, reference, made.engine,
                      plan.predicted_per_s)  # fmt: skip
    result = await asyncio.to_thread(result_of, subject, records, outcome)
    write_json(folder / CAPACITY, result.model_dump(mode="json"))
    return result


def _begun(folder: Path, asked: Measurement, seed: int | None) -> Measurement:
    """The measurement that ``folder`` holds, or the one that begins there."""
    path = folder / MEASUREMENT
    if not path.is_file():
        write_json(path, asked.model_dump(mode="json"))
        return asked
    found = read_model(path, Measurement)
    same = found.model_copy(update={"seed": asked.seed}) == asked and seed in (None, found.seed)
    if not same:
        raise InputError(
            f"{folder} holds a measurement of another workload, SLO, model, reference or seed; name another folder."
        )
    return found


class _Run:
    """One measurement while it runs."""

    def __init__(
        self,
        server: Loadable,
        reference: Reference,
        precision: Precision,
        folder: Path,
        seed: int,
        listener: CapacityListener,
        client: ClientSettings,
        died: Died | None,
        stop: asyncio.Event,
    ) -> None:
        self.server, self.reference, self.precision, self.folder = server, reference, precision, folder
        self.seed, self.listener, self.client, self.died, self.stop = seed, listener, client, died, stop
        self.steps: list[MeasuredStep] = []
        self.found: CapacityEstimate | None = None
        self.lone: LoneRequests | None = None

    @property
    def records(self) -> list[StepRecord]:
        return [s.record for s in self.steps]

    async def to_the_end(self) -> Outcome:
        """Step after step, beginning with those that the folder has."""
        await self._resume()
        while True:
            order = await asyncio.to_thread(self._next)
            if self.stop.is_set():
                return Outcome(self.found, "it was stopped by the user", False, stopped=True)
            if isinstance(order, Ended):
                if self.found is not None and self.found.rate_per_s <= 0:
                    await self._lone()
                return Outcome(self.found, order.reason, order.precise, lone=self.lone)
            if not await self._step(order):
                return Outcome(self.found, "it was stopped by the user", False, stopped=True)

    async def _resume(self) -> None:
        """Take over the steps that were completed before."""
        while (step_folder(self.folder, len(self.steps)).path / STEP).is_file():
            files = step_folder(self.folder, len(self.steps))
            kept = read_model(files.path / STEP, StepRecord)
            try:
                found = read_step(files, kept.workload, kept.number, kept.reason, kept.start)
            except RooftuneError:
                break
            await self._add(found, kept=True)

    async def _add(self, found: MeasuredStep, *, kept: bool) -> None:
        found = await asyncio.to_thread(self._judged, found)
        self.steps.append(found)
        files = step_folder(self.folder, found.record.number)
        write_json(files.path / STEP, found.record.model_dump(mode="json"))
        self.listener.measured(found.record, self.found, kept)

    def _judged(self, found: MeasuredStep) -> MeasuredStep:
        """The step with its speed; updates the estimate."""
        if found.record.errors_break:
            return found
        near = self.found.speed if self.found is not None else 1.0
        speed = self.reference.speed_of(found.step, near)
        found = found.model_copy(update={"record": found.record.model_copy(update={"speed": speed})})
        self.found = estimate(self.reference, [*self._usable(), found.step])
        return found

    def _usable(self) -> list[Step]:
        return [s.step for s in self.steps if not s.record.errors_break]

    def _next(self) -> NextStep | Ended:
        """The next step: as the search has it, unless errors of the server leave no room for it."""
        bracket, usable = errors_bracket(self.records), self._usable()
        if bracket.broken_per_s is None:
            return self._affordable(self._ordered(usable))
        between = f"errors break the SLO from {bracket.broken_per_s:.3g} requests/s"
        if bracket.hopeless:
            return Ended("the server fails or refuses requests at every rate that was tried", False)
        if usable:
            order = self._ordered(usable)
            if isinstance(order, Ended):
                return order
            if bracket.allows(order.rate_per_s):
                return self._affordable(order)
        if bracket.narrow:
            return Ended(between, False)
        if len(self.steps) >= self.precision.most_steps:
            return Ended(f"{len(self.steps)} steps were made", False)
        return self._affordable(self._at(bracket.middle(), between))

    def _ordered(self, usable: list[Step]) -> NextStep | Ended:
        order = next_step(self.reference, usable, self.precision, seed=self.seed, found=self.found)
        if isinstance(order, Ended) or len(usable) == len(self.steps):
            return order
        return replace(order, workload=order.workload.model_copy(update={"seed": self._step_seed(len(self.steps))}))

    def _at(self, rate_per_s: float, reason: str) -> NextStep:
        shape = self.reference.shape(self.found.speed if self.found is not None else 1.0)
        number = len(self.steps)
        return NextStep(
            workload_at(self.reference.workload, rate_per_s, shape, self._step_seed(number)), rate_per_s, reason
        )  # fmt: skip

    def _step_seed(self, number: int) -> int:
        return self.seed * 1_000 + number

    def _affordable(self, order: NextStep | Ended) -> NextStep | Ended:
        """The order, or the end where the time that is left is too short for it."""
        if isinstance(order, Ended) or not self.steps:
            return order
        used = sum(s.record.load_s for s in self.steps)
        if used + order.workload.total_s > self.precision.most_load_s:
            return Ended("the time that is left is too short for another step", False)
        return order

    async def _step(self, order: NextStep) -> bool:
        """Make one step; False where it was stopped."""
        number = len(self.steps)
        self.listener.step(number, order)
        start = await self._load(number, order.workload)
        if start is None:
            return False
        files = step_folder(self.folder, number)
        sent = read_model(files.path / "workload.json", Workload)
        found = await asyncio.to_thread(read_step, files, sent, number, order.reason, start)
        _check_answered(found.record, self.server.url)
        await self._add(found, kept=False)
        return True

    async def _lone(self) -> None:
        """Send requests one at a time, to see what the server does without load."""
        speed = self.found.speed if self.found is not None else 1.0
        shape = await asyncio.to_thread(self.reference.shape, speed)
        workload = lone_workload(self.reference.workload, shape.settle_s, self._step_seed(LONE))
        if await self._load(LONE, workload) is not None:
            self.lone = await asyncio.to_thread(lone_requests, step_folder(self.folder, LONE), workload)

    async def _load(self, number: int, workload: Workload) -> StepStart | None:
        """Wait until the server is idle, and load it; None where it was stopped."""
        files = step_folder(self.folder, number)
        workload = self._attempt(files, workload)
        start = await wait_idle(self.server.url)
        if start.idle is False:
            self.listener.waiting(f"the server still has {start.present:.0f} requests of its own or of others")
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
        await self._check_alive()
        return start

    def _attempt(self, files: TrialFolder, workload: Workload) -> Workload:
        """The workload with fresh requests where the step was begun before; its folder is emptied."""
        attempt = 0
        with contextlib.suppress(RooftuneError):
            attempt = read_model(files.path / ORDER, StepOrder).attempt + 1
        shutil.rmtree(files.path, ignore_errors=True)
        workload = workload.model_copy(update={"seed": workload.seed + RETRY_SEED * attempt})
        write_json(files.path / ORDER, StepOrder(attempt=attempt).model_dump())
        write_json(files.path / "workload.json", workload.model_dump(mode="json"))
        return workload

    async def _or_stopped(self, loading: asyncio.Task[LoadSummary], workload: Workload) -> bool:
        """Whether the load ended before the measurement was stopped.

        Raises:
            EngineError: it took far too long.
        """
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

    async def _check_alive(self) -> None:
        dead = await self.died() if self.died is not None else None
        if dead is not None:
            raise dead


def _check_answered(record: StepRecord, url: str) -> None:
    """Refuse a step to which the server gave no answer at all, only errors."""
    census = record.census
    if census.completed or not census.failed:
        return
    why = f": {record.first_error}" if record.first_error else ""
    raise EngineError(
        f"{url} answered none of {census.scheduled} requests{why}; check the model, --prompts and the server's log.",
        "http",
    )
