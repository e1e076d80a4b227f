"""The loads of a trial: the workload's own, or those that measure a capacity."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.sent_load import SentLoad, sent_load
from rooftune.files import write_json
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.search.confirm import is_fresh
from rooftune.trial_order import TrialOrder
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.prompt_text import Part
from tasks import run_listener
from tasks.run_files import settings_of, target_of_order, workload_of

if TYPE_CHECKING:
    from rooftune.capacity.reference_server import ReferenceServer
    from rooftune.capacity.trial import NextLoad


def drawn_workload(run: RunFolder, order: TrialOrder) -> Workload:
    """The workload of the run with the seed of the order. The confirmation sends prompts that the search never does."""
    workload = workload_of(run)
    part: Part = "confirm" if is_fresh(order.seed, workload.seed) else "search"
    return workload.model_copy(update={"seed": order.seed}).with_part(part)


async def first_workload(run: RunFolder, order: TrialOrder, server: ServerInfo) -> Workload:
    """What the first load of a trial sends.

    Where trials measure the capacity, it has the rate of the order, and the reference of the trial is chosen.
    """
    workload = drawn_workload(run, order)
    if not workload.measures_capacity:
        return workload
    from rooftune.capacity import trial

    files = run.trial(order.candidate, order.n)
    reference = await _reference(run, order, server, workload)
    await asyncio.to_thread(trial.keep_reference, files, reference)
    made = await asyncio.to_thread(reference.reference, workload)
    return await _sent(files, server, await asyncio.to_thread(trial.first_load, workload, made, order.load, order.seed))


async def next_workload(run: RunFolder, order: TrialOrder, server: ServerInfo) -> Workload | None:
    """What one more load of the same server sends; None if those so far say enough."""
    workload = drawn_workload(run, order)
    if not workload.measures_capacity:
        return None
    from rooftune.capacity import trial

    files = run.trial(order.candidate, order.n)

    def decided() -> NextLoad | None:
        server = trial.reference_of(files)
        made = server.reference(workload)
        loads = trial.read_loads(files, made)
        better = trial.learned(server, loads)
        if better is not None:
            trial.keep_reference(files, better)
            made = better.reference(workload)
            loads = trial.read_loads(files, made)
        below = order.load.settled_below_per_s if order.load is not None else 0.0
        most = trial.MOST_WITH_STAND_IN if server.stand_in else trial.MOST_LOADS
        return trial.next_load(workload, made, loads, below, most)

    found = await asyncio.to_thread(decided)
    if found is None:
        _mark_last(files)
        return None
    run_listener.log(f"{order.candidate} {order.n}: one more load, because {found.reason}")
    await asyncio.to_thread(trial.keep_records, files)
    return await _sent(files, server, found)


def all_loaded(files: TrialFolder, workload: Workload) -> bool:
    """Whether every load of a trial has ended, so that only its figures are missing."""
    if not (files.load_json.is_file() and files.requests.is_file()):
        return False
    sent = sent_load(files)
    return not workload.measures_capacity or (sent is not None and sent.last)


async def _sent(files: TrialFolder, server: ServerInfo, load: NextLoad) -> Workload:
    """Wait until the server is idle, and record what is sent now."""
    from rooftune.capacity.idle import wait_idle

    start = await wait_idle(server.url)
    sent = SentLoad(
        workload=load.workload,
        reason=load.reason,
        idle=start.idle,
        present=start.present,
        waited_s=start.waited_s,
    )
    write_json(files.sent_json, sent.model_dump(mode="json"))
    return load.workload


def _mark_last(files: TrialFolder) -> None:
    sent = sent_load(files)
    if sent is not None:
        write_json(files.sent_json, sent.model_copy(update={"last": True}).model_dump(mode="json"))


async def _reference(run: RunFolder, order: TrialOrder, server: ServerInfo, workload: Workload) -> ReferenceServer:
    """The simulated server that the trial is compared with: the twin of the candidate's, or a stand-in."""
    from rooftune.capacity.measure_target import choose_reference
    from rooftune.capacity.step_load import ClientSettings, StepLoader

    target = target_of_order(run, order)
    if target.engine != "endpoint":
        target = target.model_copy(update={"flags": order.config.flags()})
    client = ClientSettings(processes=settings_of(run).client_processes)
    loader = StepLoader(server, run.trial(order.candidate, order.n).path, client)
    return (await choose_reference(target, workload, server, loader)).reference
