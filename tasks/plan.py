"""Task of the plan phase: writes plan.json."""

from __future__ import annotations

from prefect import task

from rooftune.errors import EngineError
from rooftune.files import write_json
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Plan
from tasks.apart import apart
from tasks.planning import make_plan, search_words
from tasks.retrying import retry_unexpected

SLOW = "predicting takes some minutes, because numba is not installed (pip install 'rooftune[fast]')"


def slow_predictions() -> bool:
    """Whether the plan's predictions run as plain Python."""
    from rooftune.machine_code import wanted

    return not wanted()


@task(
    name="plan",
    task_run_name="plan the candidates",
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=retry_unexpected,
    timeout_seconds=1200,
)
async def plan_candidates(run: RunFolder) -> Plan:
    """Choose the candidates, with their gates and expected effects, and write plan.json."""
    found = await apart(make_plan, run)
    write_json(run.plan_json, found.model_dump(mode="json"))
    return found


def check_start(planned: Plan) -> None:
    """Refuse a baseline that cannot start before a server is started.

    Raises:
        EngineError: why it would not start, and what to change.
    """
    if planned.blocked and planned.refusal is not None:
        raise EngineError(f"the baseline would not start: {planned.refusal.sentence}", planned.refusal.rule)


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
    if plan.search is not None:
        return f"{search_words(plan.search)}{context}{fitted}"
    return f"{len(plan.candidates)} candidates in {len(plan.phases)} phases: {counts}{context}{fitted}"
