"""Flow runs whose process has ended although Prefect lists them as running: after kill -9, a reboot, a worker's end."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.filters import FlowRunFilterState
    from prefect.client.schemas.objects import FlowRun

REASON = "The process of this run has ended. Retry it, or continue with `rooftune optimize WORKLOAD --resume RUN`."
SLACK_S = 5.0
"""A process that started this much later than the run is another one with the same pid."""


def this_process() -> str:
    """The process of a run that no worker started."""
    return f"{socket.gethostname()}:{os.getpid()}"


def has_ended(infrastructure_pid: str, began: datetime | None) -> bool:
    """Whether the process of a run on this host has ended. For a run on another host: False."""
    import psutil

    host, _, number = infrastructure_pid.rpartition(":")
    if host not in ("", socket.gethostname()) or not number.isdigit():
        return False
    try:
        process = psutil.Process(int(number))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return began is not None and process.create_time() > began.timestamp() + SLACK_S
    except psutil.NoSuchProcess:
        return True


async def mark_crashed() -> int:
    """Mark orphaned runs and their subflows as crashed, so that they can be retried; returns their number.

    Only for a server that serves this host alone: pids that workers record do not include the host.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    alive = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    in_state = FlowRunFilterState(type=FlowRunFilterStateType(any_=alive))
    async with get_client() as client:
        found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(state=in_state))
        orphans = [r for r in found if r.infrastructure_pid and has_ended(r.infrastructure_pid, r.start_time)]
        orphans += await _inside(client, [r.id for r in orphans], in_state)
        for run in orphans:
            await client.set_flow_run_state(run.id, Crashed(message=REASON), force=True)
    return len(orphans)


async def _inside(client: PrefectClient, parents: list[UUID], in_state: FlowRunFilterState) -> list[FlowRun]:
    """Unfinished subflows of these runs."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    found: list[FlowRun] = []
    while parents:
        below = FlowRunFilter(state=in_state, parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents))
        level = await client.read_flow_runs(flow_run_filter=below)
        found += level
        parents = [r.id for r in level]
    return found
