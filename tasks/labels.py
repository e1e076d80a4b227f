"""Labels of a flow run in Prefect's UI: tags to filter by, and the process that it runs in."""

from __future__ import annotations

import os
from collections.abc import Iterable

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks.orphans import this_process

STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"
"""Set by Prefect's worker, which records the process itself."""


async def label_run(names: Iterable[str]) -> None:
    """Add tags to the calling flow run only; without a worker, also record the process that it runs in.

    Prefect's ``tags()`` would pass them on to every task, and each task would request a slot per tag from the server.
    """
    if flow_run.id is None:
        return
    wanted = sorted({*names, *(flow_run.tags or [])})
    async with get_client() as client:
        pid = None if STARTED_BY_WORKER in os.environ or flow_run.parent_flow_run_id else this_process()
        await client.update_flow_run(flow_run.id, tags=wanted, infrastructure_pid=pid)
