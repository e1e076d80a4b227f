"""A capacity measurement with its files and its spans, for the task and for the command, which needs no Prefect."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.engines.target import Target
from rooftune.workloads.spec import Workload
from tasks.capacity_lines import CapacityLines
from tasks.run_files import short_path
from tasks.telemetry.capacity_spans import CapacitySpans, record_capacity
from tasks.telemetry.run_spans import target_attributes
from tasks.telemetry.spans import span

if TYPE_CHECKING:
    from rooftune.capacity.measure_target import Settings
    from rooftune.capacity.result import CapacityResult


async def measure_and_write(
    target: Target, workload: Workload, folder: Path, settings: Settings, *, shown: CapacityLines, stop: asyncio.Event
) -> CapacityResult:
    """Measure, and write capacity.json, capacity.md and figures into ``folder``.

    Raises:
        InputError: the workload has no SLO or no rate to vary.
        EngineError: the server did not start, died, stalled, or answered no request.
    """
    from rooftune.capacity.measure_target import measure_target
    from rooftune.report.capacity_report import write_capacity_report

    about = {"kind": "capacity", "workload": workload.name, "run": short_path(folder)}
    steps = CapacitySpans(shown)
    with span("run", {**about, **target_attributes(target)}) as recorded:
        try:
            found = await measure_target(
                target, workload, folder, settings, listener=steps, stop=stop, say=shown.engine
            )
        finally:
            steps.close()
        record_capacity(recorded, found)
        await asyncio.to_thread(write_capacity_report, folder, found)
    return found
