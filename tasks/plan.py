"""Task of the plan phase: writes plan.json."""

from __future__ import annotations

import asyncio

from prefect import task

from rooftune.files import write_json
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Plan
from tasks.retrying import retry_unexpected
from tasks.run_files import facts_of, hardware_of, settings_of, target_of, workload_of


@task(
    name="plan",
    task_run_name="plan the candidates",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=retry_unexpected,
    timeout_seconds=300,
)
async def plan_candidates(run: RunFolder) -> Plan:
    """Choose the candidates, with their gates and expected effects, and write plan.json."""
    found = await asyncio.to_thread(_plan, run)
    write_json(run.plan_json, found.model_dump(mode="json"))
    return found


def _plan(run: RunFolder) -> Plan:
    from rooftune.tuning.playbook import build_plan, load_playbook, with_candidates

    target, settings = target_of(run), settings_of(run)
    playbook = with_candidates(load_playbook(settings.playbook), settings.candidates, target.engine_version)
    return build_plan(workload_of(run), target, hardware_of(run), facts_of(target), playbook)


def describe(plan: Plan) -> str:
    """The plan in one line."""
    runnable = sum(1 for c in plan.candidates if c.runnable)
    closed = len(plan.candidates) - runnable
    used = plan.target.calibration
    fitted = f"; predictions calibrated with {used.path}" if used else ""
    counts = f"{runnable} to measure, {closed} ruled out with a reason"
    if plan.blocked:
        counts = "the baseline would not start"
    context = f"; {plan.context.sentence}" if plan.context else ""
    return f"{len(plan.candidates)} candidates in {len(plan.phases)} phases: {counts}{context}{fitted}"
