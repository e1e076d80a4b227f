"""Task of a capacity measurement: loads one server at several rates, and shows the answer in the UI."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from rooftune.capacity.estimate import CapacityEstimate
from rooftune.capacity.listener import CapacityListener
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.result import CapacityResult
from rooftune.capacity.units import amount, bare, per_of
from rooftune.engines.target import Target
from rooftune.formatting import percent
from rooftune.workloads.spec import Workload
from tasks import run_listener
from tasks.retrying import retry_transient

if TYPE_CHECKING:
    from rooftune.capacity.measure_target import Settings


class _Logged(CapacityListener):
    """Writes each step to the log of the flow run."""

    def waiting(self, sentence: str) -> None:
        run_listener.log(sentence)

    def measured(self, record: StepRecord, found: CapacityEstimate | None, kept: bool) -> None:
        per = per_of(record.workload)
        step = f"{amount(record.load, per)}: {percent(record.attainment, 3)} within the SLO"
        so_far = f"; capacity {bare(found.rate_per_s, per)}" if found is not None else ""
        run_listener.log(f"step {record.number} at {step}{so_far}{' (measured before)' if kept else ''}")


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
    from rooftune.capacity.measure_target import measure_target
    from rooftune.report.capacity_report import write_capacity_report

    found = await measure_target(target, workload, folder, settings, listener=_Logged(), stop=asyncio.Event())
    await asyncio.to_thread(write_capacity_report, folder, found)
    return found


@task(name="show", task_run_name="show the capacity in the UI", retries=1, retry_delay_seconds=2, persist_result=False)
async def show(result: CapacityResult, folder: Path) -> None:
    """The answer as a Markdown artifact."""
    from prefect.artifacts import acreate_markdown_artifact

    from rooftune.capacity.sentences import headline
    from rooftune.report.capacity_report import capacity_markdown

    text = re.sub(r"!\[([^\]]*)\]\(([^)]*)\)", lambda m: f"*{m[1]}*: `{folder / m[2]}`", capacity_markdown(result))
    await acreate_markdown_artifact(
        key=f"capacity-{result.workload.name}", markdown=text, description=headline(result)
    )  # fmt: skip
