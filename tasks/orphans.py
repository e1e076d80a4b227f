"""Flow runs that Prefect still calls running although their process is gone: after kill -9, a reboot, a stopped worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

REASON = "The process of this run is gone; retry it, or go on with `rooftune optimize WORKLOAD --resume RUN`."
SLACK_S = 5.0
"""A process that began so much later than the run is another one that got the same number."""


def this_process() -> str:
    """How a run that no worker started says which process it is in."""
    return f"{socket.gethostname()}:{os.getpid()}"


def gone(infrastructure_pid: str, began: datetime | None) -> bool:
    """Whether the process of a run of this host has ended. A run of another host is never called gone."""
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
    """Mark such runs, and the runs inside of them, as crashed, so that they can be retried; returns how many there were.

    Only for a server that is this host's own: process numbers of workers carry no host.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    alive = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    in_state = FlowRunFilterState(type=FlowRunFilterStateType(any_=alive))
    async with get_client() as client:
        found: Sequence[Any] = await client.read_flow_runs(flow_run_filter=FlowRunFilter(state=in_state))
        dead = [r for r in found if r.infrastructure_pid and gone(r.infrastructure_pid, r.start_time)]
        dead += await _inside(client, [r.id for r in dead], in_state)
        for run in dead:
            await client.set_flow_run_state(run.id, Crashed(message=REASON), force=True)
    return len(dead)


async def _inside(client: Any, parents: list[UUID], in_state: Any) -> list[Any]:
    """Runs below these that are not over either."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    found: list[Any] = []
    while parents:
        below = FlowRunFilter(state=in_state, parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents))
        level = await client.read_flow_runs(flow_run_filter=below)
        found += level
        parents = [r.id for r in level]
    return found
