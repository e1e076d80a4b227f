"""Flow of the provision phase: starts a server, checks that it answers, and reads its effective configuration."""

from __future__ import annotations

from prefect import flow

from rooftune.engines.server import ServerInfo
from rooftune.run_names import find_run
from rooftune.trial_order import TrialOrder
from tasks import run_listener
from tasks.machine import exclusive_machine
from tasks.provision import LONGEST_START_S, describe, start_server, stop_server
from tasks.run_files import order_of, target_of


@flow(
    name="provision",
    flow_run_name="provision {candidate} {n}",
    timeout_seconds=3 * LONGEST_START_S,
    persist_result=False,
)
async def provision(
    run: str, candidate: str = "baseline", n: int = 1, order: TrialOrder | None = None, hold: bool = False
) -> ServerInfo:
    """Start the server of one candidate and write server.json and server.log into its trial folder.

    The server never outlives the process of the flow. Without ``hold`` it is stopped as soon as it has answered.
    Prefect never keeps the result of this flow: a retry must not get the address of a server that has ended.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        candidate: Candidate of the plan.
        n: Number of the trial, from 1.
        order: What exactly to measure. Default: the candidate as planned.
        hold: Leave the server running for the calling flow (used by a trial).
    """
    folder = find_run(run)
    order = order or order_of(folder, candidate, n)
    async with exclusive_machine(target_of(folder), run):
        server = await start_server(folder, order)
        run_listener.log(describe(server))
        if not hold:
            await stop_server(server)
    return server
