"""One trial: provision, load and aggregate as one unit, within which the engine runs."""

from __future__ import annotations

import asyncio
import shutil
import time

from prefect import flow

from flows.aggregate import aggregate
from flows.load import load
from flows.provision import provision
from rooftune.engines.server import ServerInfo
from rooftune.errors import EngineError, RooftuneError
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trial
from rooftune.files import read_json, read_model, write_json
from rooftune.run_names import find_run
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.spec import Workload
from tasks import kept_server, run_listener
from tasks.aggregate import describe, record_failure
from tasks.machine import exclusive_machine
from tasks.provision import stop_server
from tasks.quality import check_where_due, due_after_load
from tasks.results import TrialSummary
from tasks.run_files import same_trial, target_of, target_of_order, workload_of
from tasks.trial_loads import all_loaded
from tasks.trial_time import write_trial_time

ORDER = "order.json"


@flow(
    name="trial",
    flow_run_name="trial {order.position}: {order.candidate} {order.n}",
    retries=1,
    retry_delay_seconds=5,
    timeout_seconds=24 * 3600,
)
async def trial(run: str, order: TrialOrder) -> TrialSummary:
    """Measure one candidate once, unless this trial (same flags, workload, seed and number) is already measured.

    A server that does not start, or dies, is a result and not an error of the flow.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        order: What to measure.
    """
    folder = find_run(run)
    files = folder.trial(order.candidate, order.n)
    found = measured(folder, order)
    if found is not None:
        run_listener.current().result(found, True)
        return _ref(run, found, kept=True)
    async with exclusive_machine(target_of(folder), run):
        found = await _measure(run, folder, files, order)
    run_listener.current().result(found, False)
    return _ref(run, found, kept=False)


def measured(run: RunFolder, order: TrialOrder) -> TrialResult | None:
    """The valid result of this order, if there is one."""
    try:
        found = read_trial(run.trial(order.candidate, order.n))
    except RooftuneError:
        return None
    return found if same_trial(found, order, workload_of(run), target_of_order(run, order)) else None


async def _measure(run: str, folder: RunFolder, files: TrialFolder, order: TrialOrder) -> TrialResult:
    """Start, load, stop, aggregate; a failure of the engine becomes a failed trial."""
    began, began_at, server, answers_s = time.monotonic(), time.time(), None, 0.0
    try:
        if not await asyncio.to_thread(_complete, folder, files, order, workload_of(folder)):
            shutil.rmtree(files.path, ignore_errors=True)
            write_json(files.path / ORDER, order.model_dump(mode="json"))
            kept = kept_server.current()
            try:
                server = await kept.take(folder, order)
                server = server or await provision(run, order.candidate, order.n, order, hold=True)
                await load(run, order.candidate, order.n, order, server)
                answers_s = await check_where_due(folder, order, server)
                await kept.leave(folder, order, server)
            except BaseException:
                await kept.stop()
                await stop_server(server)
                raise
        await aggregate(run, order.candidate, order.n, order)
    except EngineError as error:
        run_listener.log(f"{order.candidate} {order.n} failed: {error}")
        await record_failure(folder, order, str(error), error.kind, began_at)
    switched = server is not None and server.switched is not None
    write_trial_time(files, time.monotonic() - began, switched=switched, answers_s=answers_s)
    return read_trial(files)


def _complete(run: RunFolder, files: TrialFolder, order: TrialOrder, workload: Workload) -> bool:
    """Whether this order was loaded and its answers checked where that is due, so that only its figures are missing."""
    try:
        same = TrialOrder.model_validate(read_json(files.path / ORDER)) == order
        if not same or not all_loaded(files, workload) or files.trial_json.is_file():
            return False
        return due_after_load(run, order, read_model(files.server_json, ServerInfo)) is None
    except (RooftuneError, ValueError):
        return False


def _ref(run: str, found: TrialResult, *, kept: bool) -> TrialSummary:
    return TrialSummary(
        run=run,
        candidate=found.candidate,
        n=found.n,
        status=found.status,
        believed=found.believed,
        kept=kept,
        sentence=describe(found),
    )
