"""From a target to its capacity: starts or connects to its server, chooses the reference, and measures."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path

from rooftune.capacity.context import fitted
from rooftune.capacity.listener import CapacityListener
from rooftune.capacity.lone import NUMBER as LONE
from rooftune.capacity.lone import lone_requests, lone_times, lone_workload
from rooftune.capacity.measure import MEASUREMENT, Measurement, Stopped, measure_capacity
from rooftune.capacity.measured_step import step_folder
from rooftune.capacity.reference_server import ReferenceServer, reference_server, usable
from rooftune.capacity.result import CapacityResult, LoneRequests
from rooftune.capacity.search import Precision
from rooftune.capacity.stand_in import Known, stand_in
from rooftune.capacity.step_load import ORDER, ClientSettings, StepLoader, StepOrder
from rooftune.capacity.steps import StepShape, workload_at
from rooftune.capacity.units import per_of
from rooftune.engines import launch
from rooftune.engines.readiness import Say
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.errors import EngineError
from rooftune.files import read_model
from rooftune.hardware.named import accelerator, name_or_here
from rooftune.runfolder import TrialFolder
from rooftune.simulator.virtual.capacity import sample
from rooftune.simulator.virtual.users import users_sample
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import Workload

LONE_ANSWER_S = 3.0
"""Assumed length of an answer of a server about which nothing is known, to send some of them one at a time."""


@dataclass(frozen=True)
class Settings:
    """How a target is measured."""

    half: float = 0.05
    """Relative half width of the interval at which the measurement ends."""
    budget_s: float | None = None
    """Real seconds of load after which no further step begins."""
    seed: int | None = None
    client: ClientSettings = field(default_factory=ClientSettings)
    ready_timeout_s: float | None = None

    def precision(self, time_scale: float) -> Precision:
        """When the measurement of a server with this clock ends."""
        most = float("inf") if self.budget_s is None else self.budget_s * time_scale
        return Precision(half=self.half, most_load_s=most)


def check_measurable(workload: Workload) -> None:
    """Refuse a workload that has no capacity, before anything is started.

    Raises:
        InputError: it has no SLO, or neither a rate nor users to vary.
    """
    workload_at(workload, 1.0, StepShape(settle_s=1.0, requests=1, drain_s=1.0), 0)
    if per_of(workload) == "users":
        users_sample(workload, 1)
    else:
        sample(workload, 1)


async def measure_target(
    target: Target,
    workload: Workload,
    folder: Path,
    settings: Settings,
    *,
    listener: CapacityListener,
    stop: asyncio.Event,
    say: Say | None = None,
) -> CapacityResult:
    """Measure a server: one that is started for it with the target's flags, or the endpoint that the target names.

    Raises:
        InputError: see ``check_measurable`` and ``measure_capacity``.
        EngineError: the server did not start, died, stalled, or answered no request.
        Stopped: ``stop`` was set before anything was known.
    """
    check_measurable(workload)
    context = fitted(target, workload)
    target = context.target
    if context.sentence:
        listener.waiting(f"{context.sentence}.")
    config = EngineConfig(model=target.model).with_change(target.flags)
    files = TrialFolder(folder / "server")
    started = launch.running(target, config, files, ready_timeout_s=settings.ready_timeout_s, say=say)
    async with started as server:

        async def died() -> EngineError | None:
            return await launch.died_or_dying(server, files)

        loader = StepLoader(server, folder, settings.client, listener, died, stop)
        chosen = await choose_reference(target, workload, server, loader)
        return await measure_capacity(
            server,
            workload,
            chosen.reference,
            settings.precision(server.time_scale),
            folder,
            seed=settings.seed,
            listener=listener,
            client=settings.client,
            died=died,
            stop=stop,
            lone=chosen.lone,
        )


@dataclass(frozen=True)
class ChosenReference:
    """The reference, and what requests sent one at a time saw, if it took some to choose it."""

    reference: ReferenceServer
    lone: LoneRequests | None = None

    def at_price(self, usd_per_gpu_hour: float | None) -> ChosenReference:
        """The same reference with the price that the user gave; as it is without one."""
        if usd_per_gpu_hour is None:
            return self
        return replace(self, reference=self.reference.model_copy(update={"usd_per_gpu_hour": usd_per_gpu_hour}))


async def choose_reference(
    target: Target, workload: Workload, server: ServerInfo, loader: StepLoader
) -> ChosenReference:
    """The reference of a measurement: that of the one to resume, the server's twin, or a stand-in."""
    return (await _chosen(target, workload, server, loader)).at_price(target.usd_per_gpu_hour)


async def _chosen(target: Target, workload: Workload, server: ServerInfo, loader: StepLoader) -> ChosenReference:
    held = loader.folder / MEASUREMENT
    if held.is_file():
        return ChosenReference(read_model(held, Measurement).reference, _lone_before(loader.folder))
    gpu = _gpu(target)
    if gpu is not None and target.engine != "endpoint":
        twin = reference_server(target, target.flags, gpu)
        if target.simulated or not await asyncio.to_thread(usable, twin, workload):
            return ChosenReference(twin)
    known = Known(server.effective, target.model or server.model, gpu, tuple(target.flags.items()))
    found = await asyncio.to_thread(stand_in, known, None, workload)
    if not found.stand_in:
        return ChosenReference(found)
    loader.listener.waiting("sending requests one at a time, to find a simulated server that is like this one")
    alone = lone_workload(workload, LONE_ANSWER_S, secrets.randbelow(10**9))
    loaded = await loader.load(LONE, alone)
    if loaded is None:
        raise Stopped("stopped before anything was measured; nothing is left running.")
    times = await asyncio.to_thread(lone_times, loaded.files)
    found = await asyncio.to_thread(stand_in, known, times, workload)
    return ChosenReference(found, await asyncio.to_thread(lone_requests, loaded.files, loaded.workload))


def _lone_before(folder: Path) -> LoneRequests | None:
    """What requests saw one at a time, if the measurement to resume has sent some."""
    files = step_folder(folder, LONE)
    if not (files.load_json.is_file() and files.requests.is_file()):
        return None
    return lone_requests(files, read_model(files.path / ORDER, StepOrder).workload)


def _gpu(target: Target) -> str | None:
    """Name of the accelerator; None for an endpoint whose accelerator is not named."""
    if target.gpu is not None:
        return accelerator(target.gpu).name
    return name_or_here(None, here=target.engine != "endpoint")
