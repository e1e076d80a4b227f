"""Tags on a flow run, for filters in the UI."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run


async def tag_run(names: Iterable[str]) -> None:
    """Add tags to the flow run that calls, and to it alone.

    Prefect's ``tags()`` would hand them down to every task, each of which would then ask the server for a slot per tag.
    """
    if flow_run.id is None:
        return
    wanted = sorted({*names, *(flow_run.tags or [])})
    async with get_client() as client:
        await client.update_flow_run(flow_run.id, tags=wanted)
