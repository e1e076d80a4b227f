"""Flow of the load phase: sends the workload to one server and records every request and the server's state."""

from __future__ import annotations

import time

from prefect import flow

from rooftune.engines.server import ServerInfo
from rooftune.run_names import find_run
from rooftune.trial_order import TrialOrder
from tasks import run_listener
from tasks.load import apply_load, describe
from tasks.machine import exclusive_machine
from tasks.provision import start_server, stop_server
from tasks.results import TrialSummary
from tasks.run_files import order_of, target_of
from tasks.trial_loads import first_workload, next_workload


@flow(name="load", flow_run_name="load {candidate} {n}", timeout_seconds=24 * 3600, persist_result=False)
async def load(
    run: str, candidate: str = "baseline", n: int = 1, order: TrialOrder | None = None, server: ServerInfo | None = None
) -> TrialSummary:
    """Send the workload to one server, and write requests.parquet, ticks.parquet and load.json.

    Where the capacity is the objective, the rate is near the capacity that is expected. If that was far off, one more
    load at a corrected rate follows.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        candidate: Candidate of the plan.
        n: Number of the trial, from 1.
        order: What exactly to measure. Default: the candidate as planned.
        server: The server to load. Default: one that is started for the load.
    """
    folder = find_run(run)
    order = order or order_of(folder, candidate, n)
    started = None
    async with exclusive_machine(target_of(folder), run):
        try:
            if server is None:
                server = started = await start_server(folder, order)
            began = time.monotonic()
            summary = await apply_load(folder, order, server, await first_workload(folder, order, server))
            while (again := await next_workload(folder, order, server)) is not None:
                summary = await apply_load(folder, order, server, again)
            sentence = describe(summary, began)
        finally:
            await stop_server(started)
    run_listener.log(sentence)
    return TrialSummary(run=run, candidate=candidate, n=n, status="loaded", sentence=sentence)
