"""Task of a capacity measurement: loads one server at several rates, and shows the answer in the UI."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from rooftune.capacity.result import CapacityResult
from rooftune.engines.target import Target
from rooftune.workloads.spec import Workload
from tasks import run_listener
from tasks.capacity_lines import CapacityLines
from tasks.capacity_run import measure_and_write
from tasks.retrying import retry_transient

if TYPE_CHECKING:
    from rooftune.capacity.measure_target import Settings


@task(
    name="capacity",
    task_run_name="measure the capacity of {workload.name}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=retry_transient,
    timeout_seconds=24 * 3600,
    persist_result=False,
)
async def measure(target: Target, workload: Workload, folder: Path, settings: Settings) -> CapacityResult:
    """Measure, and write capacity.json, capacity.md and figures into ``folder``. A retry goes on from its steps.

    Raises:
        InputError: the workload has no SLO or no rate to vary.
        EngineError: the server did not start, died, stalled, or answered no request.
    """
    shown = CapacityLines(run_listener.log, target.time_scale)
    return await measure_and_write(target, workload, folder, settings, shown=shown, stop=asyncio.Event())


@task(name="show", task_run_name="show the capacity in the UI", retries=1, retry_delay_seconds=2, persist_result=False)
async def show(result: CapacityResult, folder: Path) -> None:
    """The answer as a Markdown artifact."""
    from prefect.artifacts import acreate_markdown_artifact

    from rooftune.capacity.sentences import headline
    from rooftune.report.capacity_report import capacity_markdown
    from tasks.report import for_the_ui

    text = capacity_markdown(result, folder)
    await acreate_markdown_artifact(
        key=f"capacity-{result.workload.name}", markdown=for_the_ui(text, folder), description=headline(result)
    )  # fmt: skip
