"""Flow of a capacity measurement: how much of a workload one server carries within its SLO."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.inputs import options
from flows.inputs.capacity import capacity_order
from flows.inputs.flat import flat_flow
from flows.inputs.parameters import CapacityOptions, RateOptions, TargetOptions
from rooftune.capacity.sentences import headline
from rooftune.errors import RooftuneError
from tasks import run_listener
from tasks.capacity import measure, show
from tasks.labels import label_run
from tasks.machine import exclusive_machine
from tasks.run_files import short_path


class CapacitySummary(BaseModel):
    """Result of the flow: a reference to the files, and the answer."""

    model_config = ConfigDict(frozen=True)
    folder: str = Field(description="capacity.json, capacity.md, figures and steps")
    workload: str
    per: str = Field(default="rate", description="what the capacity counts: rate or users")
    rate_per_s: float
    low_per_s: float | None = None
    high_per_s: float | None = None
    users: int | None = None
    low_users: int | None = None
    high_users: int | None = None
    believed: bool
    sentence: str


@flow(name="capacity", flow_run_name="capacity {workload}", persist_result=True)
@flat_flow
async def capacity(
    target: TargetOptions,
    changes: RateOptions,
    measurement: CapacityOptions,
    workload: options.WorkloadName = "chat-medium",
    artifacts: options.Artifacts = options.ARTIFACTS,
    save: options.Save = None,
) -> CapacitySummary:
    """Measure how much of a workload one server carries within its SLO."""
    order = await capacity_order(workload, target, changes, measurement, _folder(save, artifacts, workload))
    run = short_path(order.folder)
    run_listener.current().phase("run", run)
    gpu = [order.target.gpu] if order.target.gpu else []
    await label_run([order.workload.name, order.target.engine, "capacity", *gpu])
    async with exclusive_machine(order.target, run):
        found = await measure(order.target, order.workload, order.folder, order.settings)
    await show(found, order.folder)
    sentence = headline(found)
    run_listener.log(sentence)
    if found.capacity is None:
        raise RooftuneError(sentence)
    return CapacitySummary(
        folder=run,
        workload=order.workload.name,
        per=found.per,
        rate_per_s=found.rate_per_s or 0.0,
        low_per_s=found.low_per_s,
        high_per_s=found.high_per_s,
        users=found.users,
        low_users=found.low_users,
        high_users=found.high_users,
        believed=found.believed,
        sentence=sentence,
    )


def _folder(save: str | None, artifacts: str, workload: str) -> Path | None:
    """The folder of a measurement: the same one when the flow run is retried."""
    if save is not None:
        return Path(save)
    if flow_run.id is None:
        return None
    return Path(artifacts) / "capacity" / f"{Path(workload).stem}-{str(flow_run.id)[:8]}"
