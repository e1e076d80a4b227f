"""Measures the capacity of one running server: step after step, until the interval is narrow enough.

Every step leaves ``steps/<number>/`` with its records and, once it is judged, step.json. A measurement that was killed
goes on after the last step that has one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rooftune.capacity.answer import Outcome, Subject, result_of
from rooftune.capacity.bracket import Bracket, errors_bracket, slo_bracket
from rooftune.capacity.estimate import CapacityEstimate, estimate
from rooftune.capacity.listener import CapacityListener, measurement_plan
from rooftune.capacity.lone import NUMBER as LONE
from rooftune.capacity.lone import lone_requests, lone_workload
from rooftune.capacity.measured_step import STEP, MeasuredStep, StepRecord, read_step, step_folder
from rooftune.capacity.reference import LEAST_WINDOW_S, Reference
from rooftune.capacity.reference_server import BATCH_LIMIT, ReferenceServer
from rooftune.capacity.result import CapacityResult, LoneRequests
from rooftune.capacity.search import Ended, NextStep, Precision, next_step
from rooftune.capacity.step_load import ClientSettings, Died, Loadable, StepLoader
from rooftune.capacity.steps import Step, judged_requests, lengthened, workload_at
from rooftune.capacity.units import amount, per_of
from rooftune.errors import EngineError, InputError, RooftuneError
from rooftune.files import read_model, write_json
from rooftune.workloads.spec import Workload

MEASUREMENT, CAPACITY = "measurement.json", "capacity.json"
BY_THE_USER = "it was stopped by the user"


class Measurement(BaseModel):
    """What a folder of steps belongs to. Content of measurement.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    workload: Workload
    model: str
    reference: ReferenceServer
    seed: int


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
    lone: LoneRequests | None = None,
) -> CapacityResult:
    """Measure how much of a workload a running server carries within its SLO. Writes capacity.json into ``folder``.

    Args:
        reference: the simulated server whose response gives the measurement its shape.
        precision: when the measurement ends; ``most_load_s`` is in workload seconds.
        seed: of the requests. Each step draws its own from it. None = a new one, or that of the measurement to resume.
        died: says whether the server has ended, and why; asked after every step.
        stop: ends the measurement when it is set. The step in progress is discarded.
        lone: what requests see one at a time, if that was measured before.

    Raises:
        InputError: the workload has no SLO or no rate to vary, or ``folder`` holds another measurement.
        EngineError: the server died, stalled, or answered no request.
        Stopped: ``stop`` was set before the first step ended.
    """
    made = await asyncio.to_thread(reference.reference, workload)
    new = Measurement(workload=workload, model=server.model, reference=reference,
                      seed=seed if seed is not None else secrets.randbelow(10**9))  # fmt: skip
    begun = _begun(folder, new, seed)
    heard = listener or CapacityListener()
    loader = StepLoader(server, folder, client or ClientSettings(), heard, died, stop or asyncio.Event())
    plan = await asyncio.to_thread(measurement_plan, made, precision.most_load_s)
    heard.planned(plan)
    run = _Run(made, begun, precision, loader, lone)
    outcome = await run.to_the_end()
    if not run.steps and outcome.lone is None:
        raise Stopped("stopped before the first step ended; nothing is known yet, and nothing is left running.")
    subject = Subject(workload, server.url, server.model, server.simulated, server.time_scale, run.begun.reference,
                      run.reference.engine, plan.predicted)  # fmt: skip
    result = await asyncio.to_thread(result_of, subject, run.records, outcome)
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
        reference: Reference,
        begun: Measurement,
        precision: Precision,
        loader: StepLoader,
        lone: LoneRequests | None,
    ) -> None:
        self.reference, self.begun, self.precision, self.loader = reference, begun, precision, loader
        self.lone, self.per = lone, per_of(begun.workload)
        self.steps: list[MeasuredStep] = []
        self.found: CapacityEstimate | None = None

    @property
    def records(self) -> list[StepRecord]:
        return [s.record for s in self.steps]

    async def to_the_end(self) -> Outcome:
        """Step after step, beginning with those that the folder has."""
        if self.lone is None and await asyncio.to_thread(self.reference.capacity, 1.0) <= 0:
            await self._lone()
        if self.lone is not None and self.lone.breaks:
            return Outcome(None, "even a lone request breaks the SLO", True, lone=self.lone)
        await self._resume()
        while True:
            if self._refuted and self.lone is None:
                await self._lone()
            order = await asyncio.to_thread(self._next)
            if self.loader.stop.is_set():
                return self._outcome(BY_THE_USER, precise=False)
            if isinstance(order, Ended):
                break
            if not await self._step(order):
                return self._outcome(BY_THE_USER, precise=False)
        return self._outcome(order.reason, precise=order.precise)

    def _outcome(self, reason: str, *, precise: bool) -> Outcome:
        return Outcome(self.found, reason, precise, stopped=reason == BY_THE_USER, lone=self.lone)

    async def _resume(self) -> None:
        """Take over the steps that were completed before."""
        folder = self.loader.folder
        while (step_folder(folder, len(self.steps) + 1).path / STEP).is_file():
            files = step_folder(folder, len(self.steps) + 1)
            kept = read_model(files.path / STEP, StepRecord)
            try:
                found = read_step(files, kept.workload, kept.number, kept.reason, kept.start)
            except RooftuneError:
                break
            await self._add(found, kept=True)

    async def _step(self, order: NextStep) -> bool:
        """Make one step; False where it was stopped."""
        number = len(self.steps) + 1
        self.loader.listener.step(number, order)
        loaded = await self.loader.load(number, order.workload)
        if loaded is None:
            return False
        found = await asyncio.to_thread(
            read_step, loaded.files, loaded.workload, number, order.reason, loaded.start
        )  # fmt: skip
        _check_answered(found.record, self.loader.server.url)
        await self._add(found, kept=False)
        return True

    async def _add(self, found: MeasuredStep, *, kept: bool) -> None:
        self.steps.append(await asyncio.to_thread(self._judged, found))
        self._write(self.steps[-1])
        if self._learn(found.record):
            await asyncio.to_thread(self._judge_again)
        self.loader.listener.measured(self.records[-1], self.found, kept)

    def _write(self, step: MeasuredStep) -> None:
        files = step_folder(self.loader.folder, step.record.number)
        write_json(files.path / STEP, step.record.model_dump(mode="json"))

    def _learn(self, record: StepRecord) -> bool:
        """Give the reference the batch limit that a step shows, where its flags are assumed."""
        server, limit = self.begun.reference, record.batch_limit
        if limit is None or server.flags_known or server.flags.get(BATCH_LIMIT) == limit:
            return False
        learned = server.with_batch_limit(limit)
        try:
            self.reference = learned.reference(self.begun.workload)
        except RooftuneError:
            return False
        self.begun = self.begun.model_copy(update={"reference": learned})
        write_json(self.loader.folder / MEASUREMENT, self.begun.model_dump(mode="json"))
        self.loader.listener.waiting(
            f"the server answers at most {limit} requests at once; the reference now does so too"
        )
        return True

    def _judge_again(self) -> None:
        """Compare all steps with the reference as it is now."""
        steps, self.steps, self.found = self.steps, [], None
        for step in steps:
            self.steps.append(self._judged(step))
            self._write(self.steps[-1])

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
        """Steps whose latencies show the server's speed."""
        return [s.step for s in self.steps if not s.record.errors_break]

    @property
    def _refuted(self) -> bool:
        """Whether the reference, at the speed of the steps, cannot keep the SLO even without load."""
        return self.found is not None and self.found.rate_per_s <= 0

    def _next(self) -> NextStep | Ended:
        """The next step: as the search has it, unless errors or a wrong reference leave no room for it."""
        bracket, usable = errors_bracket(self.records), self._usable()
        if bracket.broken_at is None:
            if self._refuted and self.lone is not None and not self.lone.breaks:
                between = slo_bracket(self.records, self.lone)
                return self._within(between, "the server keeps the SLO without load, and the reference does not")
            return self._affordable(self._searched(usable))
        if bracket.hopeless:
            return Ended("the server fails or refuses requests at every load that was tried", False)
        if usable:
            order = self._searched(usable)
            if isinstance(order, Ended) or bracket.allows(order.load):
                return self._affordable(order)
        return self._within(bracket, f"errors break the SLO from {amount(bracket.broken_at, self.per)}")

    def _within(self, bracket: Bracket, reason: str) -> NextStep | Ended:
        """A step at a load between the ends of the bracket."""
        if bracket.narrow:
            return Ended(reason, False)
        if len(self.steps) >= self.precision.most_steps:
            return Ended(f"{len(self.steps)} steps were made", False)
        return self._affordable(self._at(bracket.middle(), reason))

    def _searched(self, usable: Sequence[Step]) -> NextStep | Ended:
        """What the search says, with a seed that no step had."""
        order = next_step(self.reference, usable, self.precision, seed=self.begun.seed, found=self.found)
        if isinstance(order, Ended):
            return order
        return replace(order, workload=order.workload.model_copy(update={"seed": self._step_seed()}))

    def _at(self, load: float, reason: str) -> NextStep:
        shape = self.reference.shape(self.found.speed if self.found is not None else 1.0)
        share = self.reference.workload.slo.share
        enough = max(judged_requests(share), round(LEAST_WINDOW_S * shape.rate_per_s(load)))
        shape = lengthened(shape, min(shape.requests, enough))
        return NextStep(workload_at(self.reference.workload, load, shape, self._step_seed()), reason)

    def _step_seed(self) -> int:
        return self.begun.seed * 1_000 + len(self.steps)

    def _affordable(self, order: NextStep | Ended) -> NextStep | Ended:
        """The order, or the end where the time that is left is too short for it."""
        if isinstance(order, Ended) or not self.steps:
            return order
        used = sum(s.record.load_s for s in self.steps)
        if used + order.workload.total_s > self.precision.most_load_s:
            return Ended("the time that is left is too short for another step", False)
        return order

    async def _lone(self) -> None:
        """Send requests one at a time, to see what the server does without load."""
        speed = self.found.speed if self.found is not None else 1.0
        shape = await asyncio.to_thread(self.reference.shape, speed)
        workload = lone_workload(self.reference.workload, shape.settle_s, self.begun.seed * 1_000 + LONE)
        loaded = await self.loader.load(LONE, workload)
        if loaded is not None:
            self.lone = await asyncio.to_thread(lone_requests, loaded.files, loaded.workload)


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
